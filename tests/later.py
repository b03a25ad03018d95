"""Let a long time pass at once, and only when the test wants it: no slow machine comes too early or too late."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pointsman import SystemClock

T = TypeVar("T")
LOOK_SECONDS = 0.005
LATER_SECONDS = 600.0  # the longest timeout that a test sets


class Ahead(SystemClock):
    """The machine's clock, so many seconds ahead: the time after a crash when the calls of the dead engine are over."""

    def __init__(self, ahead_seconds: float) -> None:
        super().__init__()
        self._ahead_seconds = ahead_seconds

    def wall(self) -> float:
        return super().wall() + self._ahead_seconds


class _Loop(asyncio.SelectorEventLoop):
    ahead_seconds = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_seconds


def run_until_late(work: Coroutine[Any, Any, T], reached: Callable[[], object]) -> T:
    """Run `work` as `asyncio.run` does. As soon as `reached` holds, all timeouts that `work` has begun are over."""
    loop = _Loop()

    async def main() -> T:
        task = asyncio.ensure_future(work)
        while not task.done() and not await asyncio.to_thread(reached):  # noqa: ASYNC110 - another thread or process gets there
            await asyncio.sleep(LOOK_SECONDS)
        loop.ahead_seconds += LATER_SECONDS
        return await task

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())
