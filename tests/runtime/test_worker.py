"""A worker opens its engine again when the store was away, and only then."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pointsman import (
    Engine,
    Process,
    State,
    StoreAway,
    StoreError,
    StoreForeign,
    StoreNewer,
    StoreUnwritable,
    Worker,
    finish,
    otherwise,
    when,
)
from pointsman.errors import EngineStopped, LeaseLost
from pointsman.runtime.clock import SystemClock
from pointsman.runtime.worker import AGAIN_MAX_SECONDS, SLOW_SECONDS
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock

HANG_SECONDS = 60.0  # far longer than a test takes
LEASE_SECONDS = 3_600.0  # the clock of most tests here is the real one, and a lease must not end while the machine is busy


class Quick(SystemClock):
    """A clock whose waits take no time; it says how long they would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        assert seconds is not None
        self.waits.append(seconds)
        await asyncio.sleep(0)


class Opening:
    """Opens engines on one store in memory; before that it raises what stands in `problems`, one at a try."""

    def __init__(self, *problems: Exception, shared: bool = True) -> None:
        self._problems = [*problems]
        self._store = MemoryStore(lease_seconds=LEASE_SECONDS if shared else None)
        self.tries = 0

    def __call__(self) -> AbstractAsyncContextManager[Engine]:
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Engine]:
        self.tries += 1
        if self._problems:
            raise self._problems.pop(0)
        async with Engine.open("", [], store=self._store.beside()) as engine:
            yield engine


def run(body: Callable[[], Any]) -> None:
    async def main() -> None:
        async with asyncio.timeout(HANG_SECONDS):
            await body()

    asyncio.run(main())


