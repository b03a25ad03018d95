"""A worker: it keeps an engine open on a database, also when the database is away for a while, until it is told to stop."""

import asyncio
import logging
import os
import random as chance
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from pointsman.errors import EngineStopped, StoreAway, StoreError, StoreForeign, StoreNewer
from pointsman.runtime.clock import Clock, SystemClock
from pointsman.runtime.engine import Engine

AGAIN_SECONDS = 0.2  # before the first try to open the engine again; twice as long before each further one
AGAIN_MAX_SECONDS = 10.0  # so long a database can be back before a worker notices
SLOW_SECONDS = 5.0  # far above what it takes to open an engine, and soon enough for a person who waits for it
READY_SECONDS = 2.0  # for the database's answer: a probe waits no longer than a few seconds

T = TypeVar("T")

log = logging.getLogger("pointsman")


class Worker:
    """Runs the engine that `opening` opens, and opens another one when it has stopped because of its database. Make it in a running event loop.

    `opened` is called with each engine. `clock` and `random` are for the waits between two tries.

    An engine stops when it has lost its lease or cannot reach the database. What it was doing is then taken over by other engines, or by the
    next one here. A worker does not try again if the tables are of a newer release or of another program, or if the first engine finds a database that
    answers and cannot be used.
    """

    def __init__(
        self, opening: Callable[[], AbstractAsyncContextManager[Engine]], *, opened: Callable[[Engine], None] = lambda _: None,
        clock: Clock | None = None, random: chance.Random | None = None,
    ) -> None:  # fmt: skip
        self._opening = opening
        self._opened = opened
        self._clock = clock or SystemClock()
        self._random = random or chance.SystemRandom()
        self._engine: Engine | None = None
        self._first: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
        self._work: asyncio.Task[None] | None = None
        self._stop: asyncio.Event | None = None
        self._shared = False
        self._away = False
        self._tries = 0
        self._problem = "the worker has not begun"

    async def work(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; return when the engine is closed, its running steps have ended, and its cases are given back.

        Raises StoreError if another try would not help; see the class.
        """
        self._stop = stop
        while not stop.is_set():
            begun = self._clock.monotonic()
            try:
                async with AsyncExitStack() as stack:
                    engine = await _unless(stop, self._open(stack))
                    if engine is None:
                        return
                    begun = self._clock.monotonic()
                    self._works(engine)
                    await _serve(engine, stop)
            except StoreError as error:
                if stop.is_set():
                    log.warning("the worker could not give its cases back; others take them over when its lease ends: %s", error)
                    return
                self._refuse_in_vain(error)
                await self._wait(error, self._clock.monotonic() - begun, stop)
            finally:
                self._engine = None

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Engine]:
        """Work while the block runs, and yield the first engine once it is open. Raises what `work` raises."""
        closing = asyncio.Event()
        self._work = work = asyncio.create_task(self.work(closing), name="pointsman-worker")
        try:
            waited: list[asyncio.Future[Any]] = [work, self._first]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not self._first.done():
                work.result()
            yield self._first.result()
        finally:
            closing.set()
            await work

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for `stop` in a block of `working`. Raises what `work` raises."""
        assert self._work is not None
        told = asyncio.create_task(stop.wait())
        await asyncio.wait([self._work, told], return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if self._work.done():
            self._work.result()

    @property
    def engine(self) -> Engine | None:
        """The engine that is open now, or None while there is none."""
        return self._engine

    async def check_ready(self) -> None:
        """Return if the engine holds its lease, claims cases and reaches its database. Raises StoreError, EngineStopped."""
        if self._engine is None:
            raise StoreAway(f"no engine is open here now ({self._problem}); wait until the worker has opened one.")
        if self._stop is not None and self._stop.is_set():
            raise EngineStopped("the worker drains: it claims no more cases, and ends after its running steps; ask another worker.")
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._engine.check_ready()
        except TimeoutError:
            raise StoreAway("the database does not answer; check the network, and that its server runs.") from None

    async def _open(self, stack: AsyncExitStack) -> Engine:
        telling = asyncio.create_task(self._tell_slow())
        try:
            return await stack.enter_async_context(self._opening())
        finally:
            telling.cancel()

    async def _tell_slow(self) -> None:
        await self._clock.wait(asyncio.Event(), SLOW_SECONDS)
        if not self._away:
            log.warning(
                "the engine is not open after %g seconds, and the worker waits for it; check that the database answers, and that its server"
                " has about ten free connections for this role", SLOW_SECONDS,
            )  # fmt: skip

    def _works(self, engine: Engine) -> None:
        if self._away:
            log.warning("the worker goes on: it has opened its engine again")
        self._away = False
        self._engine, self._shared = engine, engine.shared
        if not self._first.done():
            self._first.set_result(engine)
        self._opened(engine)

    def _refuse_in_vain(self, error: StoreError) -> None:
        """Raise the error if another try would not help."""
        if isinstance(error, StoreNewer | StoreForeign) or not (self._shared or isinstance(error, StoreAway)):
            raise error

    async def _wait(self, error: StoreError, worked_seconds: float, stop: asyncio.Event) -> None:
        self._problem = str(error)
        if not self._away:
            log.warning("the worker opens its engine again: %s", error)
        self._away = True
        if worked_seconds >= AGAIN_MAX_SECONDS:
            self._tries = 0
        most = min(AGAIN_MAX_SECONDS, AGAIN_SECONDS * 2.0 ** min(self._tries, 20))
        self._tries += 1
        # Half of the wait is left to chance: a fleet does not come back all at once.
        await self._clock.wait(stop, most * (0.5 + self._random.random() / 2))


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set while the block runs. A second signal ends the process at once, as a crash would."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def heard(number: int) -> None:
        if stop.is_set():
            log.warning("a second signal: the process ends at once, and other engines take over its cases when its lease ends")
            os._exit(128 + number)
        stop.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, heard, number)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _serve(engine: Engine, stop: asyncio.Event) -> None:
    """Run an engine until `stop` is set. Raises what stopped the engine, if it stops by itself."""
    ending = asyncio.Event()  # the engine sets it when it stops by itself
    told = asyncio.create_task(stop.wait())
    told.add_done_callback(lambda _: ending.set())
    try:
        await engine.serve(ending)
    finally:
        told.cancel()


async def _unless(stop: asyncio.Event, call: Coroutine[Any, Any, T]) -> T | None:
    """Return what `call` returns. If `stop` is set first, cancel it and return None."""
    task, told = asyncio.create_task(call), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, told], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait([task])
        return None if task.cancelled() else task.result()
    finally:
        told.cancel()
