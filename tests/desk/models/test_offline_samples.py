"""The rule-based model reads the sample mails as a careful person does."""

import tomllib
from pathlib import Path

import pytest

from pointsman_desk.mail.message import read_mail
from pointsman_desk.models.offline import OfflineModel

MAILS = Path(__file__).parents[3] / "src" / "pointsman_desk" / "sample" / "mails"
EXPECTED = tomllib.loads((Path(__file__).parents[1] / "expected_samples.toml").read_text(encoding="utf-8"))
WRITTEN_BY_PEOPLE = [name for name, wanted in EXPECTED.items() if wanted.get("automatic") is False]


@pytest.mark.parametrize("name", WRITTEN_BY_PEOPLE)
def test_a_sample_mail_has_the_intent_the_risk_the_language_and_the_order_that_a_person_sees(name: str) -> None:
    mail = read_mail((MAILS / name).read_bytes())
    wanted = EXPECTED[name]

    found = OfflineModel().classify(mail)

    assert (found.intent, found.risk) == (wanted["intent"], wanted["risk"])
    assert found.grounds.language == wanted["language"]
    assert found.grounds.order_number == wanted.get("order_number")


def test_there_are_samples_in_every_language() -> None:
    languages = {EXPECTED[name]["language"] for name in WRITTEN_BY_PEOPLE}

    assert languages == {"en", "de", "fr", "es"}
