"""The checks on a reply before a person or a customer sees it: each is one function, and none asks a model."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from pointsman import Violation
from pointsman_desk.case import Grounds, Intent, Language, NoOrder, Order, Policy, Reply, Verdict
from pointsman_desk.models.words import fold, language_of

CHARACTERS_MIN = 20  # a greeting and a name: shorter than this answers nothing
CHARACTERS_MAX = 4000  # two printed pages; a customer reads no more
JUDGED_WORDS_MIN = 8  # fewer words may be in any language: a name, a number, a greeting
SHOUTED_CHARACTERS_MIN = 4  # three such words in a row are no abbreviation, no code and no name
PHONE_DIGITS_MIN = 7  # the shortest numbers that are dialled across a country


@dataclass(frozen=True)
class Review:
    """What a check looks at: the reply, and all that it must agree with."""

    reply: Reply
    intent: Intent
    grounds: Grounds
    order: Order | NoOrder
    policy: Policy

    @property
    def free_text(self) -> str:
        """The body without what the policy itself says: the shop's own address and hours need no permission."""
        body = unicodedata.normalize("NFKC", self.reply.body)
        own = (*self.policy.signature.values(), *self.policy.opening_hours.values())
        for text in sorted((unicodedata.normalize("NFKC", text) for text in own), key=len, reverse=True):
            for line in text.splitlines():
                body = re.sub(rf"(?<![\w@./-]){re.escape(line)}(?![\w@/-]|\.\w)", " ", body) if line.strip() else body
        return body


def validate(reply: Reply, intent: Intent, grounds: Grounds, order: Order | NoOrder, policy: Policy) -> Verdict:
    """Hold `reply` against the customer's language, the facts of `order` and the rules of `policy`."""
    review = Review(reply, intent, grounds, order, policy)
    found = (Violation(check=check.__name__, message=message) for check in CHECKS for message in check(review))
    return Verdict(violations=tuple(found))


_APOLOGY = {
    Language.ENGLISH: r"\b(?:we are|we re|i am|i m) (?:\w+ )?sorry\b|\b(?:we|i) (?:\w+ )?apologi[sz]e\b|\bour (?:\w+ )?apolog",
    Language.GERMAN: r"\btut (?:uns|mir) (?:\w+ )?leid\b|\bentschuldigen (?:wir )?uns\b|\bum entschuldigung\b"
    r"|\bzu entschuldigen\b|\bentschuldigen sie\b|\bwir bedauern\b",
    Language.FRENCH: r"\b(?:nous sommes|je suis) (?:\w+ )?desolee?s?\b|\bnos (?:\w+ )?excuses\b|\bnous (?:\w+ )?excus"
    r"|\bnous regrettons\b",
    Language.SPANISH: r"\bsentimos\b|\blamentamos\b|\bdisculp\w+|\bperdone?\b",
}


def apology_included(review: Review) -> Iterator[str]:
    """An apology in the customer's language, where the policy asks for one."""
    due = review.intent in review.policy.apology_required
    if due and not re.search(_APOLOGY[review.grounds.language], fold(review.reply.body)):
        yield f"the policy asks for an apology in a reply to {review.intent}, and none was found"


_CODES = {"€": "EUR", "euro": "EUR", "euros": "EUR", "$": "USD", "dollar": "USD", "dollars": "USD", "dolares": "USD"}
_CODES |= {"£": "GBP", "francs": "CHF", "franken": "CHF"}
_FIGURE = r"(?:[0-9]{1,3}(?:[ '.,][0-9]{3}){1,4}(?:[.,][0-9]{1,2})?|[0-9]{1,12}(?:[.,][0-9]{1,2})?)(?![0-9])"
_SHARE = re.compile(r"[0-9] ?%|\b(?:percent|per cent|prozent|pour cent|por ciento)\b")
_SENTENCE = re.compile(r"(?<=[.!?])\s|\n\n")

