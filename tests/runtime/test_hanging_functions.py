"""Plain functions that outlive their timeout run on, are counted and replaced, and can change nothing any more."""

import asyncio
import subprocess
import sys
import threading
from typing import Any

import hanging
import pytest
from letters import Letter, World, look_up
from places import HANG_SECONDS, Place, let_pass, run, seen

from pointsman import Context, Engine, NotSent, Process, Reconcile, Retry, State, Status, finish, otherwise, when
from pointsman.kernel.ledger import EffectStatus
from pointsman.runtime import threads
from pointsman.runtime.threads import Threads
from pointsman.testing.clock import ManualClock

pytestmark = pytest.mark.usefixtures("no_threads_left")
SECONDS = 60  # of a call that hangs, which pass at once; the others need far less on a machine that stands still, too


class Job(State):
    name: str
    result: str | None = None


class Gates:
    """A call of the name "hangs" waits until its gate is opened; the others return at once."""

    def __init__(self) -> None:
        self.open, self.hanging = threading.Event(), threading.Semaphore(0)
        self.calls: list[str] = []

    def work(self, name: str) -> str:
        self.calls.append(name)
        if name == "hangs":
            self.hanging.release()
            self.open.wait(HANG_SECONDS)
        return f"{name} {len(self.calls)}"


def working(**settings: Any) -> Process[Job]:
    process = Process("work", Job)

    @process.node(writes="result", **{"timeout_seconds": SECONDS, "retry": Retry(attempts_max=1)} | settings)
    def work(name: str, *, gates: Gates) -> str:
        return gates.work(name)

    process.rules(when("open", lambda c: c.result is None, work), otherwise(finish("done")))
    return process


async def hang(gates: "Gates | Slow") -> None:
    """Wait until a call hangs, and let its time pass."""
    await asyncio.to_thread(gates.hanging.acquire)
    await let_pass(SECONDS)


async def hung(engine: Engine, process: Process[Job], gates: Gates) -> Any:
    case = (await engine.start(process, {"name": "hangs"})).case
    await hang(gates)
    return await engine.wait_until_resting(case)


async def ended(engine: Engine, process: Process[Job], name: str) -> Any:
    return await engine.wait_until_resting((await engine.start(process, {"name": name})).case)


async def all_ended(engine: Engine) -> None:
    while engine.abandoned_calls:  # noqa: ASYNC110 - nothing tells the loop of it
        await asyncio.sleep(0)


def test_a_function_that_hangs_is_counted_and_its_thread_replaced(place: Place) -> None:
    process, gates = working(), Gates()

    async def main() -> Any:
        async with place.open(process, resources={"gates": gates}, threads=1) as engine:
            hangs = [await hung(engine, process, gates) for _ in range(3)]
            hanging, quick = engine.abandoned_calls, await ended(engine, process, "quick")
            gates.open.set()
            await all_ended(engine)
            return hangs, hanging, quick

    hangs, hanging, quick = run(main())

    assert [row.status for row in hangs] == [Status.PARKED] * 3
    assert f"no result within {SECONDS} seconds" in hangs[0].reason
    assert (hanging, quick.status) == (3, Status.DONE)


def test_when_all_threads_hang_a_call_is_refused_and_when_they_end_it_is_not(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "HANGING_MAX", 1)
    process, gates = working(), Gates()

    async def main() -> Any:
        async with place.open(process, resources={"gates": gates}, threads=1) as engine:
            for _ in range(2):
                await hung(engine, process, gates)
            refused = await ended(engine, process, "refused")
            gates.open.set()
            await all_ended(engine)
            return refused, await ended(engine, process, "quick")

    refused, quick = run(main())

    assert refused.status is Status.PARKED
    assert "plain functions that hang: 2; give their clients timeouts" in refused.reason
    assert quick.status is Status.DONE
    assert gates.calls == ["hangs", "hangs", "quick"]


def test_a_call_that_waits_for_a_thread_is_refused_when_the_last_one_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "HANGING_MAX", 0)
    pool, gate, begun = Threads(1, ManualClock()), threading.Event(), threading.Event()

    def hangs() -> None:
        begun.set()
        gate.wait(HANG_SECONDS)

    hanging, waiting = pool.submit(hangs), pool.submit(str)
    begun.wait(HANG_SECONDS)
    pool.abandon(hanging)

    with pytest.raises(NotSent, match="plain functions that hang: 1"):
        waiting.result(HANG_SECONDS)
    gate.set()
    pool.close()


def test_as_many_threads_as_may_hang_are_replaced_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "HANGING_MAX", 3)
    pool, gate, before = Threads(2, ManualClock()), threading.Event(), set(threading.enumerate())
    calls: list[Any] = []

    def hang_all(count: int) -> None:
        """Submit so many calls at once, and give them up when they have begun."""
        begun = threading.Barrier(count + 1)
        calls.extend(pool.submit(lambda: (begun.wait(HANG_SECONDS), gate.wait(HANG_SECONDS))) for _ in range(count))
        begun.wait(HANG_SECONDS)
        for call in calls:
            pool.abandon(call)

    for count in (2, 2, 1):
        hang_all(count)

    assert (pool.abandoned, len(set(threading.enumerate()) - before)) == (5, 5)
    with pytest.raises(NotSent):
        pool.submit(str)
    gate.set()
    for call in calls:
        call.result(HANG_SECONDS)
    pool.close()


