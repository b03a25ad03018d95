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
        self._highest = max(self._highest, self.wall())
        return self._highest

    def wall(self) -> float:
        """What the machine's clock shows now."""
        return time.time()

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
