"""Schedules: times at which a process starts cases. Ticks are computed from the first moment, so they never drift or come early."""

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
"""Which missed ticks start a case: the last one, all of them, or none."""

MISSED_MAX = 100  # missed ticks of one schedule to start: four days of an hourly one; beyond that, nobody wants them all
LATE_SECONDS = 60.0  # a tick at most this late is not missed: long enough for a restart
PERIOD_SECONDS_MIN = 1.0  # a shorter period is a loop, not a schedule


class Ticks(Protocol):
    """When a schedule's cases start."""

    def after(self, moment: float, since: float) -> Iterator[float]:
        """The ticks after `moment`, in order, of a schedule whose first moment was `since` (both Unix seconds)."""

    def zone(self) -> tzinfo:
        """The time zone in which a tick is shown."""


@dataclass(frozen=True)
class Every:
    """A tick every `seconds`, counted from the schedule's first moment: the time at which an engine first had it."""

    seconds: float

    def after(self, moment: float, since: float) -> Iterator[float]:
        """The ticks after `moment`; the first tick is one period after `since`."""
        number = max(1, int((moment - since) // self.seconds))  # at or before `moment`
        while True:
            tick = since + number * self.seconds
            if tick > moment:
                yield tick
            number += 1

    def zone(self) -> tzinfo:
        """UTC: a period has no time zone."""
        return UTC


@dataclass(frozen=True)
class Cron:
    """A tick whenever the local time in `place` (an IANA time zone) matches the cron expression."""

    expression: str
    place: str

    def after(self, moment: float, since: float) -> Iterator[float]:  # noqa: ARG002 - the protocol's parameter
        """The ticks after `moment`; across changes of daylight saving time, as Debian's cron computes them (cronsim's README)."""
        from cronsim import CronSim  # noqa: PLC0415 - an extra

        for shown in CronSim(self.expression, datetime.fromtimestamp(moment, self.zone())):
            tick = shown.timestamp()
            if tick > moment:  # in the second of two equal hours, cronsim goes on with a tick of the first
                yield tick

    def zone(self) -> tzinfo:
        """The place's time zone."""
        return ZoneInfo(self.place)


def every(period: Duration) -> Every:
    """A tick each period, such as "1d". A day has 24 hours; use `cron` for local times. Raises DefinitionError."""
    seconds = seconds_of(period, "every")
    if seconds < PERIOD_SECONDS_MIN:
        raise DefinitionError(f"every: {period!r} is less than a second; give it a second or more.")
    return Every(seconds)


def cron(expression: str, *, zone: str = "UTC") -> Cron:
    """A tick at each match of a cron expression (minute, hour, day of month, month, day of week), in local time of an IANA time zone.

    When clocks go forward, a skipped time ticks right after the gap; when they go back, a repeated time ticks once. An expression
    with `*` in its minutes or hours ticks through both. Needs the extra `cron`. Raises DefinitionError.
    """
    try:
        from cronsim import CronSimError  # noqa: PLC0415 - an extra
    except ImportError:
        raise DefinitionError("cron() needs cronsim; install it with `pip install 'pointsman[cron]'`.") from None
    ticks = Cron(expression, zone)
    try:
        ticks.zone()
    except (KeyError, TypeError, ValueError, OSError):
        raise DefinitionError(
            f'cron: the time zone {zone!r} is not known here; name one such as "Europe/Berlin", or install the package tzdata.'
        ) from None
    try:
        first = next(ticks.after(0.0, 0.0), None)
    except CronSimError as error:
        raise DefinitionError(f'cron: {expression!r} is not a cron expression ({error}); write one such as "0 7 * * 1-5".') from None
    if first is None:
        raise DefinitionError(f"cron: {expression!r} matches no date; correct it.")
    return ticks


@dataclass(frozen=True, eq=False)
class Schedule:
    """A schedule that starts a case at each tick, with these inputs: a mapping, or a function of the tick's time."""

    name: str
    ticks: Ticks
    inputs: Mapping[str, Any] | Callable[[datetime], Any]
    missed: Missed = "one"

    def due(self, last: float, now: float, since: float) -> tuple[list[float], float]:
        """The ticks to start now, oldest first, and the newest tick that is then over (all Unix seconds).

        `last` is the newest tick that was over before.
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

    The search goes back in growing steps, so that a schedule that was missed for a long time does not compute every tick.
    """
    span = DAY_SECONDS / 24
    while True:
        begin = max(after, until - span)
        found = deque(takewhile(lambda tick: tick <= until, ticks.after(begin, since)), maxlen=count)
        if len(found) == count or begin == after:
            return list(found)
        span *= 2