# Folded text: "wir erstatten Ihnen", "you will receive a refund". The gaps are bounded, so that the time is linear.
_PROMISE = re.compile(
    r"\bwe (?:will |ll |shall |are going to |have |are |re )?(?:\w+ )?(?:refund|reimburs|compensat|credit)\w*"
    r"|\b(?:will|shall) (?:\w+ ){0,4}refund(?:ed)?\b|\brefund (?:of )?(?:\w+ ){0,4}(?:approved|issued|granted|on its way)\b"
    r"|\bmoney back\b"
    r"|\bwir (?:\w+ ){0,3}(?:erstatten|uberweisen|entschadigen)\b|\b(?:erstatten|uberweisen) wir\b"
    r"|\b(?:wird|werden|wurde) (?:\w+ ){0,5}(?:zuruck)?erstattet\b|\bwerden wir (?:\w+ ){0,6}(?:zuruck)?erstatten\b"
    r"|\bgeld (?:\w+ ){0,2}zuruck\b|\berstattung (?:\w+ ){0,4}(?:genehmigt|bewilligt|veranlasst)\b"
    r"|\bnous (?:\w+ ){0,3}(?:rembours(?:ons|erons|er)|dedommag\w+)\b|\bser(?:a|ez|ont) (?:\w+ ){0,2}rembourse\w*"
    r"|\bremboursement (?:\w+ ){0,5}(?:accepte|approuve|accorde|effectue)\w*"
    r"|\b(?:reembols|indemniz)(?:amos|aremos)\b|\bvamos a reembolsar|\b(?:sera|seran) reembolsad\w+|\brecibira (?:\w+ ){0,3}reembolso"
    r"|\bdevolv(?:emos|eremos)\b|\breembolso (?:\w+ ){0,4}(?:aprobado|aceptado|realizado|concedido)\b"
)
_GUARANTEE = re.compile(
    r"\b(?:guaranteed?|we promise|i promise|garantier(?:en|t|e)|versprechen (?:wir|ihnen)|wir versprechen|garanti(?:ssons|s)"
    r"|nous promettons|garanti(?:zamos|zado|zo)|prometemos)\b"
)
_SHIPPING = re.compile(
    r"\b(?:shipping|delivery (?:cost|charge|fee)s?|postage|versand\w*|lieferkosten|porto|frais de (?:port|livraison)|frais d envoi"
    r"|gastos de envio|portes)\b"
)
_WHOLE = re.compile(
    r"\b(?:full|fully|entire|whole|everything|purchase price|voll\w*|gesamt\w*|komplett\w*|kaufpreis\w*|integral\w*|totalite"
    r"|prix d achat|integr[oa]|totalidad|completo)\b"
)


def refund_within_policy(review: Review) -> Iterator[str]:
    """No amount that is no fact or above the policy's limit, and no promise that the policy does not allow."""
    text, policy = review.free_text, review.policy
    facts = set(_fact_amounts(review.order, policy))
    for amount, currency in _amounts(text, policy.currency):
        if amount is None:
            yield f'it speaks of money without a figure that can be checked ("{currency}")'
        elif currency != policy.currency:
            yield f"it names {amount} {currency}, and the policy speaks of {policy.currency} only"
        elif amount > policy.refund_max:
            yield f"it names {amount} {currency}, and the policy allows no amount above {policy.refund_max}"
        elif amount not in facts:
            yield f"it names {amount} {currency}, which is no amount of the order or the policy"
    if _SHARE.search(_plain_figures(text)):
        yield "it names a percentage, and the policy knows none"
    if _GUARANTEE.search(fold(text)):
        yield "it guarantees something, and the policy guarantees nothing"
    for sentence in _SENTENCE.split(text):
        promise = _PROMISE.search(fold(sentence))
        if promise and not _may_promise(sentence, review.order, policy):
            yield f'it promises a refund ("{promise.group()}") that the policy does not allow for this order'


def _may_promise(sentence: str, order: Order | NoOrder, policy: Policy) -> bool:
    """Say whether `sentence` promises the shipping, and nothing else, of an order whose due date may have passed."""
    if not isinstance(order, Order) or not policy.shipping_refunded_when_late or order.due_on is None:
        return False
    in_time = order.delivered_on is not None and order.delivered_on <= order.due_on
    if order.status == "cancelled" or in_time or (order.status == "delivered" and order.delivered_on is None):
        return False
    words = fold(sentence)
    only_shipping = all(amount == order.shipping for amount, _ in _amounts(sentence, policy.currency))
    return bool(_SHIPPING.search(words)) and not _WHOLE.search(words) and only_shipping


def _fact_amounts(order: Order | NoOrder, policy: Policy) -> Iterator[Decimal]:
    yield policy.refund_max
    if isinstance(order, Order) and order.currency == policy.currency:
        yield from (order.shipping, order.total, order.total - order.shipping)
        for item in order.items:
            yield from (item.price, item.price * item.quantity)


def _plain_figures(text: str) -> str:
    """Return `text` in lower case without accents, with every kind of space as a plain one; figures keep their marks."""
    plain = "".join(mark for mark in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(mark))
    return re.sub(r"\s", " ", plain.replace("\u2019", "'"))


def _amounts(text: str, home: str) -> Iterator[tuple[Decimal | None, str]]:
    """Give each amount of money in `text` with its currency; a currency without a figure gives None and its word."""
    codes = "|".join(sorted({"eur", "usd", "gbp", "chf", "sek", "nok", "dkk", "pln", "czk", re.escape(home.lower())}))
    money = rf"(?:[€$£]|(?<![a-z])(?:{codes}|euros?|dollars?|dolares|francs|franken)(?![a-z]))"
    pattern = re.compile(rf"(?<![0-9])(?P<a>{_FIGURE}) ?(?P<x>{money})|(?P<y>{money}) ?(?P<b>{_FIGURE})|(?P<z>{money})")
    for found in pattern.finditer(_plain_figures(text)):
        word = found["x"] or found["y"] or found["z"]
        figure = found["a"] or found["b"]
        yield _figure(figure) if figure else None, _CODES.get(word, word.upper()) if figure else word


