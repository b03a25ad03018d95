"""Rules that cannot work are refused with the rule, the field and the mend; what is sound is accepted."""

from collections.abc import Callable
from typing import Any

import pytest
from declarations import (
    Approval,
    Note,
    Order,
    Pair,
    Ticket,
    count,
    pair,
    refusal,
    send_message,
    to_left,
    to_left_of_ticket,
    to_right,
)

from pointsman import (
    AtMostOnce,
    Context,
    Failure,
    Peek,
    Process,
    Reconcile,
    Retry,
    State,
    finish,
    otherwise,
    parallel,
    park,
    when,
)

# Rules that end, and rules that can be reached.


def test_rules_that_do_not_end_in_otherwise_are_refused() -> None:
    process, left, right = pair()

    for rules in ((), (when("empty", lambda c: c.left is None, parallel(left, right)),)):
        text = refusal(lambda rules=rules: process.rules(*rules))

        assert "'pair'" in text
        assert "do not end in otherwise(...)" in text


def test_a_rule_behind_otherwise_is_refused() -> None:
    process, left, right = pair()

    text = refusal(
        lambda: process.rules(
            when("no left", lambda c: c.left is None, left),
            otherwise(finish("done")),
            when("no right", lambda c: c.right is None, right),
            otherwise(finish("done")),
        )
    )

    assert "'no right' follows otherwise(...)" in text
    assert "move it up" in text


@pytest.mark.parametrize("condition", [lambda c: True, lambda c: 1, lambda c: "yes"], ids=["true", "1", "yes"])
def test_a_condition_that_holds_always_is_refused(condition: Callable[[Pair], object]) -> None:
    process, left, right = pair()

    text = refusal(
        lambda: process.rules(
            when("no left", lambda c: c.left is None, left),
            when("always", condition, right),
            otherwise(finish("done")),
        )
    )

    assert "'always' always holds" in text
    assert "use otherwise(...)" in text


def test_a_condition_that_assigns_is_refused() -> None:
    process = Process("pair", Pair)

    def marks(state: Any) -> bool:
        if state.left is None:
            state.left = "marked"
        return False

    text = refusal(lambda: process.rules(when("marks", marks, process.node(to_left, writes="left")), otherwise(finish("done"))))

    assert "rule 'marks'" in text
    assert "'left'" in text
    assert "must only read" in text


def test_a_second_rule_with_the_same_condition_is_refused() -> None:
    process, left, right = pair()

    text = refusal(
        lambda: process.rules(
            when("no left", lambda c: c.left is None, left),
            when("no left either", lambda state: state.left is None, right),
            otherwise(finish("done")),
        )
    )

    assert "'no left either' has the condition of rule 'no left'" in text
    assert "remove one" in text


def test_the_same_function_as_two_conditions_is_refused() -> None:
    process, left, right = pair()

    def empty(c: Pair) -> bool:
        return c.left is None

    text = refusal(lambda: process.rules(when("a", empty, left), when("b", empty, right), otherwise(finish("done"))))

    assert "'b' has the condition of rule 'a'" in text


def test_conditions_that_differ_in_a_field_a_constant_or_a_closure_are_accepted() -> None:
    process, left, right = pair()

    def starts(prefix: str) -> Callable[[Pair], bool]:
        return lambda c: c.text.startswith(prefix)

    process.rules(
        when("no left", lambda c: c.left is None, left),
        when("no right", lambda c: c.right is None, right),
        when("a", lambda c: c.text == "a", finish("a")),
        when("b", lambda c: c.text == "b", finish("b")),
        when("x", starts("x"), finish("x")),
        when("y", starts("y"), finish("y")),
        otherwise(finish("done")),
    )

    assert len(process.ordered_rules) == 7


def test_conditions_that_differ_in_a_keyword_default_are_accepted() -> None:
    process, left, right = pair()

    def longer(than: int) -> Callable[[Pair], bool]:
        def check(c: Pair, *, bound: int = than) -> bool:
            return len(c.text) > bound

        return check

    process.rules(
        when("empty", lambda c: c.left is None, parallel(left, right)),
        when("long", longer(100), finish("long")),
        when("short", longer(10), finish("short")),
        otherwise(finish("done")),
    )

    assert len(process.ordered_rules) == 4


def test_two_rules_of_one_name_are_refused() -> None:
    process, left, right = pair()

    text = refusal(
        lambda: process.rules(
            when("empty", lambda c: c.left is None, left),
            when("empty", lambda c: c.right is None, right),
            otherwise(finish("done")),
        )
    )

    assert "two rules are called 'empty'" in text


# Steps in rules.


def test_a_step_that_no_rule_names_is_refused() -> None:
    process, left, _ = pair()

    text = refusal(lambda: process.rules(when("no left", lambda c: c.left is None, left), otherwise(finish("done"))))

    assert "'to_right' is declared, but no rule names it" in text
    assert "add a rule or remove it" in text


