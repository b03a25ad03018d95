"""The one clock: whoever needs the time asks it, so that tests can hold it still."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the engine needs of time, in seconds."""

    def now(self) -> float:
        """The time of day as Unix seconds; it never runs backwards."""

    def monotonic(self) -> float:
        """A time that only differences are taken of, and that nobody can set."""

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when `event` is set or `seconds` have passed; None waits for the event only."""


class SystemClock:
    """The machine's clock. A clock that is set back stands still here until it has caught up: timers come late, never early."""

    def __init__(self) -> None:
        self._highest = 0.0

    def now(self) -> float:
        """The machine's time, or the highest it has shown."""
        self._highest = max(self._highest, time.time())
        return self._highest

    def not_before(self, high_water: float) -> None:
        """Go on from a time that an earlier engine has already seen."""
        self._highest = max(self._highest, high_water)

    def monotonic(self) -> float:
        """The machine's monotonic clock."""
        return time.monotonic()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Wait on the event loop's own timer."""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
