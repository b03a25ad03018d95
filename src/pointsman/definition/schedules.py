"""Schedules: moments at which a process starts a case by itself. They are computed, never counted, so none can drift or be early."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import takewhile
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from pointsman.definition.durations import DAY_SECONDS, Duration, seconds_of
from pointsman.errors import DefinitionError

Missed = Literal["one", "all", "none"]
"""What becomes of ticks that nobody was there for: the last of them is started, all of them are, or none is."""

MISSED_MAX = 100  # of one schedule: enough for four days of hours; who slept longer does not want to see it all repeated
LATE_SECONDS = 60.0  # a tick that is started within it has not been missed: a restart fits in
PERIOD_SECONDS_MIN = 1.0  # what comes more often is a loop, not a schedule


class Ticks(Protocol):
    """When a schedule's cases start."""

    def after(self, moment: float, since: float) -> Iterator[float]:
        """The ticks after `moment`, in order, of a schedule whose first moment was `since` (both Unix seconds)."""

    def zone(self) -> tzinfo:
        """The zone in which a tick is shown."""


@dataclass(frozen=True)
class Every:
    """A tick each `seconds`, counted from the schedule's first moment: the second in which an engine first had it."""

    seconds: float

    def after(self, moment: float, since: float) -> Iterator[float]:
        """The ticks after `moment`; the first one of all comes one period after `since`."""
        number = max(1, int((moment - since) // self.seconds))  # at or before `moment`
        while True:
            tick = since + number * self.seconds
            if tick > moment:
                yield tick
            number += 1

    def zone(self) -> tzinfo:
        """UTC: a period knows no zone."""
        return UTC


@dataclass(frozen=True)
class Cron:
    """A tick whenever the clocks of `place` (an IANA time zone) show what the cron expression says."""

    expression: str
    place: str

    def after(self, moment: float, since: float) -> Iterator[float]:  # noqa: ARG002 - the protocol's parameter
        """The ticks after `moment`, as Debian's cron has them where clocks are put forward or back (cronsim's README)."""
        from cronsim import CronSim  # noqa: PLC0415 - an extra

        for shown in CronSim(self.expression, datetime.fromtimestamp(moment, self.zone())):
            yield shown.timestamp()

    def zone(self) -> tzinfo:
        """The place's time zone."""
        return ZoneInfo(self.place)


def every(period: Duration) -> Every:
    """A tick each period, such as "1d"; a day is 24 hours here, and `cron` is what knows a place's clocks. Raises DefinitionError."""
    seconds = seconds_of(period, "every")
    if seconds < PERIOD_SECONDS_MIN:
        raise DefinitionError(f"every: {period!r} is less than a second; let the case itself go on instead.")
    return Every(seconds)


def cron(expression: str, *, zone: str = "UTC") -> Cron:
    """A tick as a cron expression says (minute, hour, day of month, month, day of week) by the clocks of an IANA time zone.

    A time of day that is skipped when clocks are put forward comes right after the gap, one that comes twice when they
    are put back ticks once; an expression with `*` in its minutes or hours ticks through both. Needs the extra `cron`.
    Raises DefinitionError.
    """
    try:
        from cronsim import CronSimError  # noqa: PLC0415 - an extra
    except ImportError:
        raise DefinitionError("cron() needs cronsim; install it with `pip install 'pointsman[cron]'`.") from None
    ticks = Cron(expression, zone)
    try:
        ticks.zone()
    except (KeyError, ValueError, OSError):
        raise DefinitionError(
            f'cron: the time zone {zone!r} is not known here; name one such as "Europe/Berlin", or install the package tzdata.'
        ) from None
    try:
        first = next(ticks.after(0.0, 0.0), None)
    except CronSimError as error:
        raise DefinitionError(f'cron: {expression!r} is no cron expression ({error}); write one such as "0 7 * * 1-5".') from None
    if first is None:
        raise DefinitionError(f"cron: {expression!r} names no day that ever comes; correct it.")
    return ticks


@dataclass(frozen=True, eq=False)
class Schedule:
    """A case is started at each tick, with these inputs: a mapping, or a function of the tick's time."""

    name: str
    ticks: Ticks
    inputs: Mapping[str, Any] | Callable[[datetime], Any]
    missed: Missed = "one"

    def due(self, last: float, now: float, since: float) -> tuple[list[float], float]:
        """The ticks to start now, oldest first, and the newest one that is over with it (all Unix seconds).

        `last` is the newest one that was over before.
        """
        found = newest(self.ticks, last, now, since, MISSED_MAX if self.missed == "all" else 1)
        if not found:
            return [], last
        if self.missed == "none" and now - found[-1] > LATE_SECONDS:
            return [], found[-1]
        return found, found[-1]

    def following(self, now: float, since: float) -> float | None:
        """Return the next tick, or None after the last one."""
        return next(self.ticks.after(now, since), None)

    def shown(self, tick: float) -> datetime:
        """The tick's time in the schedule's zone."""
        return datetime.fromtimestamp(tick, self.ticks.zone())

    def key(self, tick: float) -> str:
        """Return the start key of the tick's case. A second start with it is a duplicate."""
        return f"schedule:{self.name}:{datetime.fromtimestamp(tick, UTC).isoformat().replace('+00:00', 'Z')}"


def newest(ticks: Ticks, after: float, until: float, since: float, count: int) -> list[float]:
    """The newest `count` ticks after `after`, up to `until`, oldest first.

    The search goes back in growing steps: what ticks each minute is not counted through when it has slept for a year.
    """
    span = DAY_SECONDS / 24
    while True:
        begin = max(after, until - span)
        found = deque(takewhile(lambda tick: tick <= until, ticks.after(begin, since)), maxlen=count)
        if len(found) == count or begin == after:
            return list(found)
        span *= 2