def test_a_late_result_changes_nothing(place: Place) -> None:
    process, gates = working(retry=Retry(attempts_max=2, first_seconds=60)), Gates()

    async def main() -> Any:
        clock = ManualClock()
        async with place.open(process, resources={"gates": gates}, clock=clock) as engine:
            case = (await engine.start(process, {"name": "hangs"})).case
            await hang(gates)
            await seen(engine, "node.retried")
            gates.open.set()
            await all_ended(engine)
            between = await engine.case(case)
            clock.advance(60)
            await engine.wait_until_resting(case)
            return between, await engine.state(case, Job), await engine.reader.events(case=case)

    between, state, events = run(main())

    assert between.status is Status.READY
    assert state.result == "hangs 2"
    assert [event.attempt for event in events if event.kind == "node.succeeded"] == [2]


def test_a_closed_engine_waits_for_no_thread_that_hangs(place: Place) -> None:
    process, gates = working(timeout_seconds=None), Gates()

    async def main() -> int:
        async with place.open(process, resources={"gates": gates}) as engine:
            await engine.start(process, {"name": "hangs"})
            while not gates.calls:  # noqa: ASYNC110 - nothing tells the loop of it
                await asyncio.sleep(0)
        return engine.abandoned_calls

    assert run(main()) == 1
    gates.open.set()


def test_a_program_can_end_while_a_function_hangs(on_disk: Place) -> None:
    done = subprocess.run([sys.executable, hanging.__file__, str(on_disk.path)], capture_output=True, text=True, timeout=60, check=False)

    assert (done.stdout, done.stderr, done.returncode) == ("parked 1\n", "", 0)


# Effects whose call was given up and runs on.


SETTLE_SECONDS = 120.0


class Slow(World):
    """A world whose answer comes when its gate is opened: `ending` is what the call comes to then."""

    def __init__(self, ending: Any) -> None:
        super().__init__()
        self.gate, self.hanging = threading.Event(), threading.Semaphore(0)
        self.ending = ending

    def post_slowly(self, key: str) -> str:
        self.keys.append(key)
        if len(self.keys) == 1:
            self.hanging.release()
            self.gate.wait(HANG_SECONDS)
            if isinstance(self.ending, BaseException):
                raise self.ending
        self.posted[key] = self.ending
        return "posted"


def slow_letter() -> Process[Letter]:
    process = Process("letter", Letter)

    @process.effect(writes="receipt", safety=Reconcile(look_up, SETTLE_SECONDS), timeout_seconds=SECONDS)
    def post(message: str, *, ctx: Context, world: Slow) -> str:
        return world.post_slowly(ctx.key)

    process.rules(when("unposted", lambda c: c.receipt is None, post), otherwise(finish("posted")))
    return process


async def in_doubt_after_settling(engine: Engine, world: Slow, clock: ManualClock) -> None:
    """Start a letter, and move the clock to where the world would be asked."""
    await engine.start("letter", {"message": "m"})
    await hang(world)
    await seen(engine, "effect.in_doubt")
    clock.advance(SECONDS + SETTLE_SECONDS)
    await engine.idle(horizon_seconds=0)


def test_there_is_no_look_up_while_the_call_runs_and_its_late_result_is_the_outcome(place: Place) -> None:
    process, world, clock = slow_letter(), Slow("posted"), ManualClock()

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            await in_doubt_after_settling(engine, world, clock)
            waiting = await engine.case(1)
            world.gate.set()
            await all_ended(engine)
            clock.advance(60)
            return waiting, await engine.wait_until_resting(1), (await engine.reader.effects(1))[0], await engine.reader.events(case=1)

    waiting, row, entry, events = run(main())

    assert waiting.status is Status.READY
    assert (row.outcome, entry.status, world.look_ups, len(world.keys)) == ("posted", EffectStatus.DONE, 0, 1)
    assert ['"how":"called late"' in event.facts for event in events if event.kind == "effect.settled"] == [True]


def test_after_a_late_failure_the_propagation_time_counts_from_its_end(place: Place) -> None:
    process, world, clock = slow_letter(), Slow(ConnectionResetError("broken")), ManualClock()

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            await in_doubt_after_settling(engine, world, clock)
            world.gate.set()
            await all_ended(engine)
            clock.advance(SETTLE_SECONDS - 1)
            await engine.idle(horizon_seconds=0)
            early = world.look_ups
            clock.advance(1)
            return early, await engine.wait_until_resting(1), (await engine.reader.effects(1))[0]

    early, row, entry = run(main())

    assert (early, world.look_ups, row.outcome, entry.attempts) == (0, 1, "posted", 2)


def test_a_call_that_never_ends_is_left_to_a_person(place: Place) -> None:
    process, world, clock = slow_letter(), Slow("posted"), ManualClock()

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            await in_doubt_after_settling(engine, world, clock)
            while (row := await engine.case(1)).status is Status.READY:
                clock.advance(60)
                await engine.idle(horizon_seconds=0)
            world.gate.set()
            return row, (await engine.reader.effects(1))[0]

    row, entry = run(main())

    assert (row.status, entry.status, world.look_ups, len(world.keys)) == (Status.PARKED, EffectStatus.IN_DOUBT, 0, 1)
    assert "the engine abandoned its call, which still runs" in row.reason
