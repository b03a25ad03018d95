"""Stopping in order, by a signal, or by an error of the caller or the store: nothing is lost and no wait hangs."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import served_until_told
from letters import World, letter
from places import HANG_SECONDS, Place, run, seen

from pointsman import AtMostOnce, Engine, Found, Idempotent, Process, Reconcile, Retry, State, Status, StoreError, finish, otherwise, when
from pointsman.errors import EngineStopped
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import NewCase, Transition
from pointsman.store.sqlite import open_sqlite
from pointsman.testing.clock import ManualClock


class Job(State):
    name: str
    first: str | None = None
    second: str | None = None


class Work:
    """Two steps; the first waits for the gate."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()


def working(work: Work | None, calls: list[str], attempts_max: int = 1) -> Process[Job]:
    process = Process("work", Job)

    @process.node(writes="first", retry=Retry(attempts_max=attempts_max))
    async def begin(name: str) -> str:
        calls.append("begin")
        if work is not None:
            work.reached.set()
            await work.gate.wait()
        return name

    @process.effect(writes="second", safety=AtMostOnce())
    async def complete(first: str) -> str:
        calls.append("complete")
        return first

    process.rules(
        when("not begun", lambda c: c.first is None, begin),
        when("incomplete", lambda c: c.second is None, complete),
        otherwise(finish("complete")),
    )
    return process


async def go_on(place: Place, calls: list[str], attempts_max: int = 1) -> Any:
    async with place.open(working(None, calls, attempts_max)) as engine:
        return await engine.wait_until_resting(1)


def test_a_step_that_ends_within_the_grace_is_kept_and_the_next_one_is_not_begun(place: Place) -> None:
    calls: list[str] = []

    async def main() -> list[str]:
        work = Work()
        async with place.open(working(work, calls), grace_seconds=HANG_SECONDS) as engine:
            await engine.start("work", {"name": "m"})
            await work.reached.wait()
            asyncio.get_running_loop().call_soon(work.gate.set)
        return list(calls)

    begun = run(main())
    row = run(go_on(place, calls))

    assert begun == ["begin"]
    assert (row.outcome, calls) == ("complete", ["begin", "complete"])


def test_a_step_that_does_not_end_within_the_grace_is_released_and_uses_no_attempt(place: Place) -> None:
    calls: list[str] = []

    async def main() -> Any:
        work = Work()
        async with place.open(working(work, calls), grace_seconds=0.0) as engine:
            await engine.start("work", {"name": "m"})
            await work.reached.wait()

    for _ in range(3):
        run(main())
    row = run(go_on(place, calls))

    assert (row.status, row.reason) == (Status.DONE, None)
    assert calls.count("begin") >= 2


@pytest.mark.parametrize("engine_first", [True, False], ids=["the engine first", "its cases first"])
def test_a_step_whose_event_loop_ends_is_released_and_uses_no_attempt(place: Place, engine_first: bool) -> None:
    calls: list[str] = []

    async def serves(work: Work) -> None:
        async with place.open(working(work, calls)) as engine:
            await engine.start("work", {"name": "m"})
            await asyncio.Event().wait()

    async def main() -> bool:
        work = Work()
        serving = asyncio.create_task(serves(work))
        await work.reached.wait()
        others = asyncio.all_tasks() - {serving, asyncio.current_task()}
        for task in (serving, *others) if engine_first else (*others, serving):
            task.cancel()  # as `asyncio.run` does at its end, in any order
        await asyncio.wait([serving])
        return serving.cancelled()

    assert run(main())
    row = run(go_on(place, calls))

    assert (row.status, row.reason) == (Status.DONE, None)
    assert calls == ["begin", "begin", "complete"]


@pytest.mark.parametrize("ends", [lambda: "m", lambda: 1 // 0], ids=["returns", "raises"])
def test_a_function_that_cancels_its_own_task_does_not_cancel_its_commit(place: Place, ends: Callable[[], Any]) -> None:
    process = Process("work", Job)

    @process.node(writes="first", retry=Retry(attempts_max=1), on_failure="park")
    async def begin(name: str) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        first: str = ends()
        return first

    @process.node(writes="second")
    async def complete(first: str) -> str:
        return first

    process.rules(
        when("not begun", lambda c: c.first is None, begin),
        when("incomplete", lambda c: c.second is None, complete),
        otherwise(finish("complete")),
    )

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"name": "m"})).case)

    row = run(main())
    assert row.outcome == "complete" or "by zero" in row.reason


