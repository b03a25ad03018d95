"""Refuse a start while the intake is paused, or when too many cases are in the backlog.

The engine does not count the backlog for every start. It adds the starts accepted since the last count to that count. When the sum reaches
the bound, the store counts again, up to the bound and at most a few times a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from pointsman.definition.counts import format_count
from pointsman.definition.process import AnyProcess
from pointsman.errors import Busy
from pointsman.runtime.clock import Clock
from pointsman.store.base import IntakePaused, IntakeStore

RECOUNT_SECONDS = 0.2  # between two counts of one backlog: counting a hundred thousand rows takes a few milliseconds
TENANTS_MAX = 10_000  # tenants whose counts are remembered; beyond it they are counted again
ROOM_PART = 0.1  # the part of the bound that should be free after `retry_after`, at the present rate
LEAST_SECONDS, UNKNOWN_SECONDS, MOST_SECONDS = 1.0, 5.0, 60.0


@dataclass(slots=True)
class _Backlog:
    """The last count of one backlog, its time, and the starts accepted since then or in progress."""

    counted: float = inf
    at: float = -inf
    accepted: int = 0
    under_way: int = 0
    left_per_second: float | None = None

    @property
    def length(self) -> float:
        return self.counted + self.accepted + self.under_way


class Entry:
    """A start at the intake, counted as under way in its `backlogs` until the block is left.

    `busy` is the error that refuses it; the caller sets `started` if it started a case.
    """

    __slots__ = ("_backlogs", "busy", "started")

    def __init__(self, backlogs: Sequence[_Backlog] = (), busy: Busy | None = None) -> None:
        self._backlogs = backlogs
        self.busy = busy
        self.started = False

    def __enter__(self) -> "Entry":
        for backlog in self._backlogs:
            backlog.under_way += 1
        return self

    def __exit__(self, *_: object) -> None:
        for backlog in self._backlogs:
            backlog.under_way -= 1
            backlog.accepted += self.started


class Intakes:
    """The intakes of one engine's processes."""

    def __init__(self, store: IntakeStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._backlogs: dict[tuple[str, str | None], _Backlog] = {}
        self._paused: IntakePaused | None = None

    async def look(self) -> None:
        """Read from the store whether the intake is paused: another engine may have paused it."""
        self._paused = await self._store.intake_paused()

    async def pause(self, paused: IntakePaused | None) -> None:
        """Pause the intake, or with None resume it. Returns after the commit."""
        await self._store.pause_intake(paused)
        self._paused = paused

    async def enter(self, process: AnyProcess, tenant: str, *, bounded: bool) -> Entry:
        """Count a start in the backlogs of its process and tenant, or refuse it in `Entry.busy`. A start that is not `bounded` is never refused."""
        if bounded and self._paused is not None:
            return Entry(busy=_paused(self._paused))
        entered: list[_Backlog] = []
        for whose, bound in ((None, process.intake.backlog_max), (tenant, process.intake.tenant_backlog_max)):
            if bounded and bound is not None:
                backlog = self._backlog(process.name, whose)
                if backlog.length >= bound and await self._full(process.name, whose, bound, backlog):
                    return Entry(busy=_busy(process.name, whose, bound, backlog))
                entered.append(backlog)
        return Entry(entered)

    async def _full(self, process: str, whose: str | None, bound: int, backlog: _Backlog) -> bool:
        """Count a backlog that seems to have reached its bound, and return whether it has."""
        now = self._clock.monotonic()
        # A start that comes during the first count makes a count of its own: an unknown backlog is no reason to refuse it.
        if backlog.counted == inf or now - backlog.at >= RECOUNT_SECONDS:
            before, accepted, since = backlog.counted, backlog.accepted, now - backlog.at
            backlog.at, backlog.accepted = now, 0
            backlog.counted = await self._store.backlog(process, whose, most=bound)
            if before < inf:
                backlog.left_per_second = max(0.0, before + accepted - backlog.counted) / since
        return backlog.length >= bound

    def _backlog(self, process: str, whose: str | None) -> _Backlog:
        backlog = self._backlogs.get((process, whose))
        if backlog is None:
            if len(self._backlogs) >= TENANTS_MAX:
                self._backlogs = {key: backlog for key, backlog in self._backlogs.items() if key[1] is None or backlog.under_way}
            backlog = self._backlogs[process, whose] = _Backlog()
        return backlog


def _paused(paused: IntakePaused) -> Busy:
    since = f"{paused.by} paused the intake ({paused.why})"
    return Busy(f"{since}; nothing was started. Resume it with engine.resume_intake, or try again later.", retry_after=MOST_SECONDS)


def _busy(process: str, whose: str | None, bound: int, backlog: _Backlog) -> Busy:
    if backlog.left_per_second is None:
        seconds = UNKNOWN_SECONDS
    else:
        seconds = min(
            MOST_SECONDS, max(LEAST_SECONDS, ceil(ROOM_PART * bound / backlog.left_per_second) if backlog.left_per_second else inf)
        )
    who = f"process {process!r}" if whose is None else f"tenant {whose!r} of process {process!r}"
    return Busy(
        f"{who} has {format_count(bound, 'case')} in its backlog, the most that its intake allows; try again in {seconds:g} seconds.",
        retry_after=seconds,
    )
