"""A reply as the checks read it: plain letters and figures, without what the shop says of itself."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from pointsman_desk.case import NoOrder, Order, Policy, Trust

SHOWN_CHARACTERS_MAX = 20_000  # `length` objects long before; one character may stand for eighteen (U+FDFA)
TEXTS_MAX = 256  # texts that are kept plain: those that the checks of one reply ask for again and again
_EVERYDAY = re.compile(r"[ -~\n\r\t]*")  # most texts of a shop: nothing to do
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn")  # what has no shape of its own (Unicode, general categories)


@lru_cache(maxsize=TEXTS_MAX)
def plain(text: str) -> str:
    """Return `text` with letters and figures as they look (NFKC), without what nobody sees; line breaks stay."""
    if _EVERYDAY.fullmatch(text):
        return text[:SHOWN_CHARACTERS_MAX]
    shown = (mark for mark in unicodedata.normalize("NFKC", text)[:SHOWN_CHARACTERS_MAX] if not hidden(mark))
    return "".join(_figure(mark) for mark in shown)


def hidden(mark: str) -> bool:
    """Say whether `mark` is a character that nobody sees, or that changes how others are shown."""
    return mark not in "\n\r\t" and unicodedata.category(mark) in _HIDDEN


def without(text: str, *known: Iterable[str]) -> str:
    """Return `text` without the `known` pieces, where they stand by themselves; the longest go first."""
    pieces = {line.strip() for texts in known for piece in texts for line in plain(piece).splitlines()} - {""}
    for piece in sorted(pieces, key=len, reverse=True):
        if piece in text:
            text = re.sub(rf"(?<![\w@./-]){re.escape(piece)}(?![\w@/-]|\.\w)", " ", text)
    return text


def own(policy: Policy) -> Iterator[str]:
    """Give what the policy lets every reply say: the signature, the hours, and the links, contacts and codes it allows."""
    yield from policy.signature.values()
    yield from policy.opening_hours.values()
    yield from policy.contacts_allowed
    yield from policy.discount_codes
    for link in policy.links_allowed:
        yield from (link, f"https://{link}", f"https://{link}/")


def names(order: Order | NoOrder, trust: Trust) -> Iterator[str]:
    """Give the names and numbers of the order that a reply to this sender may hold."""
    if isinstance(order, Order) and trust.may_know_the_order:
        yield from (order.number, order.customer, order.carrier or "", order.tracking or "")
        yield from (item.name for item in order.items)


def _figure(mark: str) -> str:
    value = unicodedata.decimal(mark, None)
    return mark if value is None else str(value)