def test_a_look_up_that_cancels_its_own_task_does_not_cancel_its_commit(place: Place) -> None:
    process = Process("work", Job)

    async def look_up(name: str) -> object:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return Found((name, name))

    @process.effect(writes=("first", "second"), safety=Reconcile(look_up, propagation_seconds=0.01), timeout_seconds=0.5)
    async def begin(name: str) -> tuple[str, str]:
        raise ConnectionResetError(name)

    process.rules(when("not begun", lambda c: c.first is None, begin), otherwise(finish("complete")))

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"name": "m"})).case
            return await engine.wait_until_resting(case)

    assert run(main()).outcome == "complete"


def interrupting(step: str) -> Process[Job]:
    """A process in which the commit of this step's result is interrupted."""
    process = Process("work", Job)

    def interrupts(name: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        if name == step:
            asyncio.get_running_loop().call_soon(task.cancel)  # it comes while the engine waits for the commit

    @process.node(writes="first")
    async def begin(name: str) -> str:
        interrupts("begin")
        return name

    @process.node(writes="second")
    async def complete(first: str) -> str:
        interrupts("complete")
        return first

    process.rules(
        when("not begun", lambda c: c.first is None, begin),
        when("incomplete", lambda c: c.second is None, complete),
        otherwise(finish("complete")),
    )
    return process


@pytest.mark.parametrize(
    ("step", "status", "why"), [("begin", Status.PARKED, "although nobody else"), ("complete", Status.DONE, "complete")]
)
def test_a_case_whose_commit_is_interrupted_is_not_left_running_and_its_caller_is_told(
    on_disk: Place, step: str, status: Status, why: str
) -> None:
    async def main() -> Any:
        async with on_disk.open(interrupting(step)) as engine:
            case = (await engine.start("work", {"name": "m"})).case
            return await engine.wait_until_resting(case)

    row = run(main())

    assert row.status is status
    assert why in (row.reason or row.outcome)


def test_an_effect_that_is_cut_short_is_in_doubt_and_its_policy_decides(place: Place) -> None:
    async def cut(safety: Any, world: World, reached: asyncio.Event) -> None:
        async def hang(key: str) -> Any:
            world.keys.append(key)
            reached.set()
            await asyncio.Event().wait()

        world.post = hang  # type: ignore[method-assign]
        async with place.open(letter(safety), resources={"world": world}) as engine:
            await engine.start("letter", {"message": "m"})
            await reached.wait()

    async def main() -> Any:
        first = World()
        await cut(Idempotent(), first, asyncio.Event())
        second = World("receipt 2")
        async with place.open(letter(Idempotent()), resources={"world": second}) as engine:
            return first, second, await engine.wait_until_resting(1), (await engine.reader.effects(1))[0]

    first, second, row, entry = run(main())

    assert (row.outcome, entry.status) == ("posted", EffectStatus.DONE)
    assert first.keys == second.keys == [entry.key]


@pytest.mark.parametrize("turns", range(6))
def test_a_case_that_is_being_claimed_when_the_engine_is_closed_keeps_its_attempts(place: Place, turns: int) -> None:
    calls: list[str] = []

    async def begin() -> None:
        async with place.open(working(Work(), calls), concurrency=1) as engine:
            await engine.start("work", {"name": "m"})
            for _ in range(turns):
                await asyncio.sleep(0)

    run(begin())
    row = run(go_on(place, calls))

    assert (row.status, row.reason) == (Status.DONE, None)


def test_a_case_that_is_released_during_a_commit_is_released_after_it(on_disk: Place) -> None:
    async def main() -> Any:
        free, held_up = threading.Event(), threading.Event()

        def hold_up(label: str) -> None:
            if label == "store.begin" and held_up.is_set():
                free.wait(HANG_SECONDS)

        store = await open_sqlite(on_disk.path, now=1.0, failpoints=hold_up)
        case = await store.commit(
            Transition((await store.reserve(1))[0], 0, 0, 1.0, Status.READY, wake_at=1.0, new=NewCase("work", 1, None))
        )
        await store.claim(["work"], now=1.0, limit=1)
        held_up.set()
        jobs = [
            asyncio.ensure_future(job)
            for job in (
                store.keep(b"what holds the writer up", now=1.0),
                store.commit(Transition(case, 1, 1, 1.0, Status.RUNNING, attempts=1)),
                store.release([case], now=1.0),
            )
        ]
        await asyncio.sleep(0)
        free.set()
        await asyncio.gather(*jobs)
        row = await store.case(case)
        await store.close()
        return row

    row = run(main())

    assert (row.status, row.attempts) == (Status.READY, 0)


def test_an_error_in_the_block_closes_the_engine_in_order_and_is_raised(place: Place) -> None:
    calls: list[str] = []

    async def main() -> None:
        work = Work()
        async with place.open(working(work, calls)) as engine:
            await engine.start("work", {"name": "m"})
            raise LookupError("of the caller's own")

    with pytest.raises(LookupError):
        run(main())

    assert run(go_on(place, calls)).outcome == "complete"


def test_every_wait_raises_when_the_engine_is_closed(place: Place) -> None:
    async def main() -> list[Any]:
        work = Work()
        async with place.open(working(work, [])) as engine:
            case = (await engine.start("work", {"name": "m"})).case
            await work.reached.wait()
            waiting = [asyncio.ensure_future(ask) for ask in (engine.wait_until_resting(case), engine.idle(), last_event(engine))]
            await asyncio.sleep(0)
        return await asyncio.gather(*waiting, return_exceptions=True)

    async def last_event(engine: Engine) -> None:
        async for _ in engine.events():
            pass

    told = run(main())

    assert [type(answer) for answer in told] == [EngineStopped] * 3


CLOSED: dict[str, Callable[[Engine], Any]] = {
    "start": lambda engine: engine.start("work", {"name": "m"}),
    "start again": lambda engine: engine.start("work", {"name": "m"}, key="k"),
    "store_blob": lambda engine: engine.store_blob(b"content"),
    "case": lambda engine: engine.case(1),
    "state": lambda engine: engine.state(1, State),
    "wait_until_resting": lambda engine: engine.wait_until_resting(1),
    "idle": lambda engine: engine.idle(),
    "pending": lambda engine: engine.pending(1),
    "resume": lambda engine: engine.resume("token", "yes", by="anna"),
    "cancel": lambda engine: engine.cancel(1, by="anna", why="none"),
    "redrive": lambda engine: engine.redrive(1, by="anna", why="none"),
    "resolve": lambda engine: engine.resolve("key", happened=False, by="anna", why="none"),
    "events": lambda engine: anext(engine.events()),
}


@pytest.mark.parametrize("asked", CLOSED)
def test_a_closed_engine_says_that_it_is_closed(place: Place, asked: str) -> None:
    async def main() -> str:
        async with place.open(working(None, [])) as engine:
            await engine.wait_until_resting((await engine.start("work", {"name": "m"}, key="k")).case)
        with pytest.raises(EngineStopped) as raised:
            await CLOSED[asked](engine)
        return str(raised.value)

    text = run(main())

    assert "closed; open it again." in text


def test_each_start_that_returned_is_stored_and_each_other_start_raises(place: Place) -> None:
    async def main() -> list[Any]:
        async with place.open(working(None, [])) as engine:
            starts = [asyncio.ensure_future(engine.start("work", {"name": "m"}, key=str(n))) for n in range(50)]
            await asyncio.wait(starts, return_when=asyncio.FIRST_COMPLETED)
        return await asyncio.gather(*starts, return_exceptions=True)

    async def kept() -> set[int]:
        async with place.open(working(None, [])) as engine:
            return {row.id for row in await engine.reader.cases()}

    answers = run(main())
    cases = run(kept())

    answered = {answer.case for answer in answers if not isinstance(answer, BaseException)}
    assert answered
    assert answered <= cases
    assert {type(answer) for answer in answers if isinstance(answer, BaseException)} <= {EngineStopped}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_serving_in_order_and_nothing_is_lost(on_disk: Place, number: signal.Signals) -> None:
    program = subprocess.Popen([sys.executable, served_until_told.__file__, str(on_disk.path)], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    begun = program.stdout.readline()

    program.send_signal(number)
    said, _ = program.communicate(timeout=HANG_SECONDS)

    async def main() -> Any:
        async with on_disk.open(served_until_told.endless(None)) as engine:
            return await engine.wait_until_resting(1)

    assert (begun, said, program.returncode) == ("begun\n", "closed\n", 0)
    assert run(main()).outcome == "ended"


class Disk:
    """A disk that can fail: then each commit raises what SQLite raises."""

    def __init__(self) -> None:
        self.broken = False

    def __call__(self, label: str) -> None:
        if self.broken and label == "store.commit":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error


def test_a_store_that_fails_stops_the_engine_and_every_waiting_call_raises(on_disk: Place) -> None:
    calls: list[str] = []

    async def main() -> list[Any]:
        disk, work = Disk(), Work()
        async with on_disk.open(working(work, calls, attempts_max=2), failpoints=disk) as engine:
            case = (await engine.start("work", {"name": "m"})).case
            await work.reached.wait()
            asks = (engine.wait_until_resting(case), engine.idle(), engine.serve())
            waiting = [asyncio.ensure_future(ask) for ask in asks]
            await asyncio.sleep(0)
            disk.broken = True
            work.gate.set()
            told = await asyncio.gather(*waiting, return_exceptions=True)
            with pytest.raises(StoreError):
                await engine.start("work", {"name": "another"})
            return told

    told = run(main())
    row = run(go_on(on_disk, calls, attempts_max=2))

    assert [isinstance(answer, StoreError) for answer in told] == [True] * 3
    assert "check the disk and start again" in str(told[0])
    assert (row.outcome, calls) == ("complete", ["begin", "begin", "complete"])


def test_a_cancel_that_waits_for_a_step_raises_when_the_store_fails(on_disk: Place) -> None:
    async def main() -> None:
        disk, work = Disk(), Work()
        async with on_disk.open(working(work, []), failpoints=disk) as engine:
            case = (await engine.start("work", {"name": "m"})).case
            await work.reached.wait()
            cancel = asyncio.ensure_future(engine.cancel(case, by="anna", why="late"))
            await asyncio.sleep(0)
            disk.broken = True
            work.gate.set()
            with pytest.raises(StoreError, match="check the disk"):
                await cancel

    run(main())


def test_a_start_that_was_not_committed_is_not_stored(on_disk: Place) -> None:
    async def main() -> Any:
        disk = Disk()
        async with on_disk.open(working(None, []), failpoints=disk) as engine:
            disk.broken = True
            with pytest.raises(StoreError, match="check the disk"):
                await engine.start("work", {"name": "m"}, key="k")
            disk.broken = False
            return await engine.reader.cases()

    assert run(main()) == []


def test_an_answer_that_was_not_committed_leaves_the_pause_open(on_disk: Place) -> None:
    process = Process("asking", Job)
    ask = process.pause(writes="first", answer=str, shows=("name",))
    again = process.pause(writes="second", answer=str, shows=("name",))
    process.rules(
        when("first", lambda c: c.first is None, ask),
        when("second", lambda c: c.second is None, again),
        otherwise(finish("answered")),
    )

    async def main() -> Any:
        disk = Disk()
        async with on_disk.open(process, failpoints=disk) as engine:
            case = (await engine.start(process, {"name": "m"})).case
            token = (await engine.pending(case)).token
            disk.broken = True
            with pytest.raises(StoreError):
                await engine.resume(token, "yes", by="anna")

    async def answer() -> Any:
        async with on_disk.open(process) as engine:
            return await engine.resume((await engine.pending(1)).token, "yes", by="anna")

    run(main())
    row = run(answer())

    assert (row.status, row.step) == (Status.WAITING, "second")


def test_a_retry_that_is_due_later_does_not_keep_the_engine_from_closing(place: Place) -> None:
    process = Process("work", Job)

    @process.node(writes=("first", "second"), retry=Retry(first_seconds=60))
    async def fail(name: str) -> tuple[str, str]:
        raise RuntimeError("down")

    process.rules(when("open", lambda c: c.first is None, fail), otherwise(finish("done")))

    async def main() -> Any:
        async with place.open(process, clock=ManualClock(), grace_seconds=60.0) as engine:
            case = (await engine.start(process, {"name": "m"})).case
            await seen(engine, "node.retried")
            return await engine.case(case)

    row = run(main())

    assert (row.status, row.wake_at is not None) == (Status.READY, True)
