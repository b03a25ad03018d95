"""Report an async function that blocks the event loop. Nothing inside the loop can notice it, not even a timeout.

While cases are running, a thread schedules a callback in the loop and checks whether it ran. The thread starts with the first case, and sleeps
while there is none.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Iterable
from traceback import walk_stack

from pointsman.definition.process import AnyProcess
from pointsman.kernel.evidence import stands_at
from pointsman.runtime.clock import Clock, SystemClock

log = logging.getLogger("pointsman")

BLOCKED_SECONDS = 5.0  # longer than a pause of garbage collection or a slow disk, shorter than the timeout of a mail server
LOOK_SECONDS = 1.0


class Watchdog:
    """Watches the event loop in which it is created, and names the node of these processes that blocks it.

    With a clock other than `SystemClock` it starts no thread; tests call `look`.
    """

    def __init__(self, clock: Clock, processes: Iterable[AnyProcess]) -> None:
        self.blocked = 0
        self._clock = clock
        self._processes = processes
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._cases = 0
        self._seen = clock.monotonic()
        self._alive, self._told = True, False
        self._changed = threading.Condition()
        self._sleeps, self._closed = False, False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        """Count one more running case until the block is left."""
        self._cases += 1
        if self._thread is None and type(self._clock) is SystemClock:
            self._thread = threading.Thread(target=self._watch, name="pointsman-watchdog", daemon=True)
            self._thread.start()
        elif self._sleeps:
            with self._changed:
                self._changed.notify()

    def __exit__(self, *_: object) -> None:
        self._cases -= 1

    def look(self, late: float = 0.0) -> None:
        """Check the loop once, from another thread. Warn once if it has been blocked for `BLOCKED_SECONDS`.

        The seconds by which the look is `late` do not count, because this thread stood still, too, and not only the loop.
        """
        now = self._clock.monotonic()
        self._seen += late
        if self._alive:
            self._alive, self._told, self._seen = False, False, now
            self._loop.call_soon_threadsafe(self._sign)
        elif now - self._seen >= BLOCKED_SECONDS and not self._told:
            self._told = True
            self.blocked += 1
            log.warning(
                "%s has blocked the event loop for %.0f s (at %s), and no timeout can stop it; let it await, or write it as a plain function",
                self._culprit(),
                now - self._seen,
                stands_at(self._loop_thread),
            )

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(LOOK_SECONDS)

    def _sign(self) -> None:
        self._alive = True

    def _culprit(self) -> str:
        """Return the node whose function the loop is running."""
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the one way to look at another thread
        codes = set() if frame is None else {frame.f_code for frame, _ in walk_stack(frame)}
        nodes = [node for process in self._processes for node in process.nodes()]
        names = [node.name for node in nodes if getattr(node.function, "__code__", None) in codes]
        return f"node {names[0]!r}" if names else "something"

    def _watch(self) -> None:
        while True:
            began = self._clock.monotonic()
            with self._changed:
                self._sleeps = True  # before the look at `_cases`: whoever counts a case later finds it, and notifies
                self._sleeps = not self._cases
                if not self._closed:
                    self._changed.wait(None if self._sleeps else LOOK_SECONDS)
                if self._closed:
                    return
                self._sleeps = False
            try:
                self.look(max(0.0, self._clock.monotonic() - began - LOOK_SECONDS))
            except RuntimeError:  # the loop has been closed
                return
