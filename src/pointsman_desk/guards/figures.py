"""Figures: each amount, date, period and number of a reply must come from the order or the policy."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal

from pointsman_desk.case import NoOrder, Order, Policy, Reply, Trust
from pointsman_desk.guards.text import names, own, plain, without
from pointsman_desk.slots import FORMATS

_CODES = {"€": "EUR", "euro": "EUR", "euros": "EUR", "$": "USD", "dollar": "USD", "dollars": "USD", "dolares": "USD"}
_CODES |= {"£": "GBP", "pounds": "GBP", "pfund": "GBP", "livres": "GBP", "francs": "CHF", "franken": "CHF"}
_CURRENCIES = ("eur", "usd", "gbp", "chf", "sek", "nok", "dkk", "pln", "czk", "btc")
_FIGURE = r"(?:[0-9]{1,3}(?:[ '.,][0-9]{3}){1,4}(?:[.,][0-9]{1,2})?|[0-9]{1,12}(?:[.,][0-9]{1,2})?)(?![0-9])"
_SHARE = re.compile(r"(?:([0-9]{1,6}(?:[.,][0-9]{1,4})?) ?)?(?:%|\b(?:percent|per cent|prozent|pour cent|por ciento)\b)")
_CENTS = r"(?<![0-9])[0-9]{1,12}(?:[.,][0-9]{1,2})?(?![0-9])"

_NUMBERS = (
    ("one", "ein", "eine", "einem", "einer", "un", "une", "una"),
    ("two", "zwei", "deux", "dos"),
    ("three", "drei", "trois", "tres"),
    ("four", "vier", "quatre", "cuatro"),
    ("five", "funf", "cinq", "cinco"),
    ("six", "sechs", "seis"),
    ("seven", "sieben", "sept", "siete"),
    ("eight", "acht", "huit", "ocho"),
    ("nine", "neun", "neuf", "nueve"),
    ("ten", "zehn", "dix", "diez"),
)
_WORDS = {word: Decimal(value) for value, words in enumerate(_NUMBERS, start=1) for word in words}
_HOURS = {
    Decimal(1): "hours?|stunden?|heures?|horas?",
    Decimal(24): "days?|tage?n?|jours?|dias?|werktage?n?|weekdays?",
    Decimal(168): "weeks?|wochen?|semaines?|semanas?",
    Decimal(720): "months?|monate?n?|mois|mes|meses",
}
_PERIOD = re.compile(
    rf"(?<![\w.,-])([0-9]{{1,4}}|{'|'.join(_WORDS)})[ -](?:(?:working|business|full|volle?n?|jours|dias) )?"
    rf"(?:{'|'.join(f'({units})' for units in _HOURS.values())})\b"
)
_INDEFINITE = {"ein", "eine", "einem", "einer", "un", "une", "una"}  # "one day" is a period, "eine Woche" may be an article

_TIME = re.compile(
    r"(?<![0-9.,])([01]?[0-9]|2[0-4])(?:(?::| ?h ?|\.)([0-5][0-9]))? ?(uhr\b|h\b|am\b|pm\b|a\.m\.|p\.m\.|o'clock|(?= ?(?:-|\u2013|to|bis|a|until|and|und|y|et) ?[0-9]))?(?![0-9])"
)
_COUNTED = re.compile(r"^ *[0-9]{1,2}[.)] ", re.MULTILINE)
_SPACE = re.compile(r"[^\S\n]")
_TOKEN = re.compile(r"(?<!\S)\S*[0-9]\S*")
_EDGES = ".,;:!?()[]\"'*_\u201c\u201d\u201e\u00ab\u00bb"


def facts_only(reply: Reply, order: Order | NoOrder, policy: Policy, trust: Trust) -> Iterator[str]:
    """Report each figure that is not a fact of the order or the policy."""
    known = order if trust.may_know_the_order else NoOrder(reason="no order from this address")
    text = simple(without(plain(reply.body), own(policy), names(known, trust)))
    objections: list[str] = []

    def judged(pattern: re.Pattern[str], text: str, judge: Callable[[re.Match[str]], str | None]) -> str:
        """Remove the matches of `pattern` that `judge` decides on; a match for which it returns None stays for the next pattern."""

        def judgement(match: re.Match[str]) -> str:
            objection = judge(match)
            if objection:
                objections.append(objection)
            return match.group() if objection is None else " "

        return pattern.sub(judgement, text)

    text = judged(_money(policy.currency), text, lambda found: _on_amount(found, known, policy))
    text = judged(_SHARE, text, lambda found: _on_share(found, policy))
    for pattern in _DATES:
        text = judged(pattern, text, lambda found: _on_date(found, known, policy))
    text = judged(_PERIOD, text, lambda found: _on_period(found, policy))
    text = judged(_TIME, text, lambda found: _on_time(found, policy))
    judged(_TOKEN, _COUNTED.sub("", text), lambda found: _on_token(found, known, policy))
    yield from dict.fromkeys(objections)


def simple(text: str) -> str:
    """Return `text` in lower case without accents, with every space as a plain one; figures keep their punctuation."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    accents = {ord(mark): None for mark in {*letters} if unicodedata.combining(mark)}
    return _SPACE.sub(" ", letters.translate({**accents, ord("\u2019"): "'"}))


