"""What becomes of cases that have ended: they go when they were kept long enough.

Nothing here is in the way of cases that are at work. What goes, goes in small batches, each a commit of its own that a crash
leaves whole or undone; behind each batch the background rests four times as long as it took.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from pointsman.definition.process import AnyProcess
from pointsman.errors import EngineStopped
from pointsman.runtime.clock import Clock, seconds_until
from pointsman.runtime.ports import Ports
from pointsman.store.base import RetentionStore

BATCH_CASES = 200  # some 20 ms of the writer's time
REST = 4  # times as long as a batch took: a fifth of the writer at most
PASS_SECONDS = 3_600.0  # retention is told in days
COLLECT_SECONDS = 86_400.0  # a collection reads every field that there is
BLOB_SECONDS = 86_400.0  # between keeping a blob and starting the case that refers to it; far more than a full intake makes anyone wait


class Vacuumed(NamedTuple):
    """How many cases and blobs went, and how many bytes the file gave back."""

    cases: int
    blobs: int
    size: int


async def vacuum(store: RetentionStore, processes: Sequence[AnyProcess], clock: Clock) -> Vacuumed:
    """Let go of everything that was kept long enough, at once, and give the space back. Raises StoreError."""
    cases = await expire(store, processes, clock, _no_rest)
    collected = await store.collect_blobs(before=clock.now() - BLOB_SECONDS)
    return Vacuumed(cases, collected.blobs, await store.compact())


async def expire(store: RetentionStore, processes: Sequence[AnyProcess], clock: Clock, rest: Callable[[float], Awaitable[bool]]) -> int:
    """Let go of the cases that were kept long enough; answers how many.

    `rest` is told how long a batch took (seconds), and answers whether to go on.
    """
    expired = 0
    for process in processes:
        retention = process.retention
        for outcome in (None, *await store.outcomes(process.name)) if retention is not None else ():
            seconds = retention.seconds(outcome) if retention is not None else None
            gone = BATCH_CASES if seconds is not None else 0
            while gone == BATCH_CASES and seconds is not None:
                now, begun = clock.now(), clock.monotonic()
                gone = await store.expire(process.name, outcome, before=now - seconds, at=now, limit=BATCH_CASES)
                expired += gone
                if gone and not await rest(clock.monotonic() - begun):
                    return expired
    return expired


async def _no_rest(_: float) -> bool:
    return True


class Retention:
    """An engine's share in it: a slow task in the background where a process has a retention, and the vacuum."""

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
        """Begin to let go of what was kept long enough."""
        if any(process.retention is not None for process in self._processes):
            self._task = asyncio.create_task(self._keep_on(), name="pointsman-retention")

    async def stop(self) -> None:
        """Begin nothing more; a batch that is under way is ended."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def vacuum(self) -> Vacuumed:
        """Let go of everything now; see `Engine.vacuum`."""
        vacuumed = await vacuum(self._store, self._processes, self._clock)
        self._appended()
        return vacuumed

    async def _keep_on(self) -> None:
        collect_at = self._clock.now() + PASS_SECONDS  # not in the first hour: a short life need not read everything
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