def test_a_step_of_another_process_is_refused() -> None:
    process, left, _ = pair()
    _, _, foreign = pair()

    text = refusal(
        lambda: process.rules(
            when("no left", lambda c: c.left is None, left),
            when("no right", lambda c: c.right is None, foreign),
            otherwise(finish("done")),
        )
    )

    assert "rule 'no right'" in text
    assert "'to_right' is not declared on this process" in text


def test_a_rule_that_names_a_function_which_is_no_step_is_refused() -> None:
    process = Process("note", Note)
    node = process.node(count, writes="length")

    text = refusal(
        lambda: process.rules(
            when("no length", lambda c: c.length is None, node),
            when("too long", lambda c: (c.length or 0) > 9, count),  # type: ignore[arg-type]
            otherwise(finish("done")),
        )
    )

    assert "rule 'too long'" in text
    assert "count" in text


def test_a_branch_that_is_no_step_is_refused() -> None:
    process, left, _ = pair()

    text = refusal(
        lambda: process.rules(
            when("empty", lambda c: c.left is None, parallel(left, to_right)),  # type: ignore[arg-type]
            otherwise(finish("done")),
        )
    )

    assert "rule 'empty'" in text
    assert "to_right" in text


def test_two_writers_of_one_field_in_one_parallel_are_refused() -> None:
    process = Process("pair", Pair)
    first = process.node(to_left, writes="left")
    second = process.node(to_right, writes="left")

    text = refusal(lambda: process.rules(when("empty", lambda c: c.left is None, parallel(first, second)), otherwise(finish("done"))))

    assert "'to_left' and 'to_right' both write 'left'" in text
    assert "give each its own field" in text


def test_a_parallel_of_one_is_refused() -> None:
    process = Process("note", Note)
    node = process.node(count, writes="length")

    text = refusal(lambda: process.rules(when("no length", lambda c: c.length is None, parallel(node)), otherwise(finish("done"))))

    assert "rule 'no length'" in text
    assert "at least two" in text


def test_an_effect_and_a_pause_are_no_branches() -> None:
    process = Process("ticket", Ticket)
    classify = process.node(to_left_of_ticket, writes="triage")
    send = process.effect(send_message, writes="receipt", safety=AtMostOnce())
    approve = process.pause(writes="approval", answer=Approval, shows=("message",))

    for step in (send, approve):
        text = refusal(
            lambda step=step: process.rules(when("new", lambda c: c.triage is None, parallel(classify, step)), otherwise(finish("done")))
        )

        assert f"{step.name!r} cannot be a branch" in text
        assert "a rule of its own" in text


def test_a_branch_that_reads_what_another_branch_writes_is_refused() -> None:
    """Both fields would be written together, so the reader's would be computed from the other's old value and stay."""
    process, left, _ = pair()

    def from_left(left: str | None) -> str:
        return f"from {left}"

    reader = process.node(from_left, writes="right", name="reader")

    text = refusal(
        lambda: process.rules(
            when("no left", lambda c: c.left is None, parallel(left, reader)),
            when("never", lambda c: c.text == "", process.steps["to_right"]),
            otherwise(finish("done")),
        )
    )

    assert "'reader'" in text
    assert "'left'" in text


# Fields and cycles.


def test_a_field_that_nobody_writes_is_refused() -> None:
    process = Process("pair", Pair)
    left = process.node(to_left, writes="left")

    text = refusal(lambda: process.rules(when("no left", lambda c: c.left is None, left), otherwise(finish("done"))))

    assert "nothing writes field 'right'" in text
    assert "writes='right'" in text


def test_a_field_that_only_an_approver_edits_has_a_writer() -> None:
    class Edited(State):
        message: str
        note: str | None = None
        approval: Approval | None = None

    process = Process("edited", Edited)
    approve = process.pause(writes="approval", answer=Approval, shows=("message", "note"), edits=("note",))

    process.rules(when("open", lambda c: c.approval is None, approve), otherwise(finish("done")))

    assert process.steps["approval"] is approve


def circle(read_left: Any) -> Process[Pair]:
    """A process in which each of two fields is computed from the other; `read_left` is how the second is read."""
    process = Process("pair", Pair)

    def forth(text: str, right: str | None) -> str:
        return f"{text}{right}"

    def back(left: read_left) -> str:
        return str(left)

    there = process.node(forth, writes="left")
    here = process.node(back, writes="right")
    process.rules(
        when("no left", lambda c: c.left is None, there),
        when("no right", lambda c: c.right is None, here),
        otherwise(finish("done")),
    )
    return process


def test_fields_that_are_computed_from_each_other_are_refused_with_the_circle() -> None:
    text = refusal(lambda: circle(str))

    assert "left" in text
    assert "-(back)-> right" in text
    assert "-(forth)-> left" in text
    assert "Peek[...]" in text


@pytest.mark.parametrize("read", [Peek[str], Peek[str | None], Peek[str] | None], ids=["whole", "inside", "in a union"])
def test_a_circle_with_a_peek_in_it_is_accepted(read: Any) -> None:
    process = circle(read)

    back = process.steps["back"]
    assert back.depends == frozenset()


