"""The desk's invariants: its rules keep them, and a fault in a rule or in what it asks is refuted."""

from collections.abc import Callable

import pytest

from pointsman import Idempotent, Process, Rule, Violation, verify
from pointsman_desk import invariants
from pointsman_desk.case import BY_HAND, Approval, Case, Intent, NoOrder, Order, Outgoing, Sorting, Trust, Verdict
from pointsman_desk.guards import CHECKS
from pointsman_desk.process import support, support_mail

CLOSED = "a mail is closed as automatic without proof"
RISKY = "a refund, complaint or legal reply leaves without an approval of its bytes"
ORDER_TOLD = "an order is told to a sender who is not proved to be its customer"
A_MACHINE = "a machine sent it"
A_PERSON_FOUND_IT = "a person found it automatic"
BY_A_PERSON = "refund, complaint, legal or unclear"
A_STRANGER = "the sender is not proved to be a customer"


def faulty(rule: str, condition: Callable[[Case], object]) -> Process[Case]:
    """The desk's process with another condition in one of its rules."""
    process = support_mail(Idempotent())
    process._rules = tuple(Rule(one.name, condition if one.name == rule else one.condition, one.step) for one in process.ordered_rules)
    return process


def approves(case: Case) -> bool:
    """Whether a person approved something."""
    return case.approval is not None and case.approval.decision == "approve" and case.outgoing is not None


def test_the_rules_of_the_desk_keep_its_invariants() -> None:
    verified = verify(support, states_max=1)

    assert verified.proved == (CLOSED, RISKY, ORDER_TOLD)


@pytest.mark.parametrize(
    ("broken", "rule", "condition"),
    [
        (CLOSED, A_MACHINE, lambda c: c.mail.automatic),
        (CLOSED, A_MACHINE, lambda c: c.mail.proved),
        (CLOSED, A_MACHINE, lambda c: c.is_automatic or c.seems_automatic),
        (CLOSED, A_PERSON_FOUND_IT, lambda c: c.sorting is not None),
        (RISKY, BY_A_PERSON, lambda c: False),
        (RISKY, BY_A_PERSON, lambda c: c.intents[0] in BY_HAND - {Intent.COMPLAINT} and not c.approved),
        (ORDER_TOLD, A_STRANGER, lambda c: c.trust is Trust.NONE and not c.approved),
    ],
    ids=[
        "a sign is taken for proof",
        "only the newest mail is proved",
        "what seems automatic is closed",
        "a customer's mail is closed",
        "nobody is asked",
        "complaints are forgotten",
        "an aligned sender is taken for the customer",
    ],
)
def test_a_fault_in_a_rule_is_refuted(broken: str, rule: str, condition: Callable[[Case], object]) -> None:
    refuted_in_a_few_steps(faulty(rule, condition), broken)


@pytest.mark.parametrize(
    ("broken", "asked", "answer"),
    [
        (RISKY, "approved", approves),
        (ORDER_TOLD, "approved", lambda c: approves(c) and c.approval.sha256 == c.outgoing.sha256),
        (ORDER_TOLD, "is_known", lambda c: c.trust is not None),
    ],
    ids=["an approval of other bytes counts", "an approval counts despite violations", "every sender is known"],
)
def test_a_fault_in_what_rules_ask_is_refuted(
    broken: str, asked: str, answer: Callable[[Case], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Case, asked, property(answer))

    refuted_in_a_few_steps(support_mail(Idempotent()), broken)


def refuted_in_a_few_steps(process: Process[Case], broken: str) -> None:
    verified = verify(process, states_max=1)

    refuted = {one.what: one for one in verified.refuted}
    assert broken in refuted
    assert refuted[broken].certain
    assert len(refuted[broken].timeline) <= 8


@pytest.mark.parametrize(
    "condition",
    [lambda c: c.needs_judgement and c.approval is None, lambda c: c.needs_judgement and not approves(c)],
    ids=["any decision counts", "an approval of other bytes counts"],
)
def test_a_fault_that_another_rule_makes_harmless_is_proved_harmless(condition: Callable[[Case], object]) -> None:
    verified = verify(faulty(BY_A_PERSON, condition), states_max=1)

    assert RISKY in verified.proved


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
