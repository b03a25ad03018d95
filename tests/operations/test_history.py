"""The history of a case: where it stands, what it knows and who wrote it, and what happened, in order and in words."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pointsman import (
    AtMostOnce,
    Context,
    Engine,
    Failure,
    History,
    Idempotent,
    Process,
    Retry,
    State,
    Status,
    UnknownCase,
    finish,
    format_time,
    history_of,
    otherwise,
    when,
)
from pointsman.kernel.events import MEANING, Kind
from pointsman.kernel.rows import EventRow
from pointsman.operations.history import event_text
from pointsman.testing.clock import ManualClock


class Letter(State):
    message: str
    reply: str | Failure | None = None
    approval: bool | None = None
    receipt: str | None = None


def letter(draft: Callable[[str], str], *, attempts_max: int = 1, record: bool = False) -> Process[Letter]:
    """Draft, approve, send."""
    process = Process("letter", Letter)

    def write(message: str) -> str:
        return draft(message)

    def send(reply: str | Failure, message: str, *, ctx: Context) -> str:
        return f"sent {reply}"

    writes = process.node(
        write,
        writes="reply",
        retry=Retry(attempts_max=attempts_max, first_seconds=10.0, jitter=0.0),
        on_failure="record" if record else "park",
    )
    approve = process.pause(writes="approval", answer=bool, shows=("message", "reply"), edits=("reply",))
    sends = process.effect(send, writes="receipt", safety=Idempotent())
    process.rules(
        when("no reply", lambda c: c.reply is None, writes),
        when("open", lambda c: c.approval is None, approve),
        when("refused", lambda c: not c.approval, finish("refused")),
        when("unsent", lambda c: c.receipt is None, sends),
        otherwise(finish("sent")),
    )
    return process


@asynccontextmanager
async def engine_on(path: Path, process: Process[Letter]) -> AsyncIterator[Engine]:
    async with Engine.open(path / "cases.db", [process], clock=ManualClock(), random=random.Random(7)) as engine:
        yield engine


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def coroutine() -> Any:
        return await main()

    return asyncio.run(coroutine())


def sent_history(path: Path) -> History:
    """The history of a letter that an editor rewrote before it was sent."""

    async def main() -> History:
        process = letter(str.upper)
        async with engine_on(path, process) as engine:
            case = (await engine.start(process, {"message": "hello"}, key="mail 1")).case
            await engine.wait_until_resting(case)
            await engine.resume((await engine.pending(case)).token, True, by="anna", edits={"reply": "good day"})
            await engine.wait_until_resting(case)
            return await history_of(engine.reader, case)

    history: History = run(main)
    return history


def test_a_history_tells_where_the_case_stands_what_it_knows_and_who_wrote_it(tmp_path: Path) -> None:
    history = sent_history(tmp_path)

    assert (history.case.status, history.case.outcome, history.case.key) == (Status.DONE, "sent", "mail 1")
    assert history.state == {"message": "hello", "reply": "good day", "approval": True, "receipt": "sent good day"}
    writers = {field.field: field.writer for field in history.fields}
    assert writers == {"message": "", "reply": "approval", "approval": "approval", "receipt": "send"}


def test_a_history_tells_what_happened_in_order(tmp_path: Path) -> None:
    history = sent_history(tmp_path)

    assert [event.kind for event in history.events] == [
        "accepted", "decided", "node.succeeded", "decided", "paused", "resumed", "decided", "effect.intended",
        "effect.settled", "decided", "finished",
    ]  # fmt: skip
    # A plain function's intent is a commit of its own: it has its thread by then.
    assert [event.revision for event in history.events] == [1, 1, 2, 2, 2, 3, 3, 4, 5, 5, 5]


def test_each_event_carries_the_facts_that_its_kind_promises(tmp_path: Path) -> None:
    history = sent_history(tmp_path)

    for event in history.events:
        _, facts = MEANING[Kind(event.kind)]
        assert set(facts) <= set(json.loads(event.facts)), event.kind


def test_a_decision_can_be_explained_later_from_its_event_and_the_fields_of_its_revision(tmp_path: Path) -> None:
    history = sent_history(tmp_path)
    decided = next(event for event in history.events if event.kind == "decided" and event.revision == 2)

    async def main() -> dict[str, str]:
        async with engine_on(tmp_path, letter(str.upper)) as engine:
            rows = await engine.reader.fields(history.case.id, revision=decided.revision)
            return {row.field: row.text for row in rows}

    facts = json.loads(decided.facts)
    assert (facts["rule"], facts["step"], facts["reads"]) == ("open", "approval", ["reply", "approval"])
    assert run(main) == {"message": '"hello"', "reply": '"HELLO"'}


def test_a_history_tells_the_answer_and_the_effects(tmp_path: Path) -> None:
    history = sent_history(tmp_path)

    assert history.pause is not None
    assert (history.pause.name, history.pause.closed, history.pause.closed_by) == ("approval", "answered", "anna")
    assert [(effect.effect, effect.status, effect.attempts) for effect in history.effects] == [("send", "done", 1)]


def test_a_history_is_plain_json(tmp_path: Path) -> None:
    history = sent_history(tmp_path)

    read = json.loads(json.dumps(history.as_json()))

    assert (read["id"], read["status"], read["state"]["reply"]) == (history.case.id, "done", "good day")
    assert read["events"][0]["facts"]["fields"] == ["message"]
    assert read["effects"][0]["effect"] == "send"
    assert read["pause"]["closed_by"] == "anna"
    assert "token" not in read["pause"], "whoever has it may answer"


def test_a_cleared_field_is_no_part_of_what_the_case_knows(tmp_path: Path) -> None:
    async def main() -> History:
        process = letter(str.upper)
        async with engine_on(tmp_path, process) as engine:
            case = (await engine.start(process, {"message": "hello"})).case
            await engine.wait_until_resting(case)
            return await history_of(engine.reader, case)

    history: History = run(main)

    assert set(history.state) == {"message", "reply"}
    assert history.pause is not None
    assert history.pause.closed is None


def test_the_error_for_an_unknown_case_names_it_and_the_fix(tmp_path: Path) -> None:
    async def main() -> None:
        async with engine_on(tmp_path, letter(str.upper)) as engine:
            await history_of(engine.reader, 77)

    with pytest.raises(UnknownCase, match=r"^there is no case 77; look for its number in the list of cases\.$") as raised:
        run(main)
    assert raised.value.case == 77


# What a step says when it fails.


def failing(message: str) -> str:
    raise ValueError(f"cannot read {message} \udcff\0")


@pytest.mark.parametrize("record", [False, True], ids=["park", "record"])
def test_an_error_whose_text_no_database_holds_is_told_and_treated_as_any_other(tmp_path: Path, record: bool) -> None:
    """A file name or a header that is no UTF-8 comes as lone surrogates, and lands in error texts."""
    process = letter(failing, record=record)

    async def main() -> History:
        async with engine_on(tmp_path, process) as engine:
            case = (await engine.start(process, {"message": "hello"})).case
            await engine.wait_until_resting(case)
            return await history_of(engine.reader, case)

    history: History = run(main)
    failed = [json.loads(event.facts) for event in history.events if event.kind == "node.failed"]

    assert [facts["error"] for facts in failed] == ["ValueError"]
    assert "cannot read hello" in failed[0]["message"]
    assert history.case.status is (Status.WAITING if record else Status.PARKED)


def test_an_error_whose_text_no_database_holds_does_not_cost_the_attempts_that_are_left(tmp_path: Path) -> None:
    process = letter(failing, attempts_max=2)

    async def main() -> History:
        async with engine_on(tmp_path, process) as engine:
            case = (await engine.start(process, {"message": "hello"})).case
            async for event in engine.events():
                if event.kind in {"node.retried", "parked"}:
                    break
            return await history_of(engine.reader, case)

    history: History = run(main)

    assert history.case.status is Status.READY
    assert history.case.wake_at == ManualClock().now() + 10.0


def test_a_call_in_doubt_is_listed_as_such_whatever_the_text_of_its_error(tmp_path: Path) -> None:
    process = Process("letter", Letter)

    def write(message: str) -> str:
        return message

    def send(message: str) -> str:
        raise OSError(f"lost the line to {message} \udcff")

    writes = process.node(write, writes="reply")
    approve = process.pause(writes="approval", answer=bool, shows=("reply",))
    sends = process.effect(send, writes="receipt", safety=AtMostOnce())
    process.rules(
        when("no reply", lambda c: c.reply is None, writes),
        when("unsent", lambda c: c.receipt is None, sends),
        when("open", lambda c: c.approval is None, approve),
        otherwise(finish("sent")),
    )

    async def main() -> list[str]:
        async with engine_on(tmp_path, process) as engine:
            await engine.wait_until_resting((await engine.start(process, {"message": "hello"})).case)
            return [entry.error or "" for entry in await engine.reader.in_doubt()]

    errors: list[str] = run(main)

    assert len(errors) == 1
    assert "lost the line to hello" in errors[0]


# Events in words.

FACTS: dict[str, Any] = {
    "fields": ["reply", "verdict"], "rule": "no reply", "reads": ["message", "reply"], "step": "write", "error": "ValueError",
    "message": "no such order", "at": 1_000_060.0, "attempts": 3, "key": "0123456789abcdef0123", "deadline": 1_000_030.0, "how": "called",
    "shows": ["message", "reply"], "digest": "fedcba9876543210fedc", "by": "anna", "why": "it is wrong", "reason": "no such order",
    "outcome": "sent", "result": "a late reply", "succeeded": ["write"], "failed": ["judge"], "cancelled": [],
    "violations": [{"check": "polite", "message": "it does not say sorry"}], "next": "repair",
    "until": 1_000_060.0, "version": 2, "fingerprint": "0a1b2c3d4e5f", "since": 1, "to": 2,
}  # fmt: skip

OF_A_STEP = {
    Kind.NODE_SUCCEEDED,
    Kind.NODE_FAILED,
    Kind.NODE_RETRIED,
    Kind.NODE_INTERRUPTED,
    Kind.NODE_LATE,
    Kind.GUARD_VIOLATED,
    Kind.JOINED,
    Kind.EFFECT_INTENDED,
    Kind.EFFECT_SETTLED,
    Kind.EFFECT_NOT_SENT,
    Kind.EFFECT_IN_DOUBT,
    Kind.PAUSED,
    Kind.RESUMED,
}


def row_of(kind: Kind, attempt: int = 1) -> EventRow:
    facts = {name: FACTS.get(name, name) for name in MEANING[kind][1]}
    step = "write" if kind in OF_A_STEP else None
    return EventRow("1", 1, 1, kind.value, step, attempt, 1_000_000.0, json.dumps(facts))


@pytest.mark.parametrize("kind", list(Kind), ids=str)
def test_every_kind_of_event_has_a_meaning_and_a_text_of_one_line(kind: Kind) -> None:
    text = event_text(row_of(kind))

    assert text
    assert "\n" not in text
    assert "{" not in text


@pytest.mark.parametrize("kind", sorted(OF_A_STEP), ids=str)
def test_the_text_of_a_step_has_its_name(kind: Kind) -> None:
    assert "write" in event_text(row_of(kind))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.ACCEPTED, "reply, verdict"),
        (Kind.DECIDED, "rule 'no reply' -> write  (read message, reply)"),
        (Kind.NODE_SUCCEEDED, "wrote reply, verdict"),
        (Kind.NODE_FAILED, "ValueError: no such order"),
        (Kind.EFFECT_SETTLED, "write called: wrote reply, verdict  (key 0123456789ab…)"),
        (Kind.EFFECT_IN_DOUBT, "no such order  (key 0123456789ab…)"),
        (Kind.PAUSED, "shows message, reply"),
        (Kind.RESUMED, "answered by anna: wrote reply, verdict"),
        (Kind.FIELD_CLEARED, "reply, verdict"),
        (Kind.PARKED, "no such order"),
        (Kind.REDRIVEN, "anna"),
        (Kind.CANCELLED, "it is wrong"),
        (Kind.FINISHED, "sent"),
        (Kind.ACCEPTED, "(version 2, definition 0a1b2c3d4e5f)"),
        (Kind.MIGRATED, "from version 1 to 2: changed reply, verdict  (definition 0a1b2c3d4e5f)"),
        (Kind.BLOCKED, "no such order"),
        (Kind.UNBLOCKED, "version 2"),
    ],
    ids=str,
)
def test_an_event_says_its_facts(kind: Kind, words: str) -> None:
    assert words in event_text(row_of(kind))


@pytest.mark.parametrize(
    ("kind", "step", "facts", "words"),
    [
        (Kind.MESSAGE_RECEIVED, "mail", {"message": 7, "fields": ["mail"]}, "mail: message 7 wrote mail"),
        (Kind.MESSAGE_RECEIVED, "mail", {"message": 7, "fields": [], "passed": "it is older"}, "mail: message 7 was not taken in: it is older"),
        (Kind.PERMIT_WAITED, "ask", {"limit": "llm", "why": "all permits are taken"}, "ask waits for a permit of 'llm': all permits are taken"),
        (Kind.NODE_RETRIED, "ask", {"at": 0.0}, f"ask is tried again at {format_time(0.0)}"),
        (Kind.REDRIVEN, None, {"by": "anna", "why": "it is up again", "fields": []}, "by anna: it is up again"),
        (Kind.REDRIVEN, None, {"by": "anna", "why": "a typo", "fields": ["text"]}, "by anna: a typo; corrected text"),
        (Kind.CANCELLED, None, {"by": "anna", "why": "a duplicate"}, "by anna: a duplicate"),
        (Kind.CHILD_ENDED, "ship", {"child": 4, "status": "cancelled", "fields": []}, "ship: case 4 is cancelled: wrote nothing"),
        (Kind.REMINDED, "judge", {"assignee": None}, "judge is assigned to nobody"),
        (Kind.DEADLINE_PASSED, "judge", {"answer": None}, "judge: no answer came"),
        (Kind.DEADLINE_PASSED, "judge", {"answer": "verdict"}, "judge: no answer came: wrote the default to verdict"),
        (
            Kind.EFFECT_SETTLED, "pay",
            {"key": "0123456789abcdef", "how": "resolved: it happened", "fields": [], "by": "eva", "why": "she phoned"},
            "pay resolved: it happened: wrote nothing, by eva: she phoned  (key 0123456789ab…)",
        ),
    ],
)  # fmt: skip
def test_an_event_is_a_sentence_that_says_who_did_what(kind: Kind, step: str | None, facts: dict[str, Any], words: str) -> None:
    assert event_text(row_of(kind)._replace(step=step, facts=json.dumps(facts))) == words


def test_the_text_of_a_later_attempt_has_its_number() -> None:
    assert "(attempt 2)" in event_text(row_of(Kind.NODE_FAILED, attempt=2))
    assert "attempt" not in event_text(row_of(Kind.NODE_FAILED, attempt=1))


def test_a_decision_that_read_nothing_says_so() -> None:
    row = row_of(Kind.DECIDED)._replace(facts='{"rule": "otherwise", "reads": [], "step": "write"}')

    assert event_text(row) == "rule 'otherwise' -> write  (read nothing)"