def _figure(text: str) -> Decimal:
    """Read a figure: a point or comma before one or two last digits is the decimal one, each other mark groups."""
    whole, cents = re.fullmatch(r"(.+?)(?:[.,]([0-9]{1,2}))?", text.replace(" ", "").replace("'", "")).groups()  # type: ignore[union-attr]  # matches any text
    return Decimal(f"{re.sub('[.,]', '', whole)}.{cents or 0}")


def approved_tone(review: Review) -> Iterator[str]:
    """One of the tones that the policy names, and no shouting."""
    tones = ", ".join(review.policy.approved_tones)
    if review.reply.tone not in review.policy.approved_tones:
        yield f"its tone is {review.reply.tone}, and the policy approves {tones}"
    words = review.reply.body.split()
    capitals = [len(word) >= SHOUTED_CHARACTERS_MIN and word.isupper() for word in words]
    if re.search(r"[!?]{2}", review.reply.body) or any(map(all, zip(capitals, capitals[1:], capitals[2:], strict=False))):
        yield "it shouts: take out the doubled marks or the words in capitals"


def language_of_customer(review: Review) -> Iterator[str]:
    """The customer's language, by its label and by its words."""
    wanted, body = review.grounds.language, review.reply.body
    if review.reply.language != wanted:
        yield f"it is marked as {review.reply.language}, and the customer writes {wanted}"
    if len(fold(body).split()) >= JUDGED_WORDS_MIN and language_of(body) != wanted:
        yield f"its words do not read as {wanted}, the customer's language"


_LINK = re.compile(
    r"[a-z][a-z0-9+.-]{1,20}://|\bwww\.|\bmailto:|\b(?:tel|javascript|data):"
    r"|[a-z0-9-]\.(?:com|net|org|info|biz|io|eu|de|fr|es|at|ch|uk|us|shop|store|online|site|xyz|app|link|ru|cn|example|test|invalid)\b"
)
_ADDRESS = re.compile(r"[^\s@<>\"']@[^\s@<>\"']")
_DIGITS = re.compile(r"\+?[0-9](?:[ ()/.\-]{0,3}[0-9]){6,40}")
_DATE = re.compile(r"(?<![0-9./-])(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}[./-][0-9]{1,2}[./-](?:[0-9]{4}|[0-9]{2}))(?![0-9]|[./-][0-9])")


def no_links_or_addresses(review: Review) -> Iterator[str]:
    """No link, e-mail address or telephone number but the shop's own, which the signature and the hours name."""
    text = review.free_text
    seen = f"{text}\n{unicodedata.normalize('NFKC', review.reply.subject)}".lower()
    if _ADDRESS.search(seen):
        yield "it names an e-mail address that is not the shop's own"
    elif _LINK.search(seen):
        yield "it holds a link"
    known = (review.order.tracking, review.order.number) if isinstance(review.order, Order) else ()
    for fact in (fact for fact in known if fact):
        text = re.sub(rf"(?<!\w){re.escape(fact)}(?!\w)", " ", text)
    if _DIGITS.search(_DATE.sub(" ", text)):
        yield f"it holds a number of {PHONE_DIGITS_MIN} or more digits that is no fact of the order: a telephone, a card, an account"


_MARKUP = re.compile(r"<[a-zA-Z/!]|&(?:[a-zA-Z]{2,8}|#[0-9xX][0-9a-fA-F]{0,6});|\]\(|```")


def plain_text(review: Review) -> Iterator[str]:
    """Text without markup and without characters that nobody sees."""
    if _MARKUP.search(review.reply.body):
        yield "it holds markup, and a reply is plain text"
    if any(unicodedata.category(mark) in {"Cc", "Cf", "Cs"} and mark not in "\n\r\t" for mark in review.reply.body):
        yield "it holds characters that nobody sees"


def length(review: Review) -> Iterator[str]:
    """Neither too short to answer anything nor too long to be read."""
    characters = len(review.reply.body.strip())
    if characters < CHARACTERS_MIN:
        yield f"it has {characters} characters, and below {CHARACTERS_MIN} it answers nothing"
    if characters > CHARACTERS_MAX:
        yield f"it has {characters} characters, and above {CHARACTERS_MAX} nobody reads it"


CHECKS = (
    apology_included,
    refund_within_policy,
    approved_tone,
    language_of_customer,
    no_links_or_addresses,
    plain_text,
    length,
)
