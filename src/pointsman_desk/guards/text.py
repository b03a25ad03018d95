"""The text of a reply as the checks read it: normalised, and without the shop's own data."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from pointsman_desk.case import NoOrder, Order, Policy, Trust

SHOWN_CHARACTERS_MAX = 20_000  # far beyond the limit of `length`; NFKC turns one character into up to 18 (U+FDFA)
TEXTS_MAX = 256  # cached texts: as many as the checks of one reply normalise repeatedly
_EVERYDAY = re.compile(r"[ -~\n\r\t]*")  # most texts: nothing to normalise
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn")  # invisible characters (Unicode, general categories)


@lru_cache(maxsize=TEXTS_MAX)
def plain(text: str) -> str:
    """Return `text` in NFKC form without invisible characters; line breaks stay."""
    if _EVERYDAY.fullmatch(text):
        return text[:SHOWN_CHARACTERS_MAX]
    shown = unicodedata.normalize("NFKC", text)[:SHOWN_CHARACTERS_MAX]
    return shown.translate({ord(mark): None if hidden(mark) else _figure(mark) for mark in {*shown}})


def hidden(mark: str) -> bool:
    """Return whether `mark` is invisible or changes how other characters are shown."""
    return mark not in "\n\r\t" and unicodedata.category(mark) in _HIDDEN


def without(text: str, *known: Iterable[str]) -> str:
    """Return `text` without the `known` pieces where they are whole words, the longest first."""
    return _without(text, tuple(tuple(texts) for texts in known))


@lru_cache(maxsize=TEXTS_MAX)
def _without(text: str, known: tuple[tuple[str, ...], ...]) -> str:
    pieces = {line.strip() for texts in known for piece in texts for line in plain(piece).splitlines()} - {""}
    for piece in sorted(pieces, key=len, reverse=True):
        if piece in text:
            text = re.sub(rf"(?<![\w@./-]){re.escape(piece)}(?![\w@/-]|\.\w)", " ", text)
    return text


def own(policy: Policy) -> Iterator[str]:
    """Yield what the policy allows in every reply: the signature, the hours, the links, contacts and codes."""
    yield from policy.signature.values()
    yield from policy.opening_hours.values()
    yield from policy.contacts_allowed
    yield from policy.discount_codes
    for link in policy.links_allowed:
        yield from (link, f"https://{link}", f"https://{link}/")


def names(order: Order | NoOrder, trust: Trust) -> Iterator[str]:
    """Yield the names and numbers of the order that a reply to this sender may contain."""
    if isinstance(order, Order) and trust.may_know_the_order:
        yield from (order.number, order.customer, order.carrier or "", order.tracking or "")
        yield from (item.name for item in order.items)


def _figure(mark: str) -> str:
    value = unicodedata.decimal(mark, None)
    return mark if value is None else str(value)
