"""Form: a reply is plain text with all slots filled, answers this mail, and does not mention the model's instructions."""

import re
import unicodedata
from collections.abc import Iterator
from difflib import get_close_matches

from pointsman_desk.case import Grounds, Mail, NoOrder, Order, Policy, Reply, Trust
from pointsman_desk.guards.text import hidden, names, own, plain, without
from pointsman_desk.guards.wording import holds
from pointsman_desk.models.base import CANARY, reply_subject
from pointsman_desk.models.words import fold
from pointsman_desk.slots import SLOT, SLOTS, facts_of

_MARKUP = re.compile(
    r"<[a-zA-Z/!?]|&(?:[a-zA-Z]{2,8}|#[0-9xX][0-9a-fA-F]{0,6});|\]\(|!\[|```|`[^`\n]{1,80}`|\*\*\w|__\w"
    r"|^ {0,3}(?:#{1,6} \S|>|[-=*_]{3,}\s*$)|^\|.{0,200}\|\s*$|\[/?(?:url|img|b|i|u)\b",
    re.MULTILINE,
)
_SPACED = re.compile(r"(?<!\w)(?:\w[ .*_\u00b7-]){4}\w(?!\w)")
_BLANK = re.compile(r"\[[^\]\n\d]{2,60}\](?!\()|_{4,}|\bX{4,}\b")
_MACHINE = re.compile(
    r"<\|?/?(?:system|user|assistant|im_|end|inst)|\[/?INST\]|^[^\w\n]{0,8}(?:system|assistant|user|developer)\W{0,4}:|\w\":|\b[a-z]+_[a-z_]+\b",
    re.MULTILINE,
)
_PREFIX = re.compile(r"(?:(?:re|aw|antw|sv|fw|fwd|wg|tr|rv|res)\s?(?:\[\d{1,3}\])?:\s*)+", re.IGNORECASE)
_TYPOGRAPHIC = "\u00aa\u00ba\u00b2\u00b3\u2026\u2122\u00bd\u00bc\u00be\u00b4\u00a8\u00b8\u2011"  # plain text that NFKC spells out


def plain_text(reply: Reply, order: Order | NoOrder, policy: Policy, trust: Trust) -> Iterator[str]:
    """Report markup, invisible characters, and letters that imitate others."""
    body = reply.body
    if _MARKUP.search(plain(body)):
        yield "it contains markup, but a reply is plain text"
    composed = unicodedata.normalize("NFC", body)
    marks = {*composed}
    if any(hidden(mark) or unicodedata.category(mark) in ("Mn", "Me") for mark in marks):
        yield "it contains invisible characters"
    if any(mark.isalnum() and mark not in _TYPOGRAPHIC and unicodedata.normalize("NFKC", mark) != mark for mark in marks):
        yield "it contains letters or figures of an unusual shape"
    rest = without(plain(body), own(policy), names(order, trust))
    if any(mark.isalpha() and "LATIN" not in unicodedata.name(mark, "LATIN") for mark in {*rest} if mark not in "\u00aa\u00ba\u00b5"):
        yield "it contains letters of another alphabet"
    if _SPACED.search(rest):
        yield "it spells out a word letter by letter"


def slots_filled(reply: Reply, order: Order | NoOrder, policy: Policy, grounds: Grounds, trust: Trust) -> Iterator[str]:
    """Report each slot that does not exist or has no fact, and any other braces, because none may be sent."""
    known = order if trust.may_know_the_order else NoOrder(reason="no order from this address")
    facts = facts_of(known, policy, grounds.language)
    for name in dict.fromkeys(SLOT.findall(reply.body)):
        if name not in SLOTS:
            near = get_close_matches(name, SLOTS, n=1)
            yield f"there is no slot {{{{{name}}}}}; " + (
                f"did you mean {{{{{near[0]}}}}}?" if near else f"the slots are {', '.join(SLOTS)}"
            )
        elif facts[name] is None:
            yield f"there is no fact for the slot {{{{{name}}}}}; remove its sentence"
        else:
            yield f"the slot {{{{{name}}}}} was not filled"
    rest = SLOT.sub("", plain(reply.body))
    if "{" in rest or "}" in rest:
        yield "it contains braces that are not a slot"
    if found := _BLANK.search(rest):
        yield f'it contains a blank to fill in ("{found.group()}")'


def no_machine_talk(reply: Reply, policy: Policy) -> Iterator[str]:
    """Report text that reveals a model's instructions, or says that it follows instructions of the mail."""
    text = without(plain(reply.body), own(policy))
    if fold(CANARY) in fold(text):
        yield "it repeats the instructions of the model"
    for group, what in (("machine", "it mentions a machine or its instructions"), ("obedience", "it says that it follows instructions")):
        for phrase in holds(text, group):
            yield f'{what} ("{phrase}")'
    if found := _MACHINE.search(text):
        yield f'it is formatted as a chat or as data ("{found.group().strip()[:40]}")'


def subject_kept(reply: Reply, mail: Mail) -> Iterator[str]:
    """Report a subject other than the customer's without links, because no model may write a header."""
    if fold(_PREFIX.sub("", reply.subject)) != fold(_PREFIX.sub("", reply_subject(mail))):
        yield "its subject is not the subject of the customer's mail"
