"""The desk's invariants: they keep what its rules keep, and a fault in a rule is refuted."""

from collections.abc import Callable

import pytest

from pointsman import Idempotent, Process, Rule, Violation, verify
from pointsman_desk import invariants
from pointsman_desk.case import Approval, Case, Intent, NoOrder, Order, Outgoing, Sorting, Trust, Verdict
from pointsman_desk.guards import CHECKS
from pointsman_desk.process import support_mail

A_MACHINE = "a machine sent it"
A_PERSON_FOUND_IT = "a person found it automatic"


def faulty(rule: str, condition: Callable[[Case], object]) -> Process[Case]:
    """The desk's process with another condition in one of its rules."""
    process = support_mail(Idempotent())
    process._rules = tuple(Rule(one.name, condition if one.name == rule else one.condition, one.step) for one in process.ordered_rules)
    return process


@pytest.mark.parametrize(
    ("rule", "condition"),
    [
        (A_MACHINE, lambda c: c.mail.automatic),
        (A_MACHINE, lambda c: c.mail.proved),
        (A_PERSON_FOUND_IT, lambda c: c.sorting is not None),
    ],
    ids=["a sign is taken for proof", "only the newest mail is proved", "a customer's mail is closed"],
)
def test_a_fault_that_closes_a_mail_without_proof_is_refuted(rule: str, condition: Callable[[Case], object]) -> None:
    verified = verify(faulty(rule, condition), messages=0, first=True)

    [refutation] = verified.refuted
    assert (refutation.what, refutation.certain) == ("a mail is closed as automatic without proof", True)
    assert len(refutation.timeline) <= 8


def case(**fields: object) -> Case:
    given: dict[str, object] = {"email_id": "1", "customer_id": "a@customer.example", "raw_message": None}
    return Case.model_construct(None, **given, **fields)  # type: ignore[arg-type]


OUTGOING = Outgoing.model_construct(sha256="a" * 64)
APPROVED = Approval(decision="approve", by="anna", sha256="a" * 64)
OTHER_BYTES = APPROVED.model_copy(update={"sha256": "b" * 64})
ORDER = Order.model_construct(number="A-1")
TOLD = Verdict(violations=(Violation(check=invariants.TELLS_AN_ORDER, message="it tells the order"),))


@pytest.mark.parametrize(
    ("fields", "breaks"),
    [
        ({"intents": (Intent.REFUND,)}, True),
        ({"intents": (Intent.ORDER_STATUS, Intent.LEGAL), "approval": OTHER_BYTES}, True),
        ({"intents": (Intent.COMPLAINT,), "approval": Approval(decision="edit", by="anna", sha256="a" * 64)}, True),
        ({"intents": (Intent.REFUND,), "approval": APPROVED}, False),
        ({"intents": (Intent.ORDER_STATUS,)}, False),
    ],
)
def test_a_risky_reply_needs_an_approval_of_its_bytes(fields: dict[str, object], breaks: bool) -> None:
    assert invariants.leaves_unapproved(case(outgoing=OUTGOING, **fields)) is breaks


@pytest.mark.parametrize(
    ("fields", "breaks"),
    [
        ({"order": ORDER, "trust": Trust.ALIGNED}, True),
        ({"order": ORDER, "trust": Trust.NONE, "approval": OTHER_BYTES}, True),
        ({"order": ORDER, "trust": Trust.NONE, "approval": APPROVED, "verdict": TOLD}, True),
        (
            {"order": ORDER, "trust": Trust.NONE, "approval": APPROVED.model_copy(update={"despite_violations": True}), "verdict": TOLD},
            False,
        ),
        ({"order": ORDER, "trust": Trust.BOUND}, False),
        ({"order": NoOrder(reason="no order from this address"), "trust": Trust.NONE}, False),
    ],
)
def test_an_order_is_told_to_its_customer_or_by_a_person(fields: dict[str, object], breaks: bool) -> None:
    assert invariants.tells_an_order(case(outgoing=OUTGOING, **fields)) is breaks


def test_the_check_that_finds_an_order_in_a_reply_exists() -> None:
    assert invariants.TELLS_AN_ORDER in {check.__name__ for check in CHECKS}


def test_a_person_can_close_an_unproved_mail() -> None:
    assert invariants.closes_unproved(case())
    assert not invariants.closes_unproved(case(sorting=Sorting(found="automatic", by="anna")))
