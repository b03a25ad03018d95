"""A call that waits for a thread has not begun: its timeout does not run, and its attempt does not count."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import alone
import pytest
from places import HANG_SECONDS, Place, run

from pointsman import AtMostOnce, Guard, Item, Limit, Process, Retry, State, Status, each, finish, otherwise, when
from pointsman.runtime import isolated
from pointsman.runtime.begun import Begun
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import in_child

CASES, THREADS = 400, 4
CALL_SECONDS, TIMEOUT_SECONDS = 0.5, 2.0


class Job(State):
    name: str
    result: str | None = None


class HeldLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only by as much as a test says."""

    passed = 0.0

    def time(self) -> float:
        return self.passed


def in_rounds(loop: HeldLoop, clock: ManualClock) -> Any:
    """A function that takes `CALL_SECONDS`, as many at a time as there are threads."""

    def pass_time() -> None:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()  # the loop has seen what ended before
        loop.passed += CALL_SECONDS
        loop.call_soon_threadsafe(clock.advance, CALL_SECONDS)

    together = threading.Barrier(THREADS, pass_time, timeout=HANG_SECONDS)

    def work(name: str) -> str:
        together.wait()
        return name

    return work


@pytest.mark.parametrize("kind", ["node", "effect"])
def test_four_hundred_calls_with_four_threads_all_have_their_time(place: Place, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def main(loop: HeldLoop) -> Any:
        process, clock = Process("jobs", Job), ManualClock()
        work = in_rounds(loop, clock)
        step: Any = (
            process.node(work, writes="result", timeout_seconds=TIMEOUT_SECONDS, retry=Retry(attempts_max=1))
            if kind == "node"
            else process.effect(work, writes="result", timeout_seconds=TIMEOUT_SECONDS, retry=Retry(attempts_max=1), safety=AtMostOnce())
        )
        process.rules(when("open", lambda c: c.result is None, step), otherwise(finish("done")))
        async with place.open(process, threads=THREADS, concurrency=CASES, clock=clock) as engine:
            started = await asyncio.gather(*(engine.start(process, {"name": str(number)}) for number in range(CASES)))
            rows = await asyncio.gather(*(engine.wait_until_resting(one.case) for one in started))
            return [row.status for row in rows]

    with asyncio.Runner(loop_factory=HeldLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, HeldLoop)
        statuses = runner.run(asyncio.wait_for(main(loop), 10_000))

    with capsys.disabled():
        print(
            f"\n{CASES} {kind}s of {CALL_SECONDS} s, {THREADS} threads, timeout {TIMEOUT_SECONDS} s: {statuses.count(Status.PARKED)} parked"
        )
    assert statuses == [Status.DONE] * CASES


class Hanging(State):
    what: str
    result: str | None = None


def test_the_time_of_an_isolated_call_begins_with_its_turn(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "AT_ONCE", 1)

    async def main(loop: HeldLoop) -> Any:
        begun, queued, gate = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def waits(*_: Any) -> None:
            queued.set()

        monkeypatch.setattr(Begun, "waits", waits)

        async def call(_: Any, node: Any, *told: Any) -> str:
            if node.timeout_seconds is None:
                begun.set()
                await gate.wait()
            return "done"

        monkeypatch.setattr(isolated.Isolation, "call", call)
        processes = []
        for name, seconds in (("holding", None), ("waiting", TIMEOUT_SECONDS)):
            process = Process(name, Hanging)
            step = process.node(alone.hang, writes="result", isolated=True, timeout_seconds=seconds, retry=Retry(attempts_max=1))
            process.rules(when("open", lambda c: c.result is None, step), otherwise(finish("done")))
            processes.append(process)
        async with place.open(*processes) as engine:
            await engine.start("holding", {"what": "first"})
            await begun.wait()
            case = (await engine.start("waiting", {"what": "second"})).case
            await queued.wait()
            loop.passed += 10 * TIMEOUT_SECONDS
            await asyncio.sleep(0)
            gate.set()
            return (await engine.wait_until_resting(case)).outcome

    with asyncio.Runner(loop_factory=HeldLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, HeldLoop)
        assert runner.run(asyncio.wait_for(main(loop), 10_000)) == "done"


class Lines(State):
    lines: tuple[str, ...] = ("one", "two", "three")
    results: list[str] | None = None


def waiting(kind: str, step: str, gate: threading.Event, called: list[str]) -> Process[Any]:
    """A process whose calls wait: behind a plain function that holds the only thread, or behind a limit's only permit."""
    process: Process[Any] = Process("lines", Lines)
    settings: dict[str, Any] = {"writes": "results", "limit": limit_of(kind), "retry": Retry(attempts_max=2)}

    def look(line: Item[str]) -> str:
        called.append(line)
        gate.wait()
        return line

    def look_at_all(lines: tuple[str, ...]) -> list[str]:
        called.extend(lines)
        gate.wait()
        return [*lines]

    nodes: dict[str, Callable[[], Any]] = {
        "each": lambda: each(process.node(look, **settings), over="lines"),
        "node": lambda: process.node(look_at_all, **settings),
        "guarded node": lambda: process.node(look_at_all, guard=Guard(), **settings),
        "effect": lambda: process.effect(look_at_all, safety=AtMostOnce(), **settings),
    }
    process.rules(when("open", lambda c: c.results is None, nodes[step]()), otherwise(finish("done")))
    return process


def holding(gate: threading.Event, limit: Limit | None) -> Process[Job]:
    """A process whose node holds what the other one waits for."""
    process = Process("holding", Job)

    def hold(name: str) -> str:
        gate.wait()
        return name

    node = process.node(hold, writes="result", limit=limit, retry=Retry(attempts_max=100))
    process.rules(when("open", lambda c: c.result is None, node), otherwise(finish("done")))
    return process


KINDS = ["thread", "limit"]


def limit_of(kind: str) -> Limit | None:
    return Limit("llm", concurrency=1) if kind == "limit" else None


def marked(place: Place, case: int) -> bool:
    """Whether the file says that all calls of the case wait."""
    with closing(sqlite3.connect(f"{place.path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT waits FROM cases WHERE id = ?", (case,)).fetchone() == (1,)


def dies_while_calls_wait(place: Place, kind: str, step: str) -> None:
    """A program that is killed as soon as all calls of the case wait; run it in a process of its own."""

    # A case in the line of a limit is a row; one that waits for a thread is in hand.
    lines_up = Status.READY if kind == "limit" else Status.RUNNING

    async def main() -> None:
        called: list[str] = []
        gate, threads = threading.Event(), 1 if kind == "thread" else 4
        async with place.open(holding(gate, limit_of(kind)), waiting(kind, step, gate, called), threads=threads) as engine:
            await engine.start("holding", {"name": "first"}, key="first", priority=1)
            case = (await engine.start("lines", {}, key="lines")).case
            while (row := await engine.case(case)).status is not lines_up or not (  # noqa: ASYNC110 - nothing tells of a commit
                marked(place, case) if lines_up is Status.RUNNING else row.needs is not None
            ):
                await asyncio.sleep(0.001)
            os._exit(7 if called else 0)

    run(main())


@pytest.mark.parametrize("step", ["each", "node", "guarded node", "effect"])
@pytest.mark.parametrize("kind", KINDS)
def test_calls_that_wait_when_the_program_is_killed_have_not_been_begun(on_disk: Place, kind: str, step: str) -> None:
    for _ in range(6):
        assert in_child(lambda: dies_while_calls_wait(on_disk, kind, step)) == 0

    called: list[str] = []

    async def lives() -> Any:
        gate = threading.Event()
        gate.set()
        later = ManualClock(time.time() + 1_000)  # when the permits of the dead have come free
        async with on_disk.open(holding(gate, limit_of(kind)), waiting(kind, step, gate, called), clock=later) as engine:
            case = (await engine.start("lines", {}, key="lines")).case
            return await engine.wait_until_resting(case)

    row = run(lives())

    assert (row.status, row.reason) == (Status.DONE, None)
    assert sorted(called) == ["one", "three", "two"], "each is called once"
