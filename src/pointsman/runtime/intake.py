"""The bounds of the intake: how large the backlog may be before a start is refused.

A start far below the bound is not counted exactly: the starts accepted since the last count are added to it. When the sum reaches the
bound, the store counts again, up to the bound and at most a few times a second.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil, inf

from pointsman.definition.counts import format_count
from pointsman.definition.process import AnyProcess
from pointsman.errors import Busy
from pointsman.runtime.clock import Clock
from pointsman.store.base import Reader

RECOUNT_SECONDS = 0.2  # between two counts of one line: a hundred thousand rows are counted in some milliseconds
TENANTS_MAX = 10_000  # whose lines are remembered; beyond it they are counted anew
ROOM_PART = 0.1  # of the bound: `retry_after` is when so much room should be free at the present rate
LEAST_SECONDS, UNKNOWN_SECONDS, MOST_SECONDS = 1.0, 5.0, 60.0


@dataclass(slots=True)
class _Line:
    """The count of one backlog, its time, and the starts accepted since or in progress."""

    counted: float = inf
    at: float = -inf
    accepted: int = 0
    under_way: int = 0
    left_per_second: float | None = None

    @property
    def length(self) -> float:
        return self.counted + self.accepted + self.under_way


@dataclass(slots=True)
class Entry:
    """A start at the intake: `busy` is why it is refused; `started` says whether it started a case."""

    busy: Busy | None = None
    started: bool = False


class Intakes:
    """The intakes of one engine's processes."""

    def __init__(self, store: Reader, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lines: dict[tuple[str, str | None], _Line] = {}

    @asynccontextmanager
    async def enter(self, process: AnyProcess, tenant: str, *, bounded: bool) -> AsyncIterator[Entry]:
        """Take one more into the lines of a process and a tenant while it starts, or say why not; one that is not `bounded` comes in always."""
        bounds = ((None, process.intake.backlog_max), (tenant, process.intake.tenant_backlog_max))
        lines = [(whose, bound) for whose, bound in bounds if bound is not None] if bounded else []
        for whose, bound in lines:
            if (line := await self._full(process.name, whose, bound)) is not None:
                yield Entry(_busy(process.name, whose, bound, line))
                return
        for whose, _ in lines:
            self._line(process.name, whose).under_way += 1
        entry = Entry()
        try:
            yield entry
        finally:
            for whose, _ in lines:
                line = self._line(process.name, whose)
                line.under_way = max(0, line.under_way - 1)
                line.accepted += entry.started

    async def _full(self, process: str, whose: str | None, bound: int) -> _Line | None:
        line = self._line(process, whose)
        now = self._clock.monotonic()
        # Who comes while the first count is under way counts for himself: that nothing is known yet is no reason to refuse.
        if line.length >= bound and (line.counted == inf or now - line.at >= RECOUNT_SECONDS):
            before, accepted, since = line.counted, line.accepted, now - line.at
            line.at, line.accepted = now, 0
            line.counted = await self._store.in_line(process, whose, most=bound)
            if before < inf:
                line.left_per_second = max(0.0, before + accepted - line.counted) / since
        return line if line.length >= bound else None

    def _line(self, process: str, whose: str | None) -> _Line:
        if len(self._lines) > TENANTS_MAX:
            self._lines = {key: line for key, line in self._lines.items() if key[1] is None or line.under_way}
        return self._lines.setdefault((process, whose), _Line())


def _busy(process: str, whose: str | None, bound: int, line: _Line) -> Busy:
    if line.left_per_second is None:
        seconds = UNKNOWN_SECONDS
    else:
        seconds = min(MOST_SECONDS, max(LEAST_SECONDS, ceil(ROOM_PART * bound / line.left_per_second) if line.left_per_second else inf))
    who = f"process {process!r}" if whose is None else f"tenant {whose!r} of process {process!r}"
    return Busy(
        f"{who} has {format_count(bound, 'case')} in line, as many as its intake takes; try again in {seconds:g} seconds.",
        retry_after=seconds,
    )
