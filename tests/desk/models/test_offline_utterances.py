"""The rule-based model over what customers write: figures for each class, on wordings that it was made with and on others."""

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pointsman_desk.case import BY_HAND, Intent, Language, Mail, Risk
from pointsman_desk.models.base import Classification
from pointsman_desk.models.offline import OfflineModel

HERE = Path(__file__).parent
RISKY = (Intent.REFUND, Intent.COMPLAINT, Intent.LEGAL)
LOW = (Intent.ORDER_STATUS, Intent.OPENING_HOURS, Intent.INVOICE, Intent.CHANGE_ADDRESS, Intent.CANCEL_ORDER)


@dataclass(frozen=True)
class Judged:
    """A text, what a person says that it is, and what the model says."""

    text: str
    intent: Intent
    found: Classification

    @property
    def by_hand(self) -> bool:
        return self.found.intent in BY_HAND or self.found.risk is Risk.HIGH


def judged(name: str) -> Iterator[Judged]:
    for intent, languages in tomllib.loads((HERE / name).read_text(encoding="utf-8")).items():
        for texts in languages.values():
            for text in texts:
                mail = Mail(message_id="m1@mail.example", sender="a@mail.example", text=text)
                yield Judged(text, Intent(intent), OfflineModel().classify(mail))


def shares(name: str) -> dict[Intent, float]:
    every, right = Counter[Intent](), Counter[Intent]()
    for one in judged(name):
        every[one.intent] += 1
        right[one.intent] += one.found.intent is one.intent
    return {intent: right[intent] / every[intent] for intent in every}


@pytest.mark.parametrize("name", ["utterances.toml", "held_out.toml"])
def test_what_only_a_person_answers_reaches_a_person(name: str) -> None:
    missed = [(one.intent, one.found.intent, one.text) for one in judged(name) if one.intent in RISKY and not one.by_hand]

    assert missed == []


def test_what_is_said_in_a_roundabout_way_reaches_a_person_all_but_once() -> None:
    missed = [one.text for one in judged("indirect.toml") if one.intent in RISKY and not one.by_hand]

    assert len(missed) <= 1, missed


@pytest.mark.parametrize(("name", "most"), [("utterances.toml", 0.02), ("held_out.toml", 0.10), ("indirect.toml", 0.10)])
def test_few_plain_questions_are_put_before_a_person(name: str, most: float) -> None:
    plain = [one for one in judged(name) if one.intent in LOW]

    escalated = [one.text for one in plain if one.by_hand]

    assert len(escalated) <= most * len(plain), escalated


@pytest.mark.parametrize(("name", "least"), [("utterances.toml", 0.95), ("held_out.toml", 0.85)])
def test_each_intent_is_found_in_most_wordings(name: str, least: float) -> None:
    found = shares(name)

    assert {intent: share for intent, share in found.items() if share < least} == {}
    assert set(found) == set(Intent)


def test_the_utterances_are_many_in_each_language_and_none_is_in_both_parts() -> None:
    parts = [tomllib.loads((HERE / part).read_text(encoding="utf-8")) for part in ("utterances.toml", "held_out.toml")]
    texts = [{text for languages in part.values() for some in languages.values() for text in some} for part in parts]

    assert all(set(languages) == set(Language) for part in parts for languages in part.values())
    assert len(texts[0] | texts[1]) >= 600
    assert not texts[0] & texts[1]
