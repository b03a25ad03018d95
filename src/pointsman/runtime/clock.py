"""The engine's clock. All code reads the time from it, so that tests can control time."""

import asyncio
import time
from typing import Protocol

LOOK_SECONDS = 60.0  # the longest wait without reading the clock: somebody may set it, or the machine may sleep
SPEED_BEHIND = 0.999  # the speed of this clock while the machine's clock is behind: too little slower to make a timer late


class Clock(Protocol):
    """The time functions that the engine needs, in seconds."""

    def now(self) -> float:
        """Return the time of day as Unix seconds; it never runs backwards."""

    def monotonic(self) -> float:
        """Return a monotonic time, for differences only."""

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when `event` is set or `seconds` have passed; None waits for the event only."""


class SystemClock:
    """The machine's clock, except that it never runs backwards or stops.

    When the machine's clock is set back, this one follows the monotonic clock, a little slower, until the machine's clock has caught up. When
    the machine's clock is set forward, this one follows at once.
    """

    def __init__(self) -> None:
        self._highest = 0.0
        self._seen: float | None = None  # the monotonic time of the last reading

    def now(self) -> float:
        """Return the machine's time or, if it was set back, the last time returned plus the time that has passed since."""
        # In this order: if the thread stands still between the two, that time is not counted twice, and the clock does not run ahead.
        wall, seen = self.wall(), self.monotonic()
        behind = self._highest if self._seen is None else self._highest + (seen - self._seen) * SPEED_BEHIND
        self._seen = seen
        self._highest = now = max(behind, wall)
        return now

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def not_before(self, high_water: float) -> None:
        """Continue from a time that an earlier engine has seen."""
        self._highest = max(self._highest, high_water)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Wait on the event loop's own timer."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass


def seconds_until(at: float, clock: Clock) -> float:
    """How long to wait for a time of day (Unix seconds) before looking at the clock again."""
    return min(LOOK_SECONDS, max(0.0, at - clock.now()))


class StoreClock(SystemClock):
    """The time of a shared store, read from the store and continued with the machine's monotonic clock.

    All engines then agree on the times in the ledger, however wrong their machines' clocks are. This clock is behind the store's by the time
    that the answer took. An answer that took longer than `ERROR_SECONDS` is ignored.
    """

    ERROR_SECONDS = 1.0  # far below every lease and settling time, far above a healthy network's answer

    def __init__(self, machine: Clock) -> None:
        super().__init__()
        self._machine = machine
        self._ahead = 0.0

    def heard(self, now: float, asked: float) -> bool:
        """Set this clock to the store's time, requested at `asked` (monotonic seconds). Return False if the answer took too long."""
        heard = self._machine.monotonic()
        if heard - asked > self.ERROR_SECONDS:
            return False
        self._ahead = now - heard
        return True

    def wall(self) -> float:
        """The store's time."""
        return self._machine.monotonic() + self._ahead

    def monotonic(self) -> float:
        """The machine's monotonic clock."""
        return self._machine.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Wait on the machine's clock."""
        await self._machine.wait(event, seconds)
