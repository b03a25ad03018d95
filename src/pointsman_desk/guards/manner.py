"""Manner: what a reply must sound like to this customer."""

import re
import unicodedata
from collections.abc import Iterator

from pointsman_desk.case import Grounds, Intent, Policy, Reply
from pointsman_desk.guards.text import own, plain, without
from pointsman_desk.guards.wording import holds, says
from pointsman_desk.models.words import fold, language_of

CHARACTERS_MIN = 20  # a greeting and a name: shorter than this answers nothing
JUDGED_WORDS_MIN = 8  # fewer words may be in any language: a name, a number, a greeting
PARAGRAPH_WORDS_MIN = 10  # a paragraph is judged by itself only where its small words can lead clearly
SHOUTED_CHARACTERS_MIN = 4  # three such words in a row are no abbreviation, no code and no name
EXCLAMATIONS_MAX = 3  # a greeting, a thank-you, a wish


def apology_included(reply: Reply, intents: tuple[Intent, ...], grounds: Grounds, policy: Policy) -> Iterator[str]:
    """Object to a reply without an apology in the customer's language, where the policy asks for one."""
    due = [intent for intent in intents if intent in policy.apology_required]
    if due and not any(says(plain(reply.body), "apology", language=grounds.language)):
        yield f"the policy asks for an apology in a reply to {due[0]}, and none was found"


def approved_tone(reply: Reply, policy: Policy) -> Iterator[str]:
    """Object to a tone that the policy does not name, to shouting, to flattery and to little pictures."""
    tones = ", ".join(policy.approved_tones)
    if reply.tone not in policy.approved_tones:
        yield f"its tone is {reply.tone}, and the policy approves {tones}"
    body = plain(reply.body)
    capitals = [len(word) >= SHOUTED_CHARACTERS_MIN and word.isupper() for word in body.split()]
    shouted = any(map(all, zip(capitals, capitals[1:], capitals[2:], strict=False)))
    if shouted or re.search(r"[!?]{2}", body) or body.count("!") > EXCLAMATIONS_MAX:
        yield "it shouts: take out the doubled marks or the words in capitals"
    for phrase in holds(without(body, own(policy)), "flattery"):
        yield f'it flatters ("{phrase}")'
    if any(unicodedata.category(mark) == "So" and mark not in "\u00a9\u00ae\u00b0" for mark in body):
        yield "it holds a picture sign"


def language_of_customer(reply: Reply, grounds: Grounds, policy: Policy) -> Iterator[str]:
    """Object to another language than the customer's, by the reply's label, by its words, and by those of each paragraph."""
    wanted, body = grounds.language, plain(reply.body)
    if reply.language != wanted:
        yield f"it is marked as {reply.language}, and the customer writes {wanted}"
    if len(fold(body).split()) >= JUDGED_WORDS_MIN and language_of(body) != wanted:
        yield f"its words do not read as {wanted}, the customer's language"
        return
    for paragraph in without(body, own(policy)).split("\n\n"):
        spoken = language_of(paragraph)
        if spoken not in (None, wanted) and len(fold(paragraph).split()) >= PARAGRAPH_WORDS_MIN:
            yield f"a paragraph reads as {spoken}, and the customer writes {wanted}"


def length(reply: Reply, policy: Policy) -> Iterator[str]:
    """Object to a reply that is too short to answer anything or too long to be read."""
    characters = len(reply.body.strip())
    if characters < CHARACTERS_MIN:
        yield f"it has {characters} characters, and below {CHARACTERS_MIN} it answers nothing"
    if characters > policy.reply_characters_max:
        yield f"it has {characters} characters, and above {policy.reply_characters_max} nobody reads it"
