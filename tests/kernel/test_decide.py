"""The first rule whose condition holds decides, and what the conditions read on the way is written down."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import pytest
from pydantic import computed_field

from pointsman import AtMostOnce, Process, State, finish, otherwise, parallel, park, when
from pointsman.definition.rules import Finish, Park, Step
from pointsman.kernel.decide import decide, try_rule
from pointsman.kernel.snapshot import Cell


class Ticket(State):
    message: str
    size: int = 3
    triage: str | None = None
    order: str | None = None
    reply: str | None = None
    receipt: str | None = None

    @property
    def risky(self) -> bool:
        return self.triage == "refund" and self.large

    @property
    def large(self) -> bool:
        return self.size > 2

    def mentions(self, word: str) -> bool:
        return word in self.message

    @staticmethod
    def is_word(text: str) -> bool:
        return text.isalpha()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def headline(self) -> str:
        return self.message.upper()

    @cached_property
    def answered(self) -> bool:
        return self.reply is not None


def cells(**values: Any) -> dict[str, Cell]:
    return {name: Cell(value, repr(value), "") for name, value in values.items()}


def ticket(*rules: tuple[str, Callable[[Ticket], object], Step], last: Step | None = None) -> Process[Ticket]:
    """A process of nodes for each field, whose own rules come first."""
    process = Process("ticket", Ticket)

    def classify(message: str) -> str:
        return message

    def fetch(triage: str) -> str:
        return triage

    def draft(message: str, triage: str, order: str | None) -> str:
        return f"{message} {triage} {order}"

    def send(reply: str) -> str:
        return reply

    nodes = [process.node(classify, writes="triage"), process.node(fetch, writes="order")]
    nodes.append(process.node(draft, writes="reply"))
    nodes.append(process.effect(send, writes="receipt", safety=AtMostOnce()))
    written = [when(f"last {node.name}", lambda c, field=node.writes[0]: getattr(c, field) is None, node) for node in nodes]
    process.rules(*(when(*rule) for rule in rules), *written, otherwise(last or finish("done")))
    return process


def test_the_first_rule_that_holds_decides() -> None:
    process = ticket(
        ("no", lambda c: c.message == "other", finish("no")),
        ("first", lambda c: c.message == "hello", finish("first")),
        ("second", lambda c: c.size == 3, finish("second")),
    )

    decision = decide(process, cells(message="hello", size=3))

    assert (decision.rule, decision.step) == ("first", Finish("first"))


def test_otherwise_decides_where_no_condition_holds() -> None:
    process = ticket(last=park("nothing to do"))

    decision = decide(process, cells(message="hello", size=1, triage="a", order="b", reply="c", receipt="d"))

    assert (decision.rule, decision.step) == ("otherwise", Park("nothing to do"))


def test_the_fields_that_conditions_read_are_recorded_once_each_in_order() -> None:
    process = ticket(
        ("a", lambda c: c.size > 5 or c.message == "x", finish("a")),
        ("b", lambda c: c.order == "x" or c.size == 9, finish("b")),
        ("c", lambda c: c.message == "hello", finish("c")),
        ("d", lambda c: c.reply is None, finish("d")),
    )

    decision = decide(process, cells(message="hello", size=3))

    assert decision.rule == "c"
    assert decision.reads == ("size", "message", "order")


def test_a_condition_that_stops_early_reads_only_what_it_looked_at() -> None:
    process = ticket(("a", lambda c: c.triage == "refund" and c.order is None, finish("a")))

    decision = decide(process, cells(message="hello", size=3))

    assert decision.rule == "last classify"
    assert "order" not in decision.reads


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        (lambda c: c.risky, ("triage", "size")),
        (lambda c: c.large, ("size",)),
        (lambda c: c.mentions("ell"), ("message",)),
        (lambda c: Ticket.mentions(c, "ell"), ("message",)),
        (lambda c: c.headline == "HELLO", ("message",)),
        (lambda c: c.is_word(c.message), ("message",)),
        (lambda c: getattr(c, "triage", None) == "refund", ("triage",)),
        (lambda c: all(map(Ticket.large.fget, [c])), ("size",)),
    ],
    ids=["property", "property alone", "method", "unbound", "computed", "static", "getattr", "passed on"],
)
def test_reads_are_recorded_through_what_the_state_defines(condition: Callable[[Ticket], object], reads: tuple[str, ...]) -> None:
    process = ticket(("asked", condition, finish("asked")))

    decision = decide(process, cells(message="hello", size=3, triage="refund"))

    assert (decision.rule, decision.reads) == ("asked", reads)


def test_a_cached_property_of_the_state_is_computed_and_not_merely_there() -> None:
    process = ticket(("answered", lambda c: c.answered, finish("answered")))

    decision = decide(process, cells(message="hello", size=3))

    assert decision.rule == "last classify"
    assert decision.reads == ("reply", "triage")


def test_a_field_that_nothing_has_written_is_none_to_a_condition() -> None:
    process = ticket(("none", lambda c: (c.triage, c.order) == (None, None), finish("none")))

    assert decide(process, cells(message="hello", size=3)).rule == "none"


def test_an_input_that_an_older_case_does_not_have_counts_as_its_default() -> None:
    """The field was added to the code while the case waited; its type says that it is never None."""
    process = ticket(("large", lambda c: c.size > 2, finish("large")))

    decision = decide(process, cells(message="hello"))

    assert decision.step == Finish("large")


def test_a_condition_that_raises_parks_and_names_the_rule_and_what_was_read() -> None:
    process = ticket(
        ("first", lambda c: c.message == "x", finish("x")),
        ("broken", lambda c: c.triage.upper() == "REFUND", finish("y")),
    )

    decision = decide(process, cells(message="hello", size=3))

    assert decision.rule == "broken"
    assert isinstance(decision.step, Park)
    assert "'broken'" in decision.step.reason
    assert "AttributeError" in decision.step.reason
    assert "correct the rule" in decision.step.reason
    assert decision.reads == ("message", "triage")


class Assigning(State):
    message: str
    mark: str | None = None

    @property
    def marked(self) -> bool:
        self.mark = "marked"  # type: ignore[misc]
        return True


def test_a_condition_that_assigns_parks_and_says_that_conditions_only_read() -> None:
    process = Process("assigning", Assigning)
    mark = process.pause(writes="mark", answer=str, shows=("message",))
    process.rules(when("marked", lambda c: c.marked, mark), otherwise(finish("done")))

    decision = decide(process, {})

    assert isinstance(decision.step, Park)
    assert "rule 'marked'" in decision.step.reason
    assert "a condition only reads, and this one assigns to 'mark'" in decision.step.reason


def test_a_condition_that_asks_for_what_the_state_does_not_have_parks() -> None:
    process = ticket(("broken", lambda c: c.triagge == "refund", finish("y")))

    decision = decide(process, cells(message="hello", size=3))

    assert isinstance(decision.step, Park)
    assert "triagge" in decision.step.reason


def test_a_condition_whose_answer_is_neither_true_nor_false_parks() -> None:
    class Unsure:
        def __bool__(self) -> bool:
            raise ValueError("ask somebody else")

    process = ticket(("unsure", lambda c: Unsure() if c.message else None, finish("y")))

    decision = decide(process, cells(message="hello", size=3))

    assert decision.rule == "unsure"
    assert isinstance(decision.step, Park)
    assert "ask somebody else" in decision.step.reason


def test_a_node_that_takes_none_runs_without_the_field() -> None:
    process = ticket()

    decision = decide(process, cells(message="hello", size=3, triage="a", order="b"))

    assert decision.step is process.steps["draft"]


def missing() -> Process[Ticket]:
    """A process whose rules ask for a draft, and for two branches, before anything is classified."""
    process = Process("ticket", Ticket)

    def classify(message: str) -> str:
        return message

    def fetch(triage: str) -> str:
        return triage

    def draft(triage: str) -> str:
        return f"re {triage}"

    def send(reply: str) -> str:
        return reply

    first = process.node(classify, writes="triage")
    fetches = process.node(fetch, writes="order")
    drafts = process.node(draft, writes="reply")
    sends = process.effect(send, writes="receipt", safety=AtMostOnce())
    process.rules(
        when("send", lambda c: c.message == "send", sends),
        when("draft", lambda c: c.message == "draft", drafts),
        when("both", lambda c: c.message == "both", parallel(fetches, drafts)),
        when("new", lambda c: c.message == "new", first),
        otherwise(finish("done")),
    )
    return process


@pytest.mark.parametrize(
    ("message", "step", "field"), [("send", "send", "reply"), ("draft", "draft", "triage"), ("both", "fetch", "triage")]
)
def test_a_step_without_its_field_parks_and_names_the_rule_the_step_and_the_field(message: str, step: str, field: str) -> None:
    process = missing()

    decision = decide(process, cells(message=message, size=3))

    assert decision.rule == message
    assert isinstance(decision.step, Park)
    assert f"rule {message!r} chose {step!r}, which needs field {field!r}" in decision.step.reason
    assert "put a rule above it" in decision.step.reason


def test_a_field_that_holds_none_is_as_missing_as_one_without_a_value() -> None:
    process = missing()

    decision = decide(process, cells(message="draft", size=3, triage=None))

    assert isinstance(decision.step, Park)
    assert "'triage'" in decision.step.reason


def test_deciding_twice_gives_the_same_and_changes_nothing() -> None:
    process = ticket(("risky", lambda c: c.risky, finish("risky")))
    given = cells(message="hello", size=3, triage="refund")
    before = dict(given)

    first, second = decide(process, given), decide(process, given)

    assert first == second
    assert given == before


def test_a_rule_that_is_tried_alone_tells_its_own_reads() -> None:
    process = ticket(("risky", lambda c: c.risky, finish("risky")))
    rule, last = process.ordered_rules[0], process.ordered_rules[-1]
    given = cells(message="hello", size=1, triage="refund")

    tried, always = try_rule(Ticket, rule, given), try_rule(Ticket, last, given)

    assert (tried.holds, tried.reads, tried.error) == (False, ("triage", "size"), None)
    assert (always.holds, always.reads, always.error) == (True, (), None)
