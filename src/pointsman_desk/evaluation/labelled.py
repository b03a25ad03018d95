"""Mails with the intents that a person gave them, to measure a model."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pointsman_desk.case import BY_HAND, Intent, Mail, Value
from pointsman_desk.errors import EvaluationInvalid
from pointsman_desk.evaluation.attacks import ADVERSARIAL, Attack, raw_mail
from pointsman_desk.mail.characters import clean
from pointsman_desk.mail.message import read_mail

T = TypeVar("T", bound=BaseModel)
GOLD = Path(__file__).parent / "gold.jsonl"
SENDER = "customer@evaluation.invalid"
DATE = "2026-11-20T09:00:00+00:00"  # the day that the sample shop's orders and mails are made for


class Labelled(Value):
    """A mail, its intent, and its other intents. `attack` names the trick of a deceiving mail."""

    id: str
    mail: Mail
    label: Intent
    also: tuple[Intent, ...] = ()
    attack: str | None = None

    @property
    def wants(self) -> frozenset[Intent]:
        """All intents of the mail."""
        return frozenset({self.label, *self.also})

    @property
    def needs_person(self) -> bool:
        """Whether a person must see the mail, because of its intents or because it is an attack."""
        return self.attack is not None or not self.wants.isdisjoint(SEEN)


SEEN = BY_HAND | {Intent.CANCEL_ORDER}
"""The intents that need a person: those without automatic replies, and a cancellation, which somebody must carry out."""


class _Line(BaseModel):
    """A line of the gold set. `note` explains what is hard about the mail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    language: str
    label: Intent
    also: tuple[Intent, ...] = ()
    subject: str = ""
    text: str
    note: str = ""


def mail_of(number: str, text: str, subject: str = "") -> Mail:
    """Return the parsed mail for a text from outside."""
    notes: set[str] = set()
    return Mail(
        message_id=f"{number}@evaluation.invalid",
        sender=SENDER,
        subject=clean(subject, notes).replace("\n", " "),
        date=DATE,
        text=clean(text, notes),
        notes=tuple(sorted(notes)),
    )


def own_set() -> list[Labelled]:
    """Return the mails that were written for this desk. Raises EvaluationInvalid if they are missing or invalid."""
    return [*_gold(GOLD), *_attacks(ADVERSARIAL)]


def sample_of(mails: Sequence[Labelled], limit: int | None, seed: int) -> list[Labelled]:
    """Return a random sample of `mails` in order, or all of them without a limit. The same seed gives the same sample."""
    if limit is None or limit >= len(mails):
        return list(mails)
    chance = Random(seed)  # noqa: S311 - a sample, not a secret
    return [mails[place] for place in sorted(chance.sample(range(len(mails)), limit))]


def _gold(file: Path) -> Iterator[Labelled]:
    for line in _lines_of(file):
        gold = _parsed(_Line, line, file)
        yield Labelled(id=gold.id, mail=mail_of(gold.id, gold.text, gold.subject), label=gold.label, also=gold.also)


def _attacks(file: Path) -> Iterator[Labelled]:
    for attack in attacks_of(file):
        yield Labelled(id=attack.id, mail=read_mail(raw_mail(attack)), label=attack.label, also=attack.also, attack=attack.attack)


def attacks_of(file: Path = ADVERSARIAL) -> list[Attack]:
    """Return the adversarial set. Raises EvaluationInvalid."""
    return [_parsed(Attack, line, file) for line in _lines_of(file)]


def _lines_of(file: Path) -> list[str]:
    try:
        lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except OSError:
        lines = []
    if not lines:
        raise EvaluationInvalid(f"the desk's own mails are missing ({file.name}); reinstall the package, or use --data FILE.")
    return lines


def _parsed(shape: type[T], line: str, file: Path) -> T:
    try:
        return shape.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise EvaluationInvalid(f"{file.name} has an invalid line: {place}: {problem['msg']} ({line[:60]}).") from None
