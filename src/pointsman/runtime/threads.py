"""Run plain functions in threads, and replace the threads of calls that hang.

Python cannot stop a thread. A call that outlives its timeout is abandoned: it keeps its thread, and a new thread replaces that one. Beyond
`HANGING_MAX` abandoned calls, threads are no longer replaced. When no thread is left, a call is refused instead of waiting forever. All
threads are daemon threads, so a program can end while one hangs.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from pointsman.errors import AllHang
from pointsman.runtime.clock import Clock

HANGING_MAX = 64  # hanging threads that are replaced: each holds its stack and whatever its call holds
REMEMBERED_MAX = 1_000  # effects whose abandoned calls are remembered by key: far more than can be in doubt at once


class Call(Future[Any]):
    """A call of a plain function in a thread, as a future. `thread` is the thread's number, `ended_at` the time when it ended (Unix seconds).

    `begun` is done when a thread begins the call, or when none ever will. `waited` says that the call has waited long for its thread, so the
    thread calls `counted` first. If `kept` is set, the thread waits for that event before it runs the function.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__()
        self.function = function
        self.counted: Callable[[], None] | None = None
        self.waited = False
        self.begun: Future[None] = Future()
        self.kept: threading.Event | None = None
        self.abandoned = False
        self.thread = 0
        self.ended_at: float | None = None
        self.add_done_callback(_has_begun)

    def happened(self) -> bool:
        """Return whether the function has returned without an exception."""
        return self.done() and not self.cancelled() and self.exception() is None


class Threads:
    """Runs at most `count` calls at once, not counting abandoned ones."""

    def __init__(self, count: int, clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._changed = threading.Condition()
        self._queue: deque[Call] = deque()
        self._workers = 0  # threads, except those of abandoned calls
        self._idle = 0
        self._hanging: set[Call] = set()
        self._of_key: dict[str, list[Call]] = {}
        self._closed = False
        self._numbers = itertools.count()

    @property
    def abandoned(self) -> int:
        """The number of abandoned calls that still run."""
        return len(self._hanging)

    def submit(self, function: Callable[[], Any], counted: Callable[[], None] | None = None) -> Call:
        """Run `function` in a thread when one is free. Raises AllHang if all threads hang.

        If the call has `waited`, the thread calls `counted` first.
        """
        call = Call(function)
        call.counted = counted
        return self._put(call)

    def keep(self) -> Call:
        """Reserve the next free thread until `give` or `let_go`. Raises AllHang if all threads hang."""
        call = Call(_nothing)
        call.kept = threading.Event()
        return self._put(call)

    def give(self, call: Call, function: Callable[[], Any]) -> Call:
        """Run `function` in a reserved thread."""
        assert call.kept is not None
        call.function = function
        call.kept.set()
        return call

    def let_go(self, call: Call) -> None:
        """Give back a thread that is reserved or waited for."""
        if call.kept is not None and not call.kept.is_set():
            call.kept.set()
            call.cancel()

    def _put(self, call: Call) -> Call:
        with self._changed:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if self._workers_max <= 0:
                raise self._refusal()
            self._queue.append(call)
            if self._idle >= len(self._queue):
                self._changed.notify()
            else:
                self._grow()
            return call

    def abandon(self, call: Call, key: str = "") -> None:
        """Abandon a running call, so that its thread no longer counts. An effect's call is remembered by its `key`."""
        with self._changed:
            if call.abandoned or not call.running():
                return
            call.abandoned = True
            self._hanging.add(call)
            self._workers -= 1
            if key:
                self._of_key.setdefault(key, []).append(call)
            if len(self._of_key) > REMEMBERED_MAX:
                ended = (name for name, calls in self._of_key.items() if all(one.done() for one in calls))
                self._of_key.pop(next(ended, ""), None)
            if self._workers_max <= 0:
                for waiting in self._queue:
                    if waiting.set_running_or_notify_cancel():
                        waiting.set_exception(self._refusal())
                self._queue.clear()
            if self._queue:
                self._grow()

    def abandoned_calls(self, key: str) -> Sequence[Call]:
        """Return the abandoned calls of an effect, running or ended."""
        return tuple(self._of_key.get(key, ()))

    def forget(self, key: str) -> None:
        """Forget the abandoned calls of an effect whose outcome no longer depends on them."""
        with self._changed:
            self._of_key.pop(key, None)

    def close(self) -> None:
        """Take no more calls and drop those that have not begun. Each thread ends with its call."""
        with self._changed:
            self._closed = True
            for call in self._queue:
                call.cancel()
            self._queue.clear()
            self._changed.notify_all()

    @property
    def _workers_max(self) -> int:
        return self._count - max(0, len(self._hanging) - HANGING_MAX)

    def _refusal(self) -> AllHang:
        return AllHang(f"plain functions that hang: {len(self._hanging)}; give their clients timeouts, and restart the program")

    def _grow(self) -> None:
        if self._workers < self._workers_max:
            self._workers += 1
            threading.Thread(target=self._work, name=f"pointsman-node-{next(self._numbers)}", daemon=True).start()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            if call.set_running_or_notify_cancel():
                self._run(call)
            if not self._stays(call):
                return
            del call  # otherwise this frame keeps its result alive until the next call

    def _next(self) -> Call | None:
        with self._changed:
            while not self._queue:
                if self._closed or self._workers > self._workers_max:
                    self._workers -= 1
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return self._queue.popleft()

    def _run(self, call: Call) -> None:
        call.thread = threading.get_ident()
        try:
            if call.waited and call.counted is not None:
                call.counted()
            _has_begun(call)
            if call.kept is not None:
                call.kept.wait()
            result = call.function()
        except BaseException as error:
            call.ended_at = self._clock.now()
            call.set_exception(error)
        else:
            call.ended_at = self._clock.now()
            call.set_result(result)

    def _stays(self, call: Call) -> bool:
        """Return whether a thread goes on after a call. It ends if the call was abandoned and another thread has replaced it."""
        with self._changed:
            if not call.abandoned:
                return True
            self._hanging.discard(call)
            if self._workers >= self._workers_max:
                return False
            self._workers += 1
            return True


def _nothing() -> None:
    """The function of a reserved thread that is given back."""


def _has_begun(call: "Future[Any]") -> None:
    """Mark a call as begun, also when it ends without a thread, so that nobody waits for it."""
    assert isinstance(call, Call)
    if not call.begun.done():
        call.begun.set_result(None)
