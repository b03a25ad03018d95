"""A clock that moves only when a test advances it."""

import asyncio


class ManualClock:
    """The time of day and the monotonic time, in seconds, moved together by `advance`."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self._now = now
        self._moved: list[asyncio.Event] = []

    def now(self) -> float:
        """The time of day as Unix seconds."""
        return self._now

    def monotonic(self) -> float:
        """The monotonic time in seconds, which here equals `now`."""
        return self._now

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        """Return when `event` is set, or when the clock has advanced by `seconds`."""
        until = None if seconds is None else self._now + seconds
        moved = asyncio.Event()
        self._moved.append(moved)
        tasks = [asyncio.ensure_future(event.wait())]
        try:
            while not event.is_set() and (until is None or self._now < until):
                moved.clear()
                tasks[1:] = [asyncio.ensure_future(moved.wait())]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._moved.remove(moved)
            for task in tasks:
                task.cancel()

    def advance(self, seconds: float) -> None:
        """Advance the time and wake the waits that it ends."""
        self._now += seconds
        for moved in self._moved:
            moved.set()
