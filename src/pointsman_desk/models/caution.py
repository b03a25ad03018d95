"""Combine a model's answer with the rules: the model may raise the risk, never lower it."""

import re
from collections.abc import Iterator, Sequence

from pointsman_desk.case import BY_HAND, Grounds, Intent, Mail, Risk, ranked
from pointsman_desk.models.base import Classification
from pointsman_desk.models.signs import signs
from pointsman_desk.models.words import fold, language_of, tricked

SEVERAL_ORDERS = "its mails name several orders"
PHRASES_MAX = 16  # eight of the rules and eight of the model

_RISKS = tuple(Risk)  # lowest first
_NOTES = {
    "hidden-text": Risk.HIGH,
    "smuggled-characters": Risk.HIGH,
    "several-senders": Risk.HIGH,
    "reply-to-elsewhere": Risk.MEDIUM,
    "reply-to-list": Risk.MEDIUM,
    "invisible-characters": Risk.MEDIUM,
}


def combined(rules: Classification, model: Classification, mail: Mail) -> Classification:
    """Combine the classifications of `mail` by the rules and by a model.

    The risk is the highest of both and of the mail's peculiarities (`cautious`). An intent that needs a person stays, whoever found it;
    if the two disagree on another intent, the mail is unclear. Grounds of the model that are not in the mail are dropped.
    """
    text = f"{mail.subject}\n{mail.said}"
    words = f" {fold(text)} "
    said = [phrase for phrase in model.grounds.phrases if fold(phrase) and f" {fold(phrase)} " in words]
    number = rules.grounds.order_number
    both = Classification(
        intents=_intents(rules.intents, model.intents),
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
    """Raise the risk of `found` for the mail's peculiarities; a `sign` makes it high, unless the mail needs a person anyway."""
    found_signs = signs(mail)
    for_person = Risk.HIGH if found_signs and found.intent not in BY_HAND else Risk.LOW
    risk = max(found.risk, for_person, *circumstances(mail), key=_RISKS.index)
    return found.model_copy(update={"risk": risk, "grounds": found.grounds.model_copy(update={"signs": found_signs})})


def continued(
    found: Classification, earlier: Sequence[Classification], so_far: Risk, answered: Sequence[Classification] = ()
) -> Classification:  # fmt: skip
    """Add the intents of the earlier unanswered mails to the classification of the newest mail.

    All intents stay, and the highest risk counts. From the `answered` mails only the order number counts, unless a later mail names
    another order.
    """
    mails = (*earlier, found)
    numbers = list(dict.fromkeys(one.grounds.order_number for one in mails if one.grounds.order_number))
    found_signs = [SEVERAL_ORDERS] if len(numbers) > 1 else []
    intents = ranked(intent for one in (found, *earlier) for intent in one.intents)
    for_person = Risk.HIGH if found_signs and intents[0] not in BY_HAND else Risk.LOW
    before = [one.grounds.order_number for one in answered if one.grounds.order_number]
    grounds = found.grounds.model_copy(
        update={
            "signs": tuple(dict.fromkeys([*(sign for one in (found, *earlier) for sign in one.grounds.signs), *found_signs])),
            "phrases": tuple(dict.fromkeys(phrase for one in (found, *earlier) for phrase in one.grounds.phrases))[:PHRASES_MAX],
            "order_number": next(reversed([*before, *numbers]), None),
        }
    )
    return Classification(intents=intents, risk=max(for_person, so_far, *(one.risk for one in mails), key=_RISKS.index), grounds=grounds)


def circumstances(mail: Mail) -> Iterator[Risk]:
    """Yield the risk of each peculiarity of the mail, whatever its words."""
    yield Risk.LOW
    yield from (_NOTES[note] for note in mail.notes if note in _NOTES)
    if tricked(f"{mail.subject}\n{mail.said}"):
        yield Risk.HIGH
    if mail.attachments:
        yield Risk.MEDIUM  # nobody has opened the attachments


def _intents(rules: Sequence[Intent], model: Sequence[Intent]) -> tuple[Intent, ...]:
    both = ranked((*rules, *model))
    return both if both[0] in BY_HAND or set(rules) == set(model) else (Intent.UNCLEAR, *both)


def _standing_in(text: str, number: str | None) -> str | None:
    """Return the model's order number if it is in the mail, with or without punctuation."""
    letters = re.findall(r"[^\W_]", number or "")
    if not any(letter.isdigit() for letter in letters):
        return None
    pattern = r"[\W_]{0,2}".join(map(re.escape, letters))
    return number if re.search(rf"(?<![^\W_]){pattern}(?![^\W_])", text, re.IGNORECASE) else None


def _opinion(found: Classification) -> str:
    return f"{found.grounds.model}: {', '.join(found.intents)}, risk {found.risk}"
