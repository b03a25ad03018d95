"""An async function that blocks the event loop cannot be timed out; the watchdog names and counts it."""

import asyncio
import logging
import threading
from typing import Any

import pytest
from places import HANG_SECONDS, Place, run

from pointsman import Engine, Process, State, finish, otherwise, when
from pointsman.runtime import watchdog
from pointsman.runtime.watchdog import Watchdog
from pointsman.testing import ManualClock


class Job(State):
    text: str
    result: str | None = None


def watchdogs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "pointsman-watchdog"]


def from_outside(engine: Engine) -> None:
    """Look as the watchdog's thread would, while the loop stands still."""
    looking = threading.Thread(target=engine._watchdog.look)
    looking.start()
    looking.join()


def blocking(clock: ManualClock, *, seconds: float, looks: int) -> Process[Job]:
    process = Process("blocking", Job)

    @process.node(writes="result")
    async def stand_still(text: str, *, engines: list[Engine]) -> str:
        from_outside(engines[0])  # asks for a sign of life, which cannot come
        for _ in range(looks):
            clock.advance(seconds / looks)
            from_outside(engines[0])
        return text

    process.rules(when("no result", lambda c: c.result is None, stand_still), otherwise(finish("done")))
    return process


@pytest.mark.parametrize(("seconds", "told"), [(4.0, 0), (60.0, 1)])
def test_an_async_function_that_blocks_is_named_once_and_counted(
    place: Place, caplog: pytest.LogCaptureFixture, seconds: float, told: int
) -> None:
    clock = ManualClock()
    engines: list[Engine] = []

    async def main() -> Any:
        async with place.open(blocking(clock, seconds=seconds, looks=10), resources={"engines": engines}, clock=clock) as engine:
            engines.append(engine)
            for _ in range(2):
                await engine.wait_until_resting((await engine.start("blocking", {"text": "x"})).case)
                from_outside(engine)
                await engine.idle()
            return engine.event_loop_stalls

    with caplog.at_level(logging.WARNING, logger="pointsman"):
        blocked = run(main())

    warnings = [record.getMessage() for record in caplog.records if "blocked the event loop" in record.getMessage()]
    assert blocked == len(warnings) == 2 * told
    assert all("node 'stand_still'" in warning and "(at test_watchdog.py:" in warning for warning in warnings)


def test_a_machine_that_stood_still_is_not_a_function_that_blocks() -> None:
    async def main() -> int:
        clock = ManualClock()
        watching = Watchdog(clock, ())
        watching.look()
        clock.advance(60)
        watching.look(late=59)
        clock.advance(1)
        watching.look()
        return watching.blocked

    assert run(main()) == 0


def test_the_thread_that_watches_ends_with_the_engine(on_disk: Place) -> None:
    process = Process("quick", Job)

    @process.node(writes="result")
    async def work(text: str) -> str:
        return text

    process.rules(when("no result", lambda c: c.result is None, work), otherwise(finish("done")))

    async def main() -> list[threading.Thread]:
        async with on_disk.open(process) as engine:
            await engine.wait_until_resting((await engine.start("quick", {"text": "x"})).case)
            return watchdogs()

    before = watchdogs()  # one that an earlier test has told to end
    [watching] = set(run(main())).difference(before)

    watching.join(HANG_SECONDS)
    assert not watching.is_alive()


def test_the_thread_ends_also_if_it_looks_at_the_loop_when_the_engine_closes(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, goes_on = threading.Event(), threading.Event()

    def look(_: Watchdog, _late: float) -> None:
        looks.set()
        goes_on.wait(HANG_SECONDS)

    monkeypatch.setattr(Watchdog, "look", look)
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.01)
    process = Process("looked at", Job)

    @process.node(writes="result")
    async def work(text: str) -> str:
        while not looks.is_set():  # noqa: ASYNC110 - nothing tells the loop of it
            await asyncio.sleep(0)
        return text

    process.rules(when("no result", lambda c: c.result is None, work), otherwise(finish("done")))

    async def main() -> list[threading.Thread]:
        async with on_disk.open(process) as engine:
            await engine.wait_until_resting((await engine.start("looked at", {"text": "x"})).case)
            return watchdogs()

    before = watchdogs()  # one that an earlier test has told to end
    [watching] = set(run(main())).difference(before)
    goes_on.set()

    watching.join(HANG_SECONDS)
    assert not watching.is_alive()
