"""Notices from outside when an async function holds up the event loop: nothing in the loop can, not even a timeout.

While cases are in hand, a thread asks the loop for a sign of life and looks whether it came. It is started with the first of them, and
sleeps while there is none.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from traceback import walk_stack

from pointsman.definition.process import AnyProcess
from pointsman.kernel.evidence import stands_at
from pointsman.runtime.clock import Clock, SystemClock

log = logging.getLogger("pointsman")

BLOCKED_SECONDS = 5.0  # longer than a pause of garbage collection or a slow disk, shorter than the timeout of a mail server
LOOK_SECONDS = 1.0


class Watchdog:
    """Watches the event loop that it is made in, and names the node of these processes that blocks it.

    Without the machine's own clock it starts no thread, and a test calls `look`.
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

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While it lasts, one more case is in hand."""
        self._cases += 1
        if self._thread is None and type(self._clock) is SystemClock:
            self._thread = threading.Thread(target=self._watch, name="pointsman-watchdog", daemon=True)
            self._thread.start()
        elif self._sleeps:
            with self._changed:
                self._changed.notify()
        try:
            yield
        finally:
            self._cases -= 1

    def look(self) -> None:
        """Look once, from another thread: where the loop has given no sign of life for `BLOCKED_SECONDS`, say who holds it up, once."""
        now = self._clock.monotonic()
        if self._alive:
            self._alive, self._told, self._seen = False, False, now
            self._loop.call_soon_threadsafe(self._sign)
        elif now - self._seen >= BLOCKED_SECONDS and not self._told:
            self._told = True
            self.blocked += 1
            log.warning(
                "%s has held up the event loop for %.0f s (at %s), and no timeout can stop it; let it await, or write it as a plain function",
                self._culprit(),
                now - self._seen,
                stands_at(self._loop_thread),
            )

    def close(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(LOOK_SECONDS)

    def _sign(self) -> None:
        self._alive = True

    def _culprit(self) -> str:
        """The name of the node whose function the loop stands in."""
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the one way to look at another thread
        codes = set() if frame is None else {frame.f_code for frame, _ in walk_stack(frame)}
        nodes = [node for process in self._processes for node in process.nodes()]
        names = [node.name for node in nodes if getattr(node.function, "__code__", None) in codes]
        return f"node {names[0]!r}" if names else "something"

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._sleeps = not self._cases
                self._changed.wait(None if self._sleeps else LOOK_SECONDS)
                if self._closed:
                    return
                self._sleeps = False
            try:
                self.look()
            except RuntimeError:  # the loop has been closed
                return
