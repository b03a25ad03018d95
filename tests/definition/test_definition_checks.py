"""A step that cannot work is refused where it is declared, with the function, the field and the mend."""

import threading
from pathlib import Path
from typing import Any

import pytest
from declarations import Approval, Note, Order, Pair, Ticket, count, pair, refusal, to_left
from pydantic import BaseModel

from pointsman import (
    AtLeastOnce,
    AtMostOnce,
    Context,
    DefinitionError,
    Idempotent,
    Limit,
    Process,
    Reconcile,
    Retry,
    State,
    every,
    finish,
    otherwise,
    parallel,
    when,
)

# The names.


def _named(what: str, name: Any) -> Any:
    process = Process(name if what == "process" else "note", Note)
    match what:
        case "step":
            return process.node(count, writes="length", name=name)
        case "former name":
            return process.node(count, writes="length", former_names=(name,))
        case "message":
            return process.accept(writes="length", message=int, correlate=str, name=name)
        case "schedule":
            return process.schedule(name, every("1d"), inputs={"text": "x"})
        case "limit":
            return Limit(name, concurrency=1)
        case "rule":
            return when(name, lambda note: note.text, finish("done"))
        case "outcome":
            return finish(name)
    return process


@pytest.mark.parametrize("what", ["process", "step", "former name", "message", "schedule", "limit", "rule", "outcome"])
@pytest.mark.parametrize("name", ["\0", "a\0b", "a\ud800", 5], ids=["nul", "nul inside", "surrogate", "number"])
def test_a_name_that_no_database_can_hold_is_refused(what: str, name: Any) -> None:
    assert repr(name) in refusal(lambda: _named(what, name))


@pytest.mark.parametrize("what", ["process", "step", "former name", "message", "schedule", "limit"])
@pytest.mark.parametrize("name", [" ", "two\nlines"], ids=["blank", "two lines"])
def test_a_name_is_one_line_that_says_something(what: str, name: str) -> None:
    assert repr(name) in refusal(lambda: _named(what, name))


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


def test_a_field_of_a_type_that_json_cannot_hold_is_refused_where_the_state_is_declared() -> None:
    def declare() -> None:
        class Locked(State):
            text: str
            lock: threading.Event | None = None

    text = refusal(declare)

    assert "state 'Locked'" in text
    assert "field 'lock'" in text
    assert "resource" in text
    assert len(text.splitlines()) == 1


def test_a_refused_field_shows_no_frames_of_pydantic() -> None:
    with pytest.raises(DefinitionError) as caught:

        class Locked(State):
            lock: threading.Event

    modules = {Path(entry.path).parts[-2] for entry in caught.traceback}
    assert modules <= {"definition"}
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_field_whose_type_is_not_there_is_refused_with_its_name() -> None:
    class Waiting(State):
        text: "NotDefinedAnywhere"  # type: ignore[name-defined] # noqa: F821

    text = refusal(lambda: Process("waiting", Waiting))

    assert "'waiting'" in text
    assert "NotDefinedAnywhere" in text


def test_an_effect_whose_receiver_never_sees_the_key_is_not_idempotent() -> None:
    process = Process("ticket", Ticket)

    def send(reply: str) -> str:
        return reply

    text = refusal(lambda: process.effect(send, writes="receipt", safety=Idempotent()))

    assert "effect 'send'" in text
    assert "ctx.key" in text
    assert process.effect(send, writes="receipt", safety=Idempotent(), key=lambda reply: reply, name="by its words")


def test_an_effect_cannot_wait_for_ever() -> None:
    process = Process("ticket", Ticket)

    def send(reply: str) -> str:
        return reply

    text = refusal(lambda: process.effect(send, writes="receipt", safety=AtMostOnce(), timeout_seconds=None))  # type: ignore[call-overload]

    assert "effect 'send'" in text
    assert "timeout_seconds is None" in text


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
    assert "propagation_seconds" in text


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

    assert retry.wait_seconds(1, 0.5) == 0


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


def test_a_refusal_names_a_step_by_the_name_that_it_was_given() -> None:
    process = Process("note", Note)

    def measure(text) -> int:  # type: ignore[no-untyped-def]
        return len(text)

    text = refusal(lambda: process.node(measure, writes="length", name="size of it"))

    assert "node 'size of it'" in text


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
