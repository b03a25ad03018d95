"""The engine for scripts has the engine's calls, and each waits for its answer."""

import inspect
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from pointsman import Engine, Process, Reader, State, Status, finish, open_blocking, otherwise, when
from pointsman.errors import EngineStopped
from pointsman.runtime.blocking import BlockingEngine, BlockingReader


class Question(State):
    text: str
    number: int | None = None
    answer: str | None = None


def asking(*, deadline: str = "30d") -> Process[Question]:
    process = Process("asking", Question)

    @process.node(writes="number")
    def count(text: str) -> int:
        return len(text)

    answer = process.pause(writes="answer", answer=str, shows=("text", "number"), deadline=deadline)
    process.rules(
        when("not counted", lambda q: q.number is None, count),
        when("not answered", lambda q: q.answer is None, answer),
        otherwise(finish("answered")),
    )
    return process


def public(kind: type) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("asynchronous", "blocking"), [(Engine, BlockingEngine), (Reader, BlockingReader)])
def test_each_call_of_the_engine_has_one_that_waits(asynchronous: type, blocking: type) -> None:
    names = {name for name in [*public(asynchronous), *getattr(asynchronous, "__annotations__", {})] if not name.startswith("_")} - {"open"}

    missing = names - public(blocking).keys()

    assert not missing, f"{blocking.__name__} has no {', '.join(sorted(missing))}; add it to runtime/blocking.py"


@pytest.mark.parametrize(("asynchronous", "blocking"), [(Engine, BlockingEngine), (Reader, BlockingReader)])
def test_each_call_that_waits_takes_the_same_parameters(asynchronous: type, blocking: type) -> None:
    there = public(asynchronous)
    for name, method in public(blocking).items():
        if not callable(method) or name == "serve":  # which ends by a signal here, and by an event of asyncio there
            continue
        here, wanted = (inspect.signature(one, follow_wrapped=True).parameters.values() for one in (method, there[name]))
        assert [(one.name, one.default, one.kind) for one in here] == [(one.name, one.default, one.kind) for one in wanted]


def test_what_is_due_after_the_patience_is_not_waited_for(tmp_path: Path) -> None:
    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
        case = engine.start("asking", {"text": "why?"}).case

        engine.idle()

        assert engine.case(case).status is Status.WAITING


def test_the_reader_and_the_events_can_be_looked_at(tmp_path: Path) -> None:
    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
        case = engine.start("asking", {"text": "why?"}).case
        engine.settled(case)

        kinds = []
        for event in engine.events():
            kinds.append(event.kind)
            if event.kind == "paused":
                break

        assert kinds[0] == "accepted"
        assert [row.id for row in engine.reader.cases(status=Status.WAITING)] == [case]
        assert engine.redrive_all(by="anna", why="none is parked") == []


def test_an_engine_that_serves_goes_on_until_it_is_told_to_end(tmp_path: Path) -> None:
    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
        threading.Thread(target=lambda: (engine.start("asking", {"text": "why?"}), os.kill(os.getpid(), signal.SIGTERM))).start()

        engine.serve()

        assert [row.process for row in engine.reader.cases()] == ["asking"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_engine_that_is_closed_says_so(tmp_path: Path) -> None:
    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
        reader = engine.reader

    for ask in (lambda: engine.case(1), reader.counts, lambda: next(engine.events()), engine.idle):
        with pytest.raises(EngineStopped, match="the engine is closed; open it again"):
            ask()