def test_a_field_that_is_computed_from_itself_is_refused() -> None:
    process = Process("note", Note)

    def grow(text: str, length: int | None) -> int:
        return len(text) + (length or 0)

    node = process.node(grow, writes="length")

    text = refusal(lambda: process.rules(when("short", lambda c: (c.length or 0) < 9, node), otherwise(finish("done"))))

    assert "length -(grow)-> length" in text


def test_an_edited_field_that_the_pause_shows_the_check_of_is_a_circle() -> None:
    """The edit is checked again, the new check voids what the pause wrote, and the edit with it: for ever."""

    class Checked(State):
        message: str
        reply: str | None = None
        verdict: str | None = None
        approval: Approval | None = None

    process = Process("checked", Checked)

    def draft(message: str) -> str:
        return message

    def check(reply: str) -> str:
        return f"checked {reply}"

    drafts, checks = process.node(draft, writes="reply"), process.node(check, writes="verdict")
    approve = process.pause(writes="approval", answer=Approval, shows=("reply", "verdict"), edits=("reply",))

    text = refusal(
        lambda: process.rules(
            when("no reply", lambda c: c.reply is None, drafts),
            when("unchecked", lambda c: c.verdict is None, checks),
            when("open", lambda c: c.approval is None, approve),
            otherwise(finish("done")),
        )
    )

    assert "reply" in text
    assert "verdict" in text


# What is sound is accepted.


def test_a_node_is_called_as_the_plain_function_it_is() -> None:
    process = Process("note", Note)

    @process.node(writes="length")
    def measure(text: str, *, extra: int = 0) -> int:
        """Measure it."""
        return len(text) + extra

    assert measure("four") == 4
    assert measure(text="four", extra=1) == 5


def test_an_asynchronous_node_is_known_as_one() -> None:
    process = Process("pair", Pair)

    @process.node(writes="left")
    async def fetch(text: str) -> str:
        return text

    plain = process.node(to_right, writes="right")

    assert (fetch.asynchronous, plain.asynchronous) == (True, False)
    with pytest.raises(StopIteration) as ended:
        fetch("x").send(None)
    assert ended.value.value == "x"


def test_the_decorator_and_the_call_declare_the_same_node() -> None:
    decorated, called = Process("note", Note), Process("note", Note)

    @decorated.node(writes="length", retry=Retry(attempts_max=5), timeout_seconds=3.0)
    def measure(text: str) -> int:
        return len(text)

    node = called.node(measure.function, writes="length", retry=Retry(attempts_max=5), timeout_seconds=3.0)

    assert (node.name, node.writes, node.signature) == (measure.name, measure.writes, measure.signature)
    assert (node.retry, node.timeout_seconds) == (measure.retry, measure.timeout_seconds)


def test_a_tuple_is_taken_apart_into_the_fields_it_writes() -> None:
    process = Process("pair", Pair)

    @process.node(writes=("left", "right"))
    def split(text: str) -> tuple[str, str]:
        left, _, right = text.partition(" ")
        return left, right

    process.rules(when("empty", lambda c: c.left is None, split), otherwise(finish("done")))

    assert split.split(split("a b")) == {"left": "a", "right": "b"}
    with pytest.raises(TypeError, match="tuple of 2"):
        split.split(("a", "b", "c"))


def test_resources_after_the_star_are_no_fields() -> None:
    process = Process("note", Note)

    def measure(text: str, *, ruler: dict[str, int], ctx: Context) -> int:
        return ruler.get(text, ctx.attempt)

    node = process.node(measure, writes="length")

    assert set(node.signature.reads) == {"text"}
    assert set(node.signature.uses) == {"ruler", "ctx"}
    assert node.depends == {"text"}


def test_a_whole_process_with_every_kind_of_step_is_accepted() -> None:
    process = Process("ticket", Ticket)

    def fetch(triage: str) -> Order:
        return Order(number=triage)

    def draft(message: str, order: Order | Failure) -> str:
        return f"{message} {order}"

    def send(message: str, reply: str, *, ctx: Context) -> str:
        return f"{message}{reply}{ctx.key}"

    def look(reply: str, *, ctx: Context) -> object:
        return reply + ctx.key

    classify = process.node(to_left_of_ticket, writes="triage")
    fetch_order = process.node(fetch, writes="order", on_failure="record")
    drafts = process.node(draft, writes="reply")
    approve = process.pause(writes="approval", answer=Approval, shows=("message", "reply"), edits=("reply",))
    sends = process.effect(send, writes="receipt", safety=Reconcile(look, 60.0), key=lambda message, reply: f"{message}/{reply}")
    process.rules(
        when("new", lambda c: c.triage is None, classify),
        when("no order", lambda c: c.order is None, fetch_order),
        when("no reply", lambda c: c.reply is None, drafts),
        when("spam", lambda c: c.triage == "spam", park("spam")),
        when("open", lambda c: c.approval is None, approve),
        when("unsent", lambda c: c.receipt is None, sends),
        otherwise(finish("sent")),
    )

    assert [step.name for step in process.nodes()] == ["to_left_of_ticket", "fetch", "draft", "send"]
    assert process.steps["approval"] is approve
