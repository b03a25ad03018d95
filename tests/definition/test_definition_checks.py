"""What cannot work is refused where it is declared, with the function, the field and the mend; what can work is accepted."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from pointsman import (
    AtLeastOnce,
    AtMostOnce,
    Context,
    DefinitionError,
    Failure,
    Idempotent,
    Node,
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


class Order(BaseModel):
    number: str


class Approval(BaseModel):
    approved: bool


class Ticket(State):
    message: str
    triage: str | None = None
    order: Order | Failure | None = None
    reply: str | None = None
    approval: Approval | None = None
    receipt: str | None = None


class Note(State):
    text: str
    length: int | None = None


class Pair(State):
    text: str
    left: str | None = None
    right: str | None = None


def count(text: str) -> int:
    return len(text)


def to_left(text: str) -> str:
    return text


def to_right(text: str) -> str:
    return text[::-1]


def refusal(declare: Callable[[], object]) -> str:
    """What the author is told when a declaration is refused."""
    with pytest.raises(DefinitionError) as refused:
        declare()
    text = str(refused.value)
    assert "\n" not in text
    return text


def pair() -> tuple[Process[Pair], Node[Any, str], Node[Any, str]]:
    """A process with two nodes and no rules yet."""
    process = Process("pair", Pair)
    return process, process.node(to_left, writes="left"), process.node(to_right, writes="right")


# The state.


def test_a_state_that_is_no_state_is_refused_with_the_class_to_write() -> None:
    class Plain(BaseModel):
        text: str

    text = refusal(lambda: Process("note", Plain))  # type: ignore[type-var]

    assert "'note'" in text
    assert "Plain" in text
    assert "class Note(State)" in text


def test_the_class_that_a_refusal_proposes_is_valid_python_for_any_process_name() -> None:
    class Plain(BaseModel):
        text: str

    text = refusal(lambda: Process("support-mail", Plain))  # type: ignore[type-var]

    proposed = text.split("`")[1]
    compile(proposed, "<mend>", "exec")


def test_a_result_field_that_cannot_be_none_is_refused_with_the_line_to_write() -> None:
    class Wrong(State):
        text: str
        length: int = None  # type: ignore[assignment]

    text = refusal(lambda: Process("note", Wrong))

    assert "'length'" in text
    assert "length: int | None = None" in text


def test_a_default_that_is_not_none_makes_an_input() -> None:
    class Defaulted(State):
        text: str
        language: str = "en"
        length: int | None = None

    process = Process("note", Defaulted)
    text = refusal(lambda: process.node(to_left, writes="language"))

    assert "'language'" in text
    assert "input" in text


# What a node reads.


def test_a_parameter_that_is_no_field_is_refused_with_the_fields_there_are() -> None:
    process = Process("note", Note)

    def measure(txet: str) -> int:
        return len(txet)

    text = refusal(lambda: process.node(measure, writes="length"))

    assert "'measure'" in text
    assert "'txet'" in text
    assert "length, text" in text
    assert "after a `*`" in text


def test_a_context_before_the_star_is_told_to_stand_after_it() -> None:
    process = Process("note", Note)

    def measure(text: str, ctx: Context) -> int:
        return len(text) + ctx.attempt

    text = refusal(lambda: process.node(measure, writes="length"))

    assert "'ctx'" in text
    assert "after a `*`" in text


def test_a_context_that_is_declared_as_something_else_is_refused() -> None:
    process = Process("note", Note)

    def measure(text: str, *, ctx: str) -> int:
        return len(text + ctx)

    text = refusal(lambda: process.node(measure, writes="length"))

    assert "'measure'" in text
    assert "`ctx: Context`" in text


def test_a_parameter_narrower_than_its_field_is_refused_with_both_types() -> None:
    process = Process("ticket", Ticket)

    def draft(order: Order) -> str:
        return order.number

    text = refusal(lambda: process.node(draft, writes="reply"))

    assert "'draft'" in text
    assert "'order' takes Order" in text
    assert "Order | Failure" in text
    assert "widen" in text


def test_a_parameter_of_another_type_is_refused() -> None:
    process = Process("note", Note)

    def measure(text: int) -> int:
        return text

    text = refusal(lambda: process.node(measure, writes="length"))

    assert "'text' takes int" in text
    assert "holds str" in text


# What a node writes.


def test_a_result_that_does_not_fit_its_field_is_refused_with_both_types() -> None:
    process = Process("note", Note)

    def measure(text: str) -> str:
        return text

    text = refusal(lambda: process.node(measure, writes="length"))

    assert "'measure'" in text
    assert "returns str" in text
    assert "'length' takes int | None" in text
    assert "change one of them" in text


def test_writing_what_is_no_field_is_refused_with_the_fields_there_are() -> None:
    process = Process("note", Note)

    text = refusal(lambda: process.node(count, writes="lenght"))

    assert "'count'" in text
    assert "'lenght'" in text
    assert "length, text" in text


def test_writing_an_input_is_refused_with_the_mend() -> None:
    process = Process("note", Note)

    text = refusal(lambda: process.node(to_left, writes="text"))

    assert "'to_left'" in text
    assert "'text', which is an input" in text
    assert "| None = None" in text


def test_several_fields_need_a_tuple_of_as_many_types() -> None:
    process = Process("pair", Pair)

    def split(text: str) -> str:
        return text

    def halve(text: str) -> tuple[str, str, str]:
        return text, text, text

    for function in (split, halve):
        text = refusal(lambda function=function: process.node(function, writes=("left", "right")))

        assert repr(function.__name__) in text
        assert "writes 2 fields" in text
        assert "tuple[...] of 2 types" in text


def test_each_part_of_a_tuple_must_fit_its_own_field() -> None:
    process = Process("pair", Pair)

    def split(text: str) -> tuple[str, int]:
        return text, 1

    text = refusal(lambda: process.node(split, writes=("left", "right")))

    assert "returns int" in text
    assert "'right' takes str | None" in text


def test_a_field_that_is_named_twice_in_writes_is_refused() -> None:
    process = Process("pair", Pair)

    def split(text: str) -> tuple[str, str]:
        return text, text

    text = refusal(lambda: process.node(split, writes=("left", "left")))

    assert "'split'" in text
    assert "'left'" in text


def test_a_recorded_failure_needs_a_field_that_takes_one() -> None:
    process = Process("note", Note)

    text = refusal(lambda: process.node(count, writes="length", on_failure="record"))

    assert "'count'" in text
    assert "'length' takes int | None" in text
    assert "`| Failure`" in text


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_a_node_without_time_is_refused_like_an_effect_without_time(seconds: float) -> None:
    process = Process("note", Note)

    text = refusal(lambda: process.node(count, writes="length", timeout_seconds=seconds))

    assert "'count'" in text
    assert "timeout_seconds" in text


# Effects.


def test_an_effect_without_safety_is_refused_with_the_four_policies() -> None:
    process = Process("ticket", Ticket)

    def send(reply: str) -> str:
        return reply

    text = refusal(lambda: process.effect(send, writes="receipt"))

    assert "'send'" in text
    assert "`safety=`" in text
    assert all(policy in text for policy in ("Idempotent", "Reconcile", "AtMostOnce", "AtLeastOnce"))


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_an_effect_without_time_is_refused(seconds: float) -> None:
    process = Process("ticket", Ticket)

    def send(reply: str) -> str:
        return reply

    text = refusal(lambda: process.effect(send, writes="receipt", safety=AtMostOnce(), timeout_seconds=seconds))

    assert "effect 'send'" in text
    assert "timeout_seconds" in text
    assert "more than 0" in text


def test_a_key_made_of_what_is_no_field_is_refused() -> None:
    process = Process("ticket", Ticket)

    def send(reply: str) -> str:
        return reply

    def key(message_id: str) -> str:
        return message_id

    text = refusal(lambda: process.effect(send, writes="receipt", safety=Idempotent(), key=key))

    assert "'send'" in text
    assert "its key" in text
    assert "'message_id'" in text


def test_a_key_whose_parameters_stand_behind_the_star_is_checked_too() -> None:
    process = Process("ticket", Ticket)

    def send(reply: str) -> str:
        return reply

    def key(*, message_id: str) -> str:
        return message_id

    text = refusal(lambda: process.effect(send, writes="receipt", safety=Idempotent(), key=key))

    assert "'send'" in text
    assert "message_id" in text


def test_a_look_up_that_asks_for_more_than_its_effect_is_refused() -> None:
    process = Process("ticket", Ticket)

    def send(reply: str) -> str:
        return reply

    def look(reply: str, message: str, *, folder: list[str]) -> object:
        return None

    text = refusal(lambda: process.effect(send, writes="receipt", safety=Reconcile(look, 60.0)))

    assert "'send'" in text
    assert "its look-up" in text
    assert "folder, message" in text


def test_a_look_up_without_types_is_refused() -> None:
    process = Process("ticket", Ticket)

    def send(reply: str) -> str:
        return reply

    def look(reply):  # type: ignore[no-untyped-def]
        return None

    text = refusal(lambda: process.effect(send, writes="receipt", safety=Reconcile(look, 60.0)))

    assert "'send'" in text
    assert "its look-up" in text
    assert "'reply' has no type" in text


@pytest.mark.parametrize("because", ["", "  \t"])
def test_at_least_once_needs_a_reason(because: str) -> None:
    text = refusal(lambda: AtLeastOnce(because=because))

    assert "AtLeastOnce" in text
    assert "`because`" in text


def test_a_look_up_that_would_look_before_the_call_can_have_ended_is_refused() -> None:
    def look(reply: str) -> object:
        return None

    text = refusal(lambda: Reconcile(look, -1.0))

    assert "Reconcile" in text
    assert "settle_seconds" in text


def test_a_key_that_no_receiver_would_remember_is_refused() -> None:
    text = refusal(lambda: Idempotent(key_ttl_seconds=0))

    assert "Idempotent" in text
    assert "key_ttl_seconds" in text


# Retries.


@pytest.mark.parametrize("attempts", [0, -2])
def test_a_retry_without_an_attempt_is_refused(attempts: int) -> None:
    text = refusal(lambda: Retry(attempts_max=attempts))

    assert f"attempts_max is {attempts}" in text
    assert "at least 1" in text


@pytest.mark.parametrize(
    ("argument", "value"),
    [("first_seconds", -0.1), ("factor", 0.9), ("max_seconds", -1.0), ("jitter", -0.1), ("jitter", 1.1)],
)
def test_a_retry_that_makes_no_sense_is_refused_with_the_argument(argument: str, value: float) -> None:
    text = refusal(lambda: Retry(**{argument: value}))

    assert "Retry" in text
    assert argument in text


def test_a_retry_of_a_single_attempt_without_pauses_is_accepted() -> None:
    retry = Retry(attempts_max=1, first_seconds=0, factor=1, max_seconds=0, jitter=1)

    assert retry.pause_seconds(1, 0.5) == 0


# Pauses.


@pytest.mark.parametrize("where", ["shows", "beside"])
def test_a_pause_that_shows_what_is_no_field_is_refused(where: str) -> None:
    process = Process("ticket", Ticket)
    named: dict[str, Any] = {"shows": ("message",), where: ("repyl",)}

    text = refusal(lambda: process.pause(writes="approval", answer=Approval, **named))

    assert "pause 'approval'" in text
    assert "'repyl'" in text
    assert "approval, message, order" in text


def test_a_pause_that_edits_what_it_does_not_show_is_refused() -> None:
    process = Process("ticket", Ticket)

    text = refusal(lambda: process.pause(writes="approval", answer=Approval, shows=("message",), edits=("reply",)))

    assert "edits 'reply' without showing it" in text
    assert "add 'reply' to shows=" in text


def test_a_pause_that_edits_an_input_is_refused() -> None:
    process = Process("ticket", Ticket)

    text = refusal(lambda: process.pause(writes="approval", answer=Approval, shows=("message",), edits=("message",)))

    assert "'message', which is an input" in text


def test_an_answer_that_does_not_fit_its_field_is_refused() -> None:
    process = Process("ticket", Ticket)

    text = refusal(lambda: process.pause(writes="approval", answer=Order, shows=("message",)))

    assert "pause 'approval'" in text
    assert "the answer is Order" in text
    assert "'approval' takes Approval | None" in text


# Declaring.


def test_two_steps_of_one_name_are_refused() -> None:
    process, _, _ = pair()

    text = refusal(lambda: process.node(to_left, writes="right"))

    assert "two steps are called 'to_left'" in text
    assert "name=" in text


def test_two_steps_may_use_one_function_under_two_names() -> None:
    process, left, _ = pair()

    again = process.node(to_left, writes="right", name="again")

    assert (left.name, again.name) == ("to_left", "again")
    assert again.function is left.function


def test_a_step_that_is_declared_after_the_rules_is_refused() -> None:
    process, left, right = pair()
    process.rules(when("empty", lambda c: c.left is None, parallel(left, right)), otherwise(finish("done")))

    text = refusal(lambda: process.node(to_left, writes="left", name="late"))

    assert "'late' is declared after rules()" in text
    assert "before" in text


def test_rules_are_given_once() -> None:
    process, left, right = pair()
    rules = when("empty", lambda c: c.left is None, parallel(left, right)), otherwise(finish("done"))
    process.rules(*rules)

    text = refusal(lambda: process.rules(*rules))

    assert "'pair'" in text
    assert "rules() was called twice" in text


def test_a_process_without_rules_says_so_when_they_are_needed() -> None:
    process, _, _ = pair()

    text = refusal(lambda: process.ordered_rules)

    assert "'pair' has no rules" in text


def test_refused_rules_may_be_given_again_once_they_are_mended() -> None:
    process, left, right = pair()
    refusal(lambda: process.rules(when("empty", lambda c: c.left is None, parallel(left, right))))

    process.rules(when("empty", lambda c: c.left is None, parallel(left, right)), otherwise(finish("done")))

    assert [rule.name for rule in process.ordered_rules] == ["empty", "otherwise"]


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

    assert "'no right' stands behind otherwise(...)" in text
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

    assert "'always' holds always" in text
    assert "use otherwise(...)" in text


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

    text = refusal(
        lambda: process.rules(
            when("empty", lambda c: c.left is None, parallel(first, second)), otherwise(finish("done"))
        )
    )

    assert "'to_left' and 'to_right' both write 'left'" in text
    assert "give each its own field" in text


def test_a_parallel_of_one_is_refused() -> None:
    process = Process("note", Note)
    node = process.node(count, writes="length")

    text = refusal(
        lambda: process.rules(when("no length", lambda c: c.length is None, parallel(node)), otherwise(finish("done")))
    )

    assert "rule 'no length'" in text
    assert "at least two" in text


def test_an_effect_and_a_pause_are_no_branches() -> None:
    process = Process("ticket", Ticket)
    classify = process.node(to_left_of_ticket, writes="triage")
    send = process.effect(send_message, writes="receipt", safety=AtMostOnce())
    approve = process.pause(writes="approval", answer=Approval, shows=("message",))

    for step in (send, approve):
        text = refusal(
            lambda step=step: process.rules(
                when("new", lambda c: c.triage is None, parallel(classify, step)), otherwise(finish("done"))
            )
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


def to_left_of_ticket(message: str) -> str:
    return message


def send_message(message: str) -> str:
    return message


# Fields and cycles.


def test_a_field_that_nobody_writes_is_refused() -> None:
    process = Process("pair", Pair)
    left = process.node(to_left, writes="left")

    text = refusal(lambda: process.rules(when("no left", lambda c: c.left is None, left), otherwise(finish("done"))))

    assert "'right' is written by nothing" in text
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
    sends = process.effect(
        send, writes="receipt", safety=Reconcile(look, 60.0), key=lambda message, reply: f"{message}/{reply}"
    )
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
