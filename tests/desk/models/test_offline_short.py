"""The rules on short questions of every kind: who needs a person gets one, and who needs none seldom does."""

import asyncio
from collections import Counter

import pytest

from pointsman_desk.case import Intent
from pointsman_desk.evaluation.asking import ask
from pointsman_desk.evaluation.data import read_labelled
from pointsman_desk.evaluation.labelled import GOLD
from pointsman_desk.evaluation.measures import measure
from pointsman_desk.models.offline import OfflineModel

SHORT = GOLD.with_name("short.jsonl")


def test_a_short_question_is_sorted_with_few_false_alarms(capsys: pytest.CaptureFixture[str]) -> None:
    mails = read_labelled(SHORT, text="text", label="label")

    figures = measure(mails, asyncio.run(ask(OfflineModel(), mails)))

    status = figures.per_class[Intent.ORDER_STATUS]
    with capsys.disabled():
        print(
            f"\n{len(mails)} short mails: routing recall {figures.routing_recall:.3f}, false escalation {figures.false_escalation:.3f}, "
            f"order_status recall {status.recall:.3f}"
        )
    assert len(mails) >= 150
    assert figures.routing_recall == 1.0, figures.misses
    assert figures.false_escalation <= 0.05, figures.escalated
    assert status.recall is not None
    assert status.recall >= 0.90
    assert status.precision == 1.0


def test_no_two_of_them_are_the_same_and_every_intent_is_there() -> None:
    mails = read_labelled(SHORT, text="text", label="label")

    assert max(Counter(one.mail.text for one in mails).values()) == 1
    assert {one.label for one in mails} == set(Intent)
