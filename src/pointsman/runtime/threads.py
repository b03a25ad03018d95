"""The threads of plain functions: a call that is given up is left to its end, counted, and its thread is replaced.

Nothing can stop a thread. So a call that outlives its time keeps its thread, and another one takes its place, up to
`HANGING_MAX` of them; beyond that the places become fewer, and where none is left a call is refused instead of waiting for
ever. All are daemon threads: a program can end while one hangs.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from pointsman.errors import AllHang
from pointsman.runtime.clock import Clock

HANGING_MAX = 64  # threads that may hang before others go short: each holds its stack and whatever its call holds
REMEMBERED_MAX = 1_000  # effects whose given-up call is remembered by key; far more than can be in doubt at once


class Call(Future[Any]):
    """A plain function in a thread, as a future. `thread` is the number of its thread, `ended_at` when it came to its end (Unix seconds).

    `begun` is done when a thread has got to it, or when none ever will. `waited` says that the call has waited for its thread for
    long, so that `counted` comes before it. A thread that is `kept` waits for its function until that is set.
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
        """Whether the function has returned, and not raised."""
        return self.done() and not self.cancelled() and self.exception() is None


class Threads:
    """At most `count` calls at once, not counting those that were given up."""

    def __init__(self, count: int, clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._changed = threading.Condition()
        self._queue: deque[Call] = deque()
        self._workers = 0  # threads but for those at a call that was given up
        self._idle = 0
        self._hanging: set[Call] = set()
        self._of_key: dict[str, list[Call]] = {}
        self._closed = False
        self._numbers = itertools.count()

    @property
    def abandoned(self) -> int:
        """How many calls were given up and still run."""
        return len(self._hanging)

    def submit(self, function: Callable[[], Any], counted: Callable[[], None] | None = None) -> Call:
        """Run `function` in a thread, when one is free. Raises AllHang where all of them hang.

        Where it has `waited`, `counted` is called in the thread first.
        """
        call = Call(function)
        call.counted = counted
        return self._put(call)

    def keep(self) -> Call:
        """Keep the next thread that is free for a call to come, until it is given one or let go. Raises AllHang where all of them hang."""
        call = Call(_nothing)
        call.kept = threading.Event()
        return self._put(call)

    def give(self, call: Call, function: Callable[[], Any]) -> Call:
        """Run `function` in the thread that was kept for it."""
        assert call.kept is not None
        call.function = function
        call.kept.set()
        return call

    def let_go(self, call: Call) -> None:
        """Do without a thread that was kept, or is waited for."""
        if call.kept is not None and not call.kept.is_set():
            call.kept.set()
            call.cancel()

    def _put(self, call: Call) -> Call:
        with self._changed:
            if self._closed:
                raise RuntimeError("the engine is closed")
            if self._places <= 0:
                raise self._refusal()
            self._queue.append(call)
            if self._idle >= len(self._queue):
                self._changed.notify()
            else:
                self._grow()
            return call

    def abandon(self, call: Call, key: str = "") -> None:
        """Give up a call that is running: its thread no longer counts. An effect's is remembered by its key."""
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
            if self._places <= 0:
                for waiting in self._queue:
                    if waiting.set_running_or_notify_cancel():
                        waiting.set_exception(self._refusal())
                self._queue.clear()
            if self._queue:
                self._grow()

    def abandoned_calls(self, key: str) -> Sequence[Call]:
        """The calls of an effect that were given up in this process, running or ended."""
        return tuple(self._of_key.get(key, ()))

    def forget(self, key: str) -> None:
        """The effect's outcome no longer hangs on these calls."""
        with self._changed:
            self._of_key.pop(key, None)

    def close(self) -> None:
        """Take no more calls, drop those that have not begun, and let the threads end with theirs."""
        with self._changed:
            self._closed = True
            for call in self._queue:
                call.cancel()
            self._queue.clear()
            self._changed.notify_all()

    @property
    def _places(self) -> int:
        return self._count - max(0, len(self._hanging) - HANGING_MAX)

    def _refusal(self) -> AllHang:
        return AllHang(
            f"calls of plain functions that hang: {len(self._hanging)}; give their clients timeouts, and start the program again"
        )

    def _grow(self) -> None:
        if self._workers < self._places:
            self._workers += 1
            threading.Thread(target=self._work, name=f"pointsman-node-{next(self._numbers)}", daemon=True).start()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            if call.set_running_or_notify_cancel():
                self._run(call)
            if not self._stays(call):
                return
            del call  # or its result would be held until the next one

    def _next(self) -> Call | None:
        with self._changed:
            while not self._queue:
                if self._closed or self._workers > self._places:
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
        """Whether the thread of an ended call goes on: it does not where another one has taken its place meanwhile."""
        with self._changed:
            if not call.abandoned:
                return True
            self._hanging.discard(call)
            if self._workers >= self._places:
                return False
            self._workers += 1
            return True


def _nothing() -> None:
    """What runs in a thread that was kept and not needed."""


def _has_begun(call: "Future[Any]") -> None:
    """A call that was refused or dropped before it began is waited for no longer."""
    assert isinstance(call, Call)
    if not call.begun.done():
        call.begun.set_result(None)
