"""Start one case at each tick of a schedule: never early, and never twice, even after a crash.

The start key of the case contains the tick's time. A start that is repeated, after a crash or by another engine on the store, finds the
existing case. After the start, the store records that the tick is over.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from pointsman.definition.process import AnyProcess
from pointsman.definition.schedules import Schedule
from pointsman.errors import Busy, EngineStopped, StoreError
from pointsman.kernel.rows import NewCase
from pointsman.runtime.clock import LOOK_SECONDS
from pointsman.runtime.ports import Ports
from pointsman.runtime.starts import Starts
from pointsman.store.base import ScheduleRow, ScheduleStore

log = logging.getLogger("pointsman")


class Schedules:
    """Runs all schedules of an engine with one task and one timer, or none if there are no schedules."""

    def __init__(self, ports: Ports, processes: Iterable[AnyProcess], starts: Starts, failed: Callable[[Exception], None]) -> None:
        self._store: ScheduleStore = ports.store
        self._clock = ports.clock
        self._starts = starts
        self._failed = failed
        self._schedules = [(process, schedule) for process in processes for schedule in process.schedules.values()]
        self._rows: dict[Schedule, ScheduleRow] = {}
        self._looked_at = 0.0
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start the cases of missed ticks, and begin to wait for the next ones. Raises StoreError."""
        if not self._schedules:
            return
        await self._start_due()
        self._task = asyncio.create_task(self._keep_on(), name="pointsman-schedules")

    async def stop(self) -> None:
        """Start no more cases."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _keep_on(self) -> None:
        try:
            while not self._stopping.is_set():
                await self._clock.wait(self._stopping, self._seconds_to_wait())
                await self._start_due()
        except EngineStopped:
            pass
        except Exception as error:
            self._failed(error)

    def _seconds_to_wait(self) -> float:
        # Count from the last look, not from now: a tick may have become due since.
        following = (schedule.following(self._looked_at, self._rows[schedule].since) for _, schedule in self._schedules)
        look_at = min([self._looked_at + LOOK_SECONDS, *(tick for tick in following if tick is not None)])
        return max(0.0, look_at - self._clock.now())

    async def _start_due(self) -> None:
        self._looked_at = self._clock.now()
        for process, schedule in self._schedules:
            if self._stopping.is_set():
                return
            try:
                await self._start_ticks(process, schedule, self._looked_at)
            except (StoreError, EngineStopped):
                raise
            except Busy as busy:
                log.warning("schedule %r of process %r is tried again: %s", schedule.name, process.name, busy)
            except Exception as error:  # the inputs of an author's function may be wrong
                told = "schedule %r of process %r could not start its case (%s); it is tried again"
                log.exception(told, schedule.name, process.name, type(error).__name__, exc_info=not process.private)

    async def _start_ticks(self, process: AnyProcess, schedule: Schedule, now: float) -> None:
        if schedule not in self._rows:
            # The first moment is a whole second, so that a tick's time reads well in a key.
            self._rows[schedule] = await self._store.schedule(process.name, schedule.name, now=float(int(now)))
        row = self._rows[schedule]
        due, over = schedule.due(row.last, now, row.since)
        for tick in due:
            inputs = schedule.inputs(schedule.shown(tick)) if callable(schedule.inputs) else schedule.inputs
            await self._starts.start(process, NewCase(process.name, process.version, schedule.key(tick)), inputs)
            await self._is_over(process, schedule, tick)
        if not due and over > row.last:
            await self._is_over(process, schedule, over)

    async def _is_over(self, process: AnyProcess, schedule: Schedule, tick: float) -> None:
        await self._store.ticked(process.name, schedule.name, tick)
        self._rows[schedule] = self._rows[schedule]._replace(last=tick)
