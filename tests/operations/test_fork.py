"""`fork` and `try`: a fix is tried on a case as it was, and no effect is called."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from pointsman import AtLeastOnce, Context, Engine, Idempotent, Process, Retry, State, finish, otherwise, when
from pointsman.cli.main import app
from pointsman.definition.process import AnyProcess
from pointsman.errors import Refused, StoreError, StoreUnwritable
from pointsman.kernel.rows import Transition
from pointsman.kernel.snapshot import Status
from pointsman.operations.fork import Trial, fork_case, try_fork
from pointsman.store.forking import Forked, write_fork
from pointsman.store.sqlite_core import SqliteCore
from pointsman.testing.clock import ManualClock

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


class Mail(State):
    text: str
    reply: str | None = None
    approved: bool | None = None
    receipt: str | None = None
    filed: str | None = None


def mails(draft: Callable[[str], str]) -> AnyProcess:
    process = Process("mails", Mail)

    def write(text: str) -> str:
        return draft(text)

    def send(reply: str, *, ctx: Context) -> str:
        CALLS.append(f"send {reply}")
        return f"sent {reply}"

    async def file(receipt: str) -> str:
        CALLS.append(f"file {receipt}")
        return f"filed {receipt}"

    drafted = process.node(write, writes="reply", retry=Retry(attempts_max=1))
    approve = process.pause(writes="approved", answer=bool, shows=("reply",), name="approve")
    sent = process.effect(send, writes="receipt", safety=Idempotent())
    filed = process.effect(file, writes="filed", safety=AtLeastOnce(because="a copy more does no harm"))
    process.rules(
        when("no draft", lambda m: m.reply is None, drafted),
        when("asked", lambda m: m.text == "may I?" and m.approved is None, approve),
        when("not sent", lambda m: m.receipt is None, sent),
        when("not filed", lambda m: m.filed is None, filed),
        otherwise(finish("sent")),
    )
    return process


def fails(text: str) -> str:
    raise ValueError(f"cannot draft {text}")


OLD = mails(lambda text: f"Dear {text}")
FIXED = mails(lambda text: f"Hello {text}")


def forked(folder: Path, text: str, revision: int, process: AnyProcess = OLD) -> Path:
    """A fork of a case with this text, which has come to its end, to a pause or to a park before."""
    into = folder / f"fork-{revision}.db"

    async def main() -> None:
        async with Engine.open(folder / "cases.db", [process], clock=ManualClock()) as engine:
            case = (await engine.start(process, {"text": text})).case
            await engine.wait_until_resting(case)
            await fork_case(engine.reader, case, revision, into, clock=ManualClock(), chance=Random(1))

    asyncio.run(main())
    CALLS.clear()
    return into


def tried(path: Path, process: AnyProcess, **settings: Any) -> Trial:
    return asyncio.run(try_fork(path, [process], **settings))


def test_recorded_outcomes_are_returned_and_no_effect_is_called(tmp_path: Path) -> None:
    trial = tried(forked(tmp_path, "ada", 1), OLD)

    assert (trial.history.case.status, trial.history.case.outcome, trial.rests) == ("done", "sent", True)
    assert trial.history.state == {"text": "ada", "reply": "Dear ada", "receipt": "sent Dear ada", "filed": "filed sent Dear ada"}
    assert [json.loads(event.facts)["how"] for event in trial.events if event.kind == "effect.settled"] == ["adopted", "adopted"]
    assert CALLS == []


def test_a_trial_stops_before_a_call_that_was_never_made(tmp_path: Path) -> None:
    path = forked(tmp_path, "ada", 1)
    before = path.read_bytes(), (tmp_path / "cases.db").read_bytes()

    trial = tried(path, FIXED)

    assert [tuple(call) for call in trial.calls] == [(1, "send", {"reply": "Hello ada"})]
    assert (
        "It stops before the effect 'send', which has no recorded outcome for this call. It would be called with:\n  reply = Hello ada"
        in "\n".join(trial.lines())
    )
    assert CALLS == []
    assert (path.read_bytes(), (tmp_path / "cases.db").read_bytes()) == before
    assert FIXED.steps["send"].function("x", ctx=None) == "sent x"  # the code is as it was


def test_a_parked_case_is_redriven_with_the_fix(tmp_path: Path) -> None:
    trial = tried(forked(tmp_path, "ada", 2, mails(fails)), FIXED)

    assert [call.arguments for call in trial.calls] == [{"reply": "Hello ada"}]
    assert trial.history.state["reply"] == "Hello ada"


def test_an_answer_is_given_in_the_trial_and_the_token_of_the_fork_answers_nothing_else(tmp_path: Path) -> None:
    path = forked(tmp_path, "may I?", 2)

    trial = tried(path, OLD, answer=[True])

    tokens = {sqlite3.connect(file).execute("SELECT token FROM pauses").fetchone()[0] for file in (path, tmp_path / "cases.db")}
    assert [call.effect for call in trial.calls] == ["send"]
    assert len(tokens) == 2


def test_no_engine_opens_a_fork_and_only_a_fork_is_tried(tmp_path: Path) -> None:
    path = forked(tmp_path, "ada", 2)

    async def opens() -> None:
        async with Engine.open(path, [OLD]):
            pass

    with pytest.raises(StoreError, match="is a fork of case 1 for trying a fix, and no engine runs it"):
        asyncio.run(opens())
    with pytest.raises(StoreError, match="is no fork"):
        tried(tmp_path / "cases.db", OLD)
    with pytest.raises(StoreError, match="is there already"):
        forked(tmp_path, "ada", 2)


def test_a_case_that_had_ended_is_refused(tmp_path: Path) -> None:
    async def newest() -> int:
        async with Engine.open(tmp_path / "cases.db", [OLD], clock=ManualClock()) as engine:
            case = (await engine.start(OLD, {"text": "ada"})).case
            return (await engine.wait_until_resting(case)).revision

    revision = asyncio.run(newest())

    with pytest.raises(Refused, match="had ended by then"):
        tried(forked(tmp_path, "ada", revision), OLD)


def test_the_commands_write_look_at_and_try_a_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forked(tmp_path, "may I?", 1)
    monkeypatch.setattr("pointsman.cli.forking.load_processes", lambda place: [OLD])
    monkeypatch.setattr("pointsman.cli.looking.load_processes", lambda place: [OLD])
    into = str(tmp_path / "new.db")

    def told(*words: str) -> str:
        done = CliRunner().invoke(app, [*words])
        assert done.exit_code == 0, done.output
        return done.stdout

    said = told("fork", "1", "--at", "2", "--into", into, "--db", str(tmp_path / "cases.db"))
    shown, explained = told("show", "1", "--db", into), told("explain", "1", "--db", into, "--app", "old")
    text = told("try", "--db", into, "--app", "old", "--answer", "true")
    found = json.loads(told("try", "--db", into, "--app", "old", "--set", "text=ada", "--json"))

    assert "case 1 after revision 2" in said
    assert "waiting, at approve" in shown
    assert "not sent -> send" in explained
    assert "No effect was called, and nothing is stored." in text
    assert found["calls"] == [{"case": 1, "effect": "send", "arguments": {"reply": "Dear ada"}}]
    assert CALLS == []


def test_a_fork_that_cannot_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forked = Forked(1, "0" * 32, [Transition(1, 0, 0, 0.0, Status.READY)], [], [])
    with monkeypatch.context() as full:
        full.setattr(SqliteCore, "apply", failing)
        with pytest.raises(StoreUnwritable, match=rf"the disk that holds {tmp_path}/fork.db is full"):
            write_fork(tmp_path / "fork.db", forked, now=0.0)
    left = list(tmp_path.iterdir())

    write_fork(tmp_path / "fork.db", Forked(1, "0" * 32, [], [], []), now=0.0)

    assert left == []
    assert [file.name for file in tmp_path.iterdir()] == ["fork.db"]


def failing(*_: object) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    raise error
