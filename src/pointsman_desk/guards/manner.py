"""Manner: the language, length, tone and apology of a reply."""

import re
import unicodedata
from collections.abc import Iterator

from pointsman_desk.case import Grounds, Intent, Policy, Reply
from pointsman_desk.guards.text import own, plain, without
from pointsman_desk.guards.wording import holds, says
from pointsman_desk.models.words import fold, language_of

CHARACTERS_MIN = 20  # a greeting and a name
JUDGED_WORDS_MIN = 8  # fewer words may be in any language: a name, a number, a greeting
PARAGRAPH_WORDS_MIN = 10  # a shorter paragraph has too few small words to judge it by itself
SHOUTED_CHARACTERS_MIN = 4  # three such words in a row are not an abbreviation, a code or a name
EXCLAMATIONS_MAX = 3  # one each for a greeting, a thank-you and a wish


def apology_included(reply: Reply, intents: tuple[Intent, ...], grounds: Grounds, policy: Policy) -> Iterator[str]:
    """Report a reply without an apology in the customer's language, if the policy requires one."""
    due = [intent for intent in intents if intent in policy.apology_required]
    if due and not any(says(plain(reply.body), "apology", language=grounds.language)):
        yield f"it has no apology, which the policy requires in a reply to {due[0]}"


def approved_tone(reply: Reply, policy: Policy) -> Iterator[str]:
    """Report a tone that the policy does not approve, shouting, flattery and emoji."""
    tones = ", ".join(policy.approved_tones)
    if reply.tone not in policy.approved_tones:
        yield f"its tone is {reply.tone}, but the policy approves only {tones}"
    body = plain(reply.body)
    capitals = [len(word) >= SHOUTED_CHARACTERS_MIN and word.isupper() for word in body.split()]
    shouted = any(map(all, zip(capitals, capitals[1:], capitals[2:], strict=False)))
    if shouted or re.search(r"[!?]{2}", body) or body.count("!") > EXCLAMATIONS_MAX:
        yield "it shouts; remove repeated exclamation marks or words in capitals"
    for phrase in holds(without(body, own(policy)), "flattery"):
        yield f'it flatters ("{phrase}")'
    if any(unicodedata.category(mark) == "So" and mark not in "\u00a9\u00ae\u00b0" for mark in {*body}):
        yield "it contains an emoji or symbol"


def language_of_customer(reply: Reply, grounds: Grounds, policy: Policy) -> Iterator[str]:
    """Report a language other than the customer's, by the reply's label, its words, and the words of each paragraph."""
    wanted, body = grounds.language, plain(reply.body)
    if reply.language != wanted:
        yield f"its language is {reply.language}, but the customer writes {wanted}"
    if len(fold(body).split()) >= JUDGED_WORDS_MIN and language_of(body) != wanted:
        yield f"its words do not read as {wanted}, the customer's language"
        return
    for paragraph in without(body, own(policy)).split("\n\n"):
        spoken = language_of(paragraph)
        if spoken not in (None, wanted) and len(fold(paragraph).split()) >= PARAGRAPH_WORDS_MIN:
            yield f"a paragraph reads as {spoken}, but the customer writes {wanted}"


def length(reply: Reply, policy: Policy) -> Iterator[str]:
    """Report a reply that is too short or too long."""
    characters = len(reply.body.strip())
    if characters < CHARACTERS_MIN:
        yield f"it has {characters} characters; the minimum is {CHARACTERS_MIN}"
    if characters > policy.reply_characters_max:
        yield f"it has {characters} characters; the maximum is {policy.reply_characters_max}"
