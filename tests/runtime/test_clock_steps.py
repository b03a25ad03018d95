"""The machine's clock is set while cases wait: every timer fires when its time has passed, and no wait hangs on a stopped clock."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from places import Place, run, seen

from pointsman import (
    CircuitBreaker,
    Item,
    Limit,
    NotSent,
    Process,
    Retry,
    State,
    SystemClock,
    answer_with,
    each,
    every,
    finish,
    otherwise,
    park,
    remind,
    when,
)
from pointsman.runtime.clock import LOOK_SECONDS
from pointsman.testing.clock import ManualClock

WAIT = 20.0  # seconds that each timer here runs
HOUR = 3_600.0


class SetClock(SystemClock):
    """A machine's clock that a test sets by `step` seconds; real time is that of a clock that the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.passing = ManualClock()
        self.step = 0.0

    def wall(self) -> float:
        return self.passing.now() + self.step

    def monotonic(self) -> float:
        return self.passing.now()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        await self.passing.wait(event, seconds)


class Waiting(State):
    items: tuple[str, ...] = ("one",)
    result: str | None = None


class Rested(State):
    result: float | None = None


class Fanned(State):
    items: tuple[str, ...] = ("one",)
    result: list[str] | None = None


class Asked(State):
    text: str = "?"


def sleeping(process: Process[Any], _: Any) -> Any:
    return process.sleep(writes="result", name="rest", seconds=WAIT)


def asking(**pause: Any) -> Callable[[Process[Any], Any], Any]:
    def made(process: Process[Any], _: Any) -> Any:
        return process.pause(writes="result", answer=str, shows=("items",), name="ask", **pause)

    return made


def failing(*errors: Exception, limit: Limit | None = None) -> Callable[[Process[Any], list[Exception]], Any]:
    def made(process: Process[Any], left: list[Exception]) -> Any:
        left += errors

        @process.node(writes="result", limit=limit, retry=Retry(attempts_max=3, first_seconds=WAIT, jitter=0.0))
        async def work(items: tuple[str, ...]) -> str:
            if left:
                raise left.pop(0)
            return "done"

        return work

    return made


def branching(process: Process[Any], left: list[Exception]) -> Any:
    left.append(RuntimeError("down"))

    @process.node(writes="result", retry=Retry(attempts_max=3, first_seconds=WAIT, jitter=0.0))
    async def work(item: Item[str]) -> str:
        if left:
            raise left.pop(0)
        return "done"

    return each(work, over="items")


TIMERS: dict[str, tuple[Any, str]] = {
    "sleep": (sleeping, "woken"),
    "deadline": (asking(deadline=f"{WAIT}s", ladder=[park()]), "deadline.passed"),
    "reminder": (asking(deadline="2d", ladder=[remind(f"{WAIT}s"), park()]), "reminded"),
    "retry": (failing(RuntimeError("down")), "node.succeeded"),
    "branch": (branching, "node.succeeded"),
    "rate": (failing(limit=Limit("llm", per_second=1 / WAIT)), "node.succeeded"),
    "breaker": (
        failing(RuntimeError("down"), limit=Limit("llm", breaker=CircuitBreaker(failures=1, cooldown_seconds=WAIT))),
        "node.succeeded",
    ),
    "Retry-After": (failing(NotSent("slow down", retry_after=WAIT), limit=Limit("llm", concurrency=1)), "node.succeeded"),
}


def process_of(make: Any) -> Process[Any]:
    process: Process[Any] = Process("waiting", {sleeping: Rested, branching: Fanned}.get(make, Waiting))
    step = make(process, [])
    process.rules(when("open", lambda c: c.result is None, step), otherwise(finish("done")))
    return process


async def quiet(engine: Any) -> None:
    """Let everything happen that needs no time to pass."""
    for _ in range(10):
        for _ in range(20):
            await asyncio.sleep(0)
        await engine.store_blob(b"quiet")  # behind all that was handed in to the writer


@pytest.mark.parametrize("step", [-HOUR, HOUR, -2 * 24 * HOUR])
@pytest.mark.parametrize("kind", TIMERS)
def test_a_timer_fires_at_its_time_although_the_clock_was_set(place: Place, kind: str, step: float) -> None:
    make, comes = TIMERS[kind]
    process = process_of(make)

    async def main() -> None:
        clock = SetClock()
        async with place.open(process, clock=clock) as engine:
            count = 1
            if kind == "rate":
                await engine.wait_until_resting((await engine.start(process, {})).case)
                count = 2
            await engine.start(process, {})
            await quiet(engine)
            clock.step = step
            clock.passing.advance(0.5)
            await quiet(engine)
            clock.passing.advance(WAIT)
            await quiet(engine)
            assert [event.kind for event in await engine.reader.events()].count(comes) == count

    run(main())


@pytest.mark.parametrize("step", [-HOUR, 2 * 24 * HOUR])
def test_a_schedule_keeps_on_when_the_clock_is_set(place: Place, step: float) -> None:
    process = Process("waiting", Asked)
    process.schedule("minutely", every("1m"), inputs={})
    process.rules(otherwise(finish("done")))

    async def main() -> None:
        clock = SetClock()
        async with place.open(process, clock=clock) as engine:
            clock.step = step
            for _ in range(3):
                clock.passing.advance(61.0)
                await quiet(engine)
            assert len(await engine.reader.cases()) >= 3

    run(main())


def test_a_long_wait_is_looked_at_again_when_the_clock_was_set_forward(place: Place) -> None:
    process = process_of(asking(deadline="2d", ladder=[answer_with("late")]))

    async def main() -> None:
        clock = SetClock()
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, {})).case
            await quiet(engine)
            clock.step = 2 * 24 * HOUR
            clock.passing.advance(LOOK_SECONDS)
            await seen(engine, "finished")
            assert (await engine.case(case)).outcome == "done"

    run(main())


def test_an_idle_engine_waits_for_a_retry_no_longer_because_the_clock_was_set_back(place: Place) -> None:
    process = process_of(failing(RuntimeError("down")))

    async def main() -> None:
        clock = SetClock()
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, {})).case
            await quiet(engine)
            clock.step = -120.0
            idle = asyncio.ensure_future(engine.idle())
            for _ in range(3):
                clock.passing.advance(WAIT / 2)
                await quiet(engine)
            assert idle.done()
            assert (await engine.case(case)).outcome == "done"

    run(main())


def test_a_clock_that_is_set_back_advances_slowly_and_catches_up() -> None:
    clock = SetClock()
    before = clock.now()
    clock.step = -120.0
    times = []
    for _ in range(200):
        clock.passing.advance(1_000.0)
        times.append(clock.now())

    assert all(earlier < later for earlier, later in zip([before, *times], times, strict=False))
    assert times[0] - before == pytest.approx(1_000.0, rel=0.01)
    assert times[-1] == clock.wall()


@pytest.mark.parametrize("first", ["wall", "monotonic"])
def test_a_thread_that_stands_still_between_two_looks_does_not_put_the_clock_ahead(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine stands still for ten seconds after it was asked for the one time, and before it is asked for the other."""
    clock = SetClock()
    look = getattr(clock, first)

    def then_stands_still() -> float:
        at: float = look()
        monkeypatch.setattr(clock, first, look)
        clock.passing.advance(10.0)
        return at

    monkeypatch.setattr(clock, first, then_stands_still)
    clock.now()

    assert clock.now() <= clock.passing.now()
