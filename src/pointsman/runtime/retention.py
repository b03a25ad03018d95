"""Delete ended cases when the retention of their process has passed.

Cases are deleted in small batches, each in one commit. After each batch the task rests four times as long as the batch took, so that it does
not slow down running cases.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from pointsman.definition.process import AnyProcess
from pointsman.errors import EngineStopped
from pointsman.runtime.clock import Clock, seconds_until
from pointsman.runtime.ports import Ports
from pointsman.store.base import FIRST, RetentionStore

BATCH_CASES = 50  # 3 to 8 ms of the writer's time in a file of 1,000,000 cases; larger batches are slower for each case
REST = 4  # rest this many times as long as a batch took, so that batches take a fifth of the writer's time at most
PASS_SECONDS = 3_600.0  # between two passes: retention is declared in days
COLLECT_SECONDS = 86_400.0  # between two collections of blobs: each reads every stored field
BLOB_SECONDS = 86_400.0  # the time for starting a case that refers to a stored blob: far longer than a full intake delays a start


class Vacuumed(NamedTuple):
    """The number of cases and blobs deleted, and the number of bytes by which the file has shrunk."""

    cases: int
    blobs: int
    size: int


async def vacuum(store: RetentionStore, processes: Sequence[AnyProcess], clock: Clock) -> Vacuumed:
    """Delete at once every case whose retention has passed, and compact the file. Raises StoreError."""
    cases = await expire(store, processes, clock, _no_rest)
    collected = await store.collect_blobs(before=clock.now() - BLOB_SECONDS)
    return Vacuumed(cases, collected.blobs, await store.compact())


async def expire(store: RetentionStore, processes: Sequence[AnyProcess], clock: Clock, rest: Callable[[float], Awaitable[bool]]) -> int:
    """Delete the cases whose retention has passed, and return their number.

    `rest` is called after each batch with the seconds that it took, and returns whether to go on.
    """
    expired = 0
    for process in processes:
        retention = process.retention
        for outcome in (None, *await store.outcomes(process.name)) if retention is not None else ():
            seconds = retention.seconds(outcome) if retention is not None else None
            place = FIRST if seconds is not None else None
            while place is not None and seconds is not None:
                now, begun = clock.now(), clock.monotonic()
                gone, place = await store.expire(process.name, outcome, before=now - seconds, at=now, limit=BATCH_CASES, after=place)
                expired += gone
                if (gone or place) and not await rest(clock.monotonic() - begun):
                    return expired
    return expired


async def _no_rest(_: float) -> bool:
    return True


class Retention:
    """An engine's retention: a background task if a process declares a retention, and the vacuum."""

    def __init__(
        self, ports: Ports, processes: Sequence[AnyProcess], appended: Callable[[], None], failed: Callable[[Exception], None]
    ) -> None:
        self._store: RetentionStore = ports.store
        self._clock = ports.clock
        self._processes = processes
        self._appended = appended
        self._failed = failed
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start the background task."""
        if any(process.retention is not None for process in self._processes):
            self._task = asyncio.create_task(self._keep_on(), name="pointsman-retention")

    async def stop(self) -> None:
        """Stop after the current batch."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def vacuum(self) -> Vacuumed:
        """Delete now, and compact the file; see `Engine.vacuum`."""
        vacuumed = await vacuum(self._store, self._processes, self._clock)
        self._appended()
        return vacuumed

    async def _keep_on(self) -> None:
        collect_at = (
            self._clock.now() + PASS_SECONDS
        )  # not in the first hour: an engine that runs for a short time need not read everything
        try:
            while not self._stopping.is_set():
                pass_at = self._clock.now() + PASS_SECONDS
                if await expire(self._store, self._processes, self._clock, self._rest):
                    self._appended()
                if self._clock.now() >= collect_at and not self._stopping.is_set():
                    await self._store.collect_blobs(before=self._clock.now() - BLOB_SECONDS)
                    collect_at = self._clock.now() + COLLECT_SECONDS
                await self._clock.wait(self._stopping, seconds_until(pass_at, self._clock))
        except EngineStopped:
            pass
        except Exception as error:
            self._failed(error)

    async def _rest(self, seconds: float) -> bool:
        await self._clock.wait(self._stopping, REST * seconds)
        return not self._stopping.is_set()
