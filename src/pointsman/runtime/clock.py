"""The engine's clock. Everything that needs the time asks it, so that tests control time."""

import asyncio
import time
from typing import Protocol

LOOK_SECONDS = 60.0  # the longest wait without a look at the clock: it may be set, or the machine may sleep
CATCHES_UP = 0.001  # how much slower time runs here while the machine's clock is behind: too little for any timer to be late


class Clock(Protocol):
    """The time functions that the engine needs, in seconds."""

    def now(self) -> float:
        """Return the time of day as Unix seconds; it never runs backwards."""

    def monotonic(self) -> float:
        """Return a monotonic time, for differences only."""

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when `event` is set or `seconds` have passed; None waits for the event only."""


class SystemClock:
    """The machine's clock, but monotonic and never stopped.

    When the machine's clock is set back, this one goes on from where it was by the monotonic clock, a little slower, until
    the machine's clock has caught up. When that is set forward, this one follows at once.
    """

    def __init__(self) -> None:
        self._highest = 0.0
        self._seen: float | None = None  # the monotonic time of the last look

    def now(self) -> float:
        """Return the machine's time or, if it was set back, the earlier time plus what has passed since."""
        # In this order: if the thread stands still between the two, that time is not counted twice, and the clock does not run ahead.
        wall, seen = self.wall(), self.monotonic()
        passed = 0.0 if self._seen is None else seen - self._seen
        self._seen = seen
        self._highest = max(self._highest + passed * (1 - CATCHES_UP), wall)
        return self._highest

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
    """The time of a store that several engines share, as this engine has heard it and counted on since.

    So what one engine writes into the ledger means the same to another one, however wrong the machines' clocks are. It is
    behind the store's by as long as the answer took, and an answer that took longer than `ERROR_SECONDS` is not believed.
    """

    ERROR_SECONDS = 1.0  # far below every lease and settling time, far above a healthy network's answer

    def __init__(self, machine: Clock) -> None:
        super().__init__()
        self._machine = machine
        self._ahead = 0.0

    def heard(self, now: float, asked: float) -> bool:
        """Take in the store's time, which was asked for at `asked` (monotonic seconds); answers whether it is believed."""
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