def test_a_worker_waits_longer_each_time_and_tells_it_once(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        opening, clock = Opening(*(StoreAway("the database is away") for _ in range(12))), Quick()
        with caplog.at_level(logging.WARNING, "pointsman"):
            worker = Worker(opening, clock=clock, random=Random(1))
            async with worker.working() as engine:
                await worker.check_ready()
                assert await engine.reader.counts() == {}

        assert opening.tries == 13
        assert clock.waits[0] < 1.0 < clock.waits[8] <= AGAIN_MAX_SECONDS
        assert [record.message for record in caplog.records] == [
            "the worker opens its engine again: the database is away", "the worker goes on: it has opened its engine again",
        ]  # fmt: skip

    run(body)


def test_a_worker_that_waits_long_for_its_engine_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        clock, opening = ManualClock(), Opening()

        @asynccontextmanager
        async def slow() -> AsyncIterator[Engine]:
            while not caplog.records:
                clock.advance(SLOW_SECONDS)
                await asyncio.sleep(0)
            async with opening() as engine:
                yield engine

        async with Worker(slow, clock=clock).working() as engine:
            assert await engine.reader.counts() == {}

        assert ["is not open after 5 seconds" in record.message for record in caplog.records] == [True]

    run(body)


@pytest.mark.parametrize(
    "failure", [LeaseLost("its lease has expired"), StoreError("the answer is lost"), StoreUnwritable("the disk is full")]
)
def test_an_engine_that_stops_because_of_its_store_is_opened_again(failure: StoreError) -> None:
    async def body() -> None:
        opened: asyncio.Queue[Engine] = asyncio.Queue()
        worker, stop = Worker(Opening(), opened=opened.put_nowait, clock=Quick(), random=Random(1)), asyncio.Event()
        working = asyncio.create_task(worker.work(stop))
        first = await opened.get()
        first._fail(failure)
        second = await opened.get()
        await worker.check_ready()
        stop.set()
        await working

        with pytest.raises(StoreAway):
            await worker.check_ready()
        with pytest.raises(EngineStopped):
            await second.check_ready()

    run(body)


@pytest.mark.parametrize("problem", [StoreError("the password is wrong"), StoreNewer("upgrade"), StoreForeign("another program's")])
def test_a_database_that_answers_and_cannot_be_used_ends_the_worker_at_once(problem: StoreError) -> None:
    async def body() -> None:
        opening = Opening(problem)
        with pytest.raises(type(problem)):
            async with Worker(opening, clock=Quick()).working():
                raise AssertionError("it must not begin")
        assert opening.tries == 1

    run(body)


@pytest.mark.parametrize(("shared", "failure"), [(True, StoreNewer("upgrade")), (False, StoreUnwritable("the disk is full"))])
def test_an_engine_that_nobody_could_open_again_ends_the_worker(shared: bool, failure: StoreError) -> None:
    async def body() -> None:
        opening = Opening(shared=shared)

        async def fails() -> None:
            worker = Worker(opening, clock=Quick())
            async with worker.working() as engine:
                engine._fail(failure)
                await worker.until(asyncio.Event())

        with pytest.raises(type(failure)):
            await fails()
        assert opening.tries == 1

    run(body)


def test_a_worker_that_is_stopped_while_it_opens_returns(tmp_path: Path) -> None:
    async def body() -> None:
        begun, cancelled = asyncio.Event(), asyncio.Event()

        @asynccontextmanager
        async def never() -> AsyncIterator[Engine]:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            yield Engine.__new__(Engine)

        stop = asyncio.Event()
        working = asyncio.create_task(Worker(never).work(stop))
        await begun.wait()
        stop.set()
        await working
        assert cancelled.is_set()

    run(body)


class Step(State):
    done: bool | None = None


def test_a_worker_that_drains_says_so_when_it_is_asked() -> None:
    async def body() -> None:
        stop, opened = asyncio.Event(), asyncio.Event()
        worker = Worker(Opening(), opened=lambda _: opened.set())
        working = asyncio.create_task(worker.work(stop))
        await opened.wait()
        await worker.check_ready()

        stop.set()

        with pytest.raises(EngineStopped, match="the worker drains"):
            await worker.check_ready()
        await working

    run(body)


def test_an_engine_that_has_lost_its_lease_waits_for_no_step() -> None:
    async def body() -> None:
        begun, process = asyncio.Event(), Process("steps", Step)

        @process.node(writes="done")
        async def never() -> bool:
            begun.set()
            await asyncio.Event().wait()
            return True

        process.rules(when("not done", lambda step: step.done is None, never), otherwise(finish("done")))
        store = MemoryStore(lease_seconds=LEASE_SECONDS)

        async with Engine.open("", [process], store=store.beside(), grace_seconds=10 * HANG_SECONDS) as engine:
            await engine.start(process, Step())
            await begun.wait()
            engine._fail(LeaseLost("its lease has expired"))

    run(body)


def test_an_engine_whose_lease_was_not_renewed_in_time_is_not_ready() -> None:
    async def body() -> None:
        clock = ManualClock()
        store = MemoryStore(lease_seconds=30.0, now=clock.now)
        async with Engine.open("", [], store=store.beside(), clock=clock) as engine:
            await engine.check_ready()
            clock.advance(21.0)
            with pytest.raises(StoreAway, match="lease"):
                await engine.check_ready()

    run(body)


def test_a_store_whose_clock_cannot_be_read_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        store = MemoryStore(lease_seconds=LEASE_SECONDS)
        handle, closed = store.beside(), asyncio.Event()

        async def fails() -> float:
            raise StoreAway("the database is away")

        async def close() -> None:
            closed.set()

        monkeypatch.setattr(handle, "renew", fails)
        monkeypatch.setattr(handle, "close", close)
        with pytest.raises(StoreAway):
            await Engine.open("", [], store=handle).__aenter__()
        assert closed.is_set()

    run(body)


def test_a_listener_that_swallows_a_cancel_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        begun = asyncio.Event()

        async def swallowing(_: MemoryStore) -> AsyncGenerator[None, None]:
            with suppress(asyncio.CancelledError):
                begun.set()
                await asyncio.Event().wait()
            await asyncio.Event().wait()
            yield

        monkeypatch.setattr(MemoryStore, "notifications", swallowing)
        async with Opening()():
            await begun.wait()

    run(body)
