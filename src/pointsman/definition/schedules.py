"""Schedules start cases at ticks. Ticks are computed from the schedule and not counted, so they neither drift nor come early."""

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
"""Which missed ticks to start: the last one, all of them, or none."""

MISSED_MAX = 100  # for each schedule: the hours of four days; nobody wants more of them at once
LATE_SECONDS = 60.0  # a tick that starts within this time is not missed: enough for a restart
PERIOD_SECONDS_MIN = 1.0  # a shorter period is a loop and not a schedule


class Ticks(Protocol):
    """The times at which a schedule starts cases."""

    def after(self, moment: float, since: float) -> Iterator[float]:
        """The ticks after `moment`, in order, for a schedule that began at `since` (both Unix seconds)."""

    def zone(self) -> tzinfo:
        """The time zone of the ticks."""


@dataclass(frozen=True)
class Every:
    """A tick every `seconds`, counted from the second in which an engine first opened the schedule."""

    seconds: float

    def after(self, moment: float, since: float) -> Iterator[float]:
        """The ticks after `moment`. The first tick comes one period after `since`."""
        number = max(1, int((moment - since) // self.seconds))  # at or before `moment`
        while True:
            tick = since + number * self.seconds
            if tick > moment:
                yield tick
            number += 1

    def zone(self) -> tzinfo:
        """UTC, because a period has no time zone."""
        return UTC


@dataclass(frozen=True)
class Cron:
    """The ticks of a cron expression in the local time of `place` (an IANA time zone)."""

    expression: str
    place: str

    def after(self, moment: float, since: float) -> Iterator[float]:  # noqa: ARG002 - the protocol's parameter
        """The ticks after `moment`. Clock changes are handled as in Debian's cron (see the README of cronsim)."""
        from cronsim import CronSim  # noqa: PLC0415 - an extra

        for shown in CronSim(self.expression, datetime.fromtimestamp(moment, self.zone())):
            yield shown.timestamp()

    def zone(self) -> tzinfo:
        """The time zone `place`."""
        return ZoneInfo(self.place)


def every(period: Duration) -> Every:
    """A tick every period, such as "1d". A day has 24 hours; use `cron` for local time. Raises DefinitionError."""
    seconds = seconds_of(period, "every")
    if seconds < PERIOD_SECONDS_MIN:
        raise DefinitionError(f"every: {period!r} is less than a second; use a longer period, or let one case do the work.")
    return Every(seconds)


def cron(expression: str, *, zone: str = "UTC") -> Cron:
    """The ticks of a cron expression (minute, hour, day of month, month, day of week) in the local time of an IANA time zone.

    If clocks go forward over a tick, the tick comes right after the gap. If clocks go back over a tick, it comes once. An
    expression with `*` for minutes or hours ticks through both hours. Needs the extra `cron`. Raises DefinitionError.
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
        raise DefinitionError(f'cron: {expression!r} is not a cron expression ({error}); write one such as "0 7 * * 1-5".') from None
    if first is None:
        raise DefinitionError(f"cron: {expression!r} never ticks; correct it.")
    return ticks


@dataclass(frozen=True, eq=False)
class Schedule:
    """Starts a case at each tick. `inputs` is a mapping, or a function of the time of the tick."""

    name: str
    ticks: Ticks
    inputs: Mapping[str, Any] | Callable[[datetime], Any]
    missed: Missed = "one"

    def due(self, last: float, now: float, since: float) -> tuple[list[float], float]:
        """The ticks to start now, the oldest first, and the last tick that is then done (all Unix seconds).

        `last` is the last tick that was done before.
        """
        found = newest(self.ticks, last, now, since, MISSED_MAX if self.missed == "all" else 1)
        if not found:
            return [], last
        if self.missed == "none" and now - found[-1] > LATE_SECONDS:
            return [], found[-1]
        return found, found[-1]

    def following(self, now: float, since: float) -> float | None:
        """The next tick, or None if there is none."""
        return next(self.ticks.after(now, since), None)

    def shown(self, tick: float) -> datetime:
        """The time of the tick in the time zone of the schedule."""
        return datetime.fromtimestamp(tick, self.ticks.zone())

    def key(self, tick: float) -> str:
        """The start key of the case of this tick, which makes a second start a duplicate."""
        return f"schedule:{self.name}:{datetime.fromtimestamp(tick, UTC).isoformat().replace('+00:00', 'Z')}"


def newest(ticks: Ticks, after: float, until: float, since: float, count: int) -> list[float]:
    """The newest `count` ticks after `after` and up to `until`, the oldest first.

    The search goes back in growing steps, so that a schedule that ticks each minute does not walk through a year of ticks.
    """
    span = DAY_SECONDS / 24
    while True:
        begin = max(after, until - span)
        found = deque(takewhile(lambda tick: tick <= until, ticks.after(begin, since)), maxlen=count)
        if len(found) == count or begin == after:
            return list(found)
        span *= 2