def amounts_of(order: Order | NoOrder, policy: Policy) -> set[Decimal]:
    """Return the amounts that a reply about `order` may contain."""
    if not isinstance(order, Order) or order.currency != policy.currency:
        return set()
    items = {value for item in order.items for value in (item.price, item.price * item.quantity)}
    return items | {order.shipping, order.total, order.total - order.shipping}


def amounts_in(text: str, policy: Policy) -> list[tuple[Decimal | None, str]]:
    """Return each amount of money in `text` with its currency; a currency without a figure is returned with None and its word."""
    return [_amount(found) for found in _money(policy.currency).finditer(simple(plain(text)))]


def _money(home: str) -> re.Pattern[str]:
    codes = "|".join(sorted({*_CURRENCIES, re.escape(home.lower())}))
    money = rf"(?:[€$£]|(?<![a-z])(?:{codes}|euros?|dollars?|dolares|francs|franken|pounds|bucks)(?![a-z]))"
    return re.compile(rf"(?<![0-9])(?P<a>{_FIGURE}) ?(?P<x>{money})|(?P<y>{money}) ?(?P<b>{_FIGURE})|(?P<z>{money})")


def _amount(found: re.Match[str]) -> tuple[Decimal | None, str]:
    word = found["x"] or found["y"] or found["z"]
    figure = found["a"] or found["b"]
    return (_figure(figure), _CODES.get(word, word.upper())) if figure else (None, word)


def _figure(text: str) -> Decimal:
    """Parse a figure: a point or comma before the last one or two digits is the decimal mark; other marks group digits."""
    whole, cents = re.fullmatch(r"(.+?)(?:[.,]([0-9]{1,2}))?", text.replace(" ", "").replace("'", "")).groups()  # type: ignore[union-attr]  # matches any text
    return Decimal(f"{re.sub('[.,]', '', whole)}.{cents or 0}")


def _on_amount(found: re.Match[str], order: Order | NoOrder, policy: Policy) -> str:
    amount, currency = _amount(found)
    if amount is None:
        return f'it mentions money without a figure that can be checked ("{currency}"); use a slot such as {{{{order.total}}}}'
    if currency != policy.currency:
        return f"it contains {amount} {currency}, but the policy's currency is {policy.currency}"
    if amount > policy.refund_max:
        return f"it contains {amount} {currency}, but the policy allows at most {policy.refund_max}"
    if amount not in amounts_of(order, policy):
        return f"it contains {amount} {currency}, which is not an amount of the order"
    return ""


def _on_share(found: re.Match[str], policy: Policy) -> str:
    if found[1] is None or Decimal(found[1].replace(",", ".")) > policy.discount_percent_max:
        return f"it contains a percentage, but the policy allows at most {policy.discount_percent_max}"
    return ""


def _months() -> dict[str, int]:
    written = {simple(name): number for form in FORMATS.values() for number, name in enumerate(form.months, start=1)}
    return (
        written
        | {name[:3]: number for name, number in written.items() if name[:3] != "jui"}
        | {"sept": 9, "janv": 1, "fevr": 2, "juil": 7, "dez": 12}
    )


