"""The rule-based model on the desk's own set: what only a person may answer reaches one, and most of the rest is understood."""

import asyncio

import pytest

from pointsman_desk.case import Intent
from pointsman_desk.evaluation.asking import ask
from pointsman_desk.evaluation.labelled import own_set
from pointsman_desk.evaluation.measures import Figures, measure
from pointsman_desk.models.offline import OfflineModel


@pytest.fixture(scope="module")
def figures() -> Figures:
    mails = own_set()
    return measure(mails, asyncio.run(ask(OfflineModel(), mails)))


def test_a_refund_a_complaint_or_a_legal_matter_reaches_a_person(figures: Figures) -> None:
    assert figures.routing_recall >= 0.99, figures.misses
    assert all(recall is not None and recall >= 0.98 for recall in figures.routing_recall_by_class.values())


def test_few_of_the_other_mails_are_put_before_a_person(figures: Figures) -> None:
    assert figures.false_escalation <= 0.20, figures.escalated


def test_most_mails_of_each_kind_are_found(figures: Figures) -> None:
    recalls = {intent: found.recall for intent, found in figures.per_class.items() if intent is not Intent.UNCLEAR}

    assert {intent: recall for intent, recall in recalls.items() if recall is None or recall < 0.6} == {}
