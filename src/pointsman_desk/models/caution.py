"""A model beside the rules: it may raise what they say of a mail, and lower nothing."""

import re
from collections.abc import Iterator, Sequence

from pointsman_desk.case import BY_HAND, Grounds, Intent, Mail, Risk
from pointsman_desk.models.base import Classification
from pointsman_desk.models.signs import signs
from pointsman_desk.models.words import fold, language_of, tricked

PHRASES_MAX = 16  # eight of each, which is what each of them gives

_RISKS = tuple(Risk)  # the least first
_RISKIEST_FIRST = (Intent.LEGAL, Intent.REFUND, Intent.COMPLAINT, Intent.UNCLEAR)
_NOTES = {
    "hidden-text": Risk.HIGH,
    "smuggled-characters": Risk.HIGH,
    "several-senders": Risk.HIGH,
    "reply-to-elsewhere": Risk.MEDIUM,
    "reply-to-list": Risk.MEDIUM,
    "invisible-characters": Risk.MEDIUM,
}


def combined(rules: Classification, model: Classification, mail: Mail) -> Classification:
    """Set what a model says of `mail` beside what the rules say.

    The risk is the highest of both and of what is odd about the mail, as `cautious` has it. An intent that is for a person
    stays one, whoever found it, and where the two disagree on another, the mail is unclear. Of the model's grounds, what
    does not stand in the mail is left out.
    """
    text = f"{mail.subject}\n{mail.said}"
    words = f" {fold(text)} "
    said = [phrase for phrase in model.grounds.phrases if fold(phrase) and f" {fold(phrase)} " in words]
    number = rules.grounds.order_number
    both = Classification(
        intent=_intent(rules.intent, model.intent),
        risk=max(rules.risk, model.risk, key=_RISKS.index),
        grounds=Grounds(
            language=language_of(mail.text) or language_of(text) or model.grounds.language,
            phrases=tuple(dict.fromkeys([*rules.grounds.phrases, *said]))[:PHRASES_MAX],
            order_number=number if number is not None else _standing_in(text, model.grounds.order_number),
            model=model.grounds.model,
            opinions=(_opinion(rules), _opinion(model)),
        ),
    )
    return cautious(both, mail)


def cautious(found: Classification, mail: Mail) -> Classification:
    """Raise the risk of `found` to that of what is odd about the mail; with a `sign`, what is not for a person anyhow is high."""
    told = signs(mail)
    for_person = Risk.HIGH if told and found.intent not in BY_HAND else Risk.LOW
    risk = max(found.risk, for_person, *circumstances(mail), key=_RISKS.index)
    return found.model_copy(update={"risk": risk, "grounds": found.grounds.model_copy(update={"signs": told})})


def continued(found: Classification, earlier: Sequence[Classification], so_far: Risk) -> Classification:
    """Raise what was found in the newest mail of a conversation to what those before it speak for.

    What was for a person stays so, however harmless the next mail. An order that one named before is still the one meant.
    """
    wanted = [one.intent for one in earlier if one.intent in BY_HAND]
    told = tuple(dict.fromkeys(f"an earlier mail of the conversation is about: {intent}" for intent in wanted))
    for_person = Risk.HIGH if told and found.intent not in BY_HAND else Risk.LOW
    risk = max(found.risk, for_person, so_far, *(one.risk for one in earlier), key=_RISKS.index)
    numbers = [one.grounds.order_number for one in (*earlier, found) if one.grounds.order_number]
    grounds = found.grounds.model_copy(update={"signs": (*found.grounds.signs, *told), "order_number": numbers[-1] if numbers else None})
    return found.model_copy(update={"risk": risk, "grounds": grounds})


def circumstances(mail: Mail) -> Iterator[Risk]:
    """Give what the mail itself speaks for, whatever its words: each odd thing about it can raise the risk."""
    yield Risk.LOW
    yield from (_NOTES[note] for note in mail.notes if note in _NOTES)
    if tricked(f"{mail.subject}\n{mail.said}"):
        yield Risk.HIGH
    if mail.attachments:
        yield Risk.MEDIUM  # nobody has looked into it


def _intent(rules: Intent, model: Intent) -> Intent:
    for intent in _RISKIEST_FIRST:
        if intent in (rules, model):
            return intent
    return rules if rules is model else Intent.UNCLEAR


def _standing_in(text: str, number: str | None) -> str | None:
    """Return an order number that a model gave, if it stands in the mail, with or without its marks."""
    letters = re.findall(r"[^\W_]", number or "")
    if not any(letter.isdigit() for letter in letters):
        return None
    pattern = r"[\W_]{0,2}".join(map(re.escape, letters))
    return number if re.search(rf"(?<![^\W_]){pattern}(?![^\W_])", text, re.IGNORECASE) else None


def _opinion(found: Classification) -> str:
    return f"{found.grounds.model}: {found.intent}, risk {found.risk}"