_MONTHS = _months()
_MONTH = rf"(?P<m>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\b\.?"
_ORDINAL = r"(?P<d>[0-9]{1,2})(?:st|nd|rd|th|er|re|\.|o)?"
_YEAR = r"(?:,? (?:de |del |of )?(?P<y>[0-9]{4}))?(?![0-9])"
_DATES = (
    re.compile(r"(?<![\w-])(?P<y>[0-9]{4})[-/.](?P<m>[0-9]{1,2})[-/.](?P<d>[0-9]{1,2})(?![\w-])"),
    re.compile(rf"(?<![\w.,]){_ORDINAL} ?(?:de |of )?{_MONTH}{_YEAR}"),
    re.compile(rf"\b{_MONTH} (?:the )?{_ORDINAL}{_YEAR}"),
    re.compile(r"(?<![\w./-])(?P<d>[0-9]{1,2})[./-](?P<m>[0-9]{1,2})[./-](?P<y>[0-9]{4}|[0-9]{2})(?![\w-]|[./][0-9])"),
    re.compile(r"(?<![\w./,-])(?P<d>[0-9]{1,2})[./](?P<m>[0-9]{1,2})\.?(?P<y>(?!))?(?![\w,-]|[./][0-9])"),
)


def _on_date(found: re.Match[str], order: Order | NoOrder, policy: Policy) -> str | None:
    year, month, day = found["y"], found["m"], int(found["d"])
    readings = {(int(month) if month.isdigit() else _MONTHS[month], day)}
    if month.isdigit() and not (year and found.group().startswith(year)):
        readings.add((day, int(month)))  # 11/16/2026
    if not any(1 <= one <= 12 and 1 <= other <= 31 for one, other in readings):
        return None
    for known in _days_of(order, policy):
        if (known.month, known.day) in readings and (year is None or str(known.year).endswith(year)):
            return ""
    if year is None and month.isdigit():
        return None  # it may be an amount or a time
    return f"it contains the date {found.group().strip()}, which is not a date of the order"


def _days_of(order: Order | NoOrder, policy: Policy) -> Iterator[date]:
    if isinstance(order, Order):
        days = (order.placed_on, order.due_on, order.shipped_on, order.delivered_on)
        yield from (day for day in days if day is not None)
        if order.delivered_on is not None:
            yield order.delivered_on + timedelta(days=policy.refund_days)


def _on_period(found: re.Match[str], policy: Policy) -> str | None:
    if found[1] in _INDEFINITE:
        return None
    hours = next(hours for hours, unit in zip(_HOURS, found.groups()[1:], strict=True) if unit)
    length = hours * (Decimal(found[1]) if found[1].isdigit() else _WORDS[found[1]])
    allowed = {Decimal(24 * days) for days in (policy.refund_days, policy.answer_days) if days is not None}
    return "" if length in allowed else f'it contains a period ("{found.group()}") that is not in the policy'


def _on_time(found: re.Match[str], policy: Policy) -> str | None:
    hour, minute = int(found[1]), int(found[2] or 0)
    if found[2] is None and found[3] is None:
        return None
    hours = {hour, hour + 12} if (found[3] or "").startswith("p") else {hour}
    spoken = {int(number) for text in policy.opening_hours.values() for number in re.findall("[0-9]{1,2}", text)}
    return "" if hours & spoken and minute in spoken | {0} else None


def _on_token(found: re.Match[str], order: Order | NoOrder, policy: Policy) -> str:
    token = found.group().strip(_EDGES)
    if re.fullmatch(_CENTS, token) and _figure(token) in {*amounts_of(order, policy), *_counts(order, policy)}:
        return ""
    return f'it contains the figure "{token[:SHOWN_CHARACTERS_MAX]}", which is not in the order or the policy'


def _counts(order: Order | NoOrder, policy: Policy) -> Iterator[Decimal]:
    yield Decimal(policy.refund_days)
    if isinstance(order, Order):
        yield from (Decimal(item.quantity) for item in order.items)
        yield Decimal(len(order.items))


SHOWN_CHARACTERS_MAX = 40  # enough to find it in the reply
