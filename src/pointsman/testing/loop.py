"""A simulated event loop with virtual time, whose machines run in a seeded order, crash and stall.

Theory of operation. Each callback that asyncio schedules belongs to the *host* in whose context it was scheduled (a
context variable, which tasks inherit). A host is a machine with one event loop: its callbacks run in the order in
which they became ready, as in asyncio. Between hosts the order is random. When no host has work, time jumps to the next
timer, so that waiting costs nothing. The work of a crashed host is dropped: nothing is unwound, and no `finally`
runs. A stalled host later goes on where it stopped, without knowing that time has passed.

The idea is that of simulation testing in FoundationDB (https://apple.github.io/foundationdb/testing.html).
"""

import asyncio
import heapq
import sys
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from itertools import count
from random import Random
from typing import Any

from pointsman.runtime.clock import SystemClock

CLOSINGS = 20  # tries per coroutine: each block that awaits while it is unwound takes one


class Host:
    """A simulated machine. `steps` counts the callbacks that it has run; `clock_error` is the error of its clock in seconds."""

    def __init__(self, loop: "SimulatedLoop", name: str) -> None:
        self.name = name
        self.steps = 0
        self.clock_error = 0.0
        self.alive = True
        self.standing_until = 0.0
        self.signals: dict[int, Callable[[], None]] = {}
        self.ready: deque[_Handle] = deque()
        self._loop = loop
        self.context = copy_context()
        self.context.run(_HOST.set, self)

    def __repr__(self) -> str:
        return self.name

    def crash(self) -> None:
        """Stop at once, without running any more code."""
        self.alive = False
        self.ready.clear()
        self._loop.hosts.remove(self)

    def stand_still(self, seconds: float) -> None:
        """Stall for a while, like a stopped process, a frozen machine or a long garbage collection."""
        self.standing_until = max(self.standing_until, self._loop.time() + seconds)
        self._loop.call_on(None, seconds, _nothing)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run a coroutine on this host."""
        return self._loop.create_task(work, context=self.context.copy())


_HOST: ContextVar[Host | None] = ContextVar("pointsman_host", default=None)


def current_host() -> Host:
    """The host of the calling code."""
    host = _HOST.get()
    assert host is not None, "ask from within the simulation"
    return host


class _Handle:
    __slots__ = ("args", "callback", "context", "host", "is_cancelled", "time")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context, host: Host, time: float = 0.0) -> None:
        self.callback, self.args, self.context, self.host, self.time = callback, args, context, host, time
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self.time


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Run hosts until `stop` is called or no work is left. `close` unwinds the tasks that are left over.

    `outside` is the host of everything that belongs to no other host. `before` is called with a host before each of its steps, and
    may crash or stall it. `complaints` holds what asyncio would have logged: exceptions that were never retrieved.
    """

    def __init__(self, random: Random) -> None:
        self.complaints: list[dict[str, Any]] = []
        self.before: Callable[[Host], None] | None = None
        self.hosts: list[Host] = []
        self.outside = self.host("outside")
        self._random = random
        self._time = 0.0
        self._numbers = count()
        self._timers: list[tuple[float, int, _Handle]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._generators: list[Any] = []
        self._stopped = False
        self._closed = False

    def host(self, name: str) -> Host:
        """Add a machine."""
        host = Host(self, name)
        self.hosts.append(host)
        return host

    def call_on(self, host: Host | None, delay: float, callback: Callable[..., Any], *args: Any) -> None:
        """Call a function on a host (None is outside) in `delay` virtual seconds."""
        host = host or self.outside
        self._begin_timer(_Handle(callback, args, host.context, host, self._time + delay))

    def run(self, steps_max: int) -> bool:
        """Run until `stop` is called, for at most `steps_max` steps. Return False if they, or the work, ran out first."""
        outer = sys.get_asyncgen_hooks()
        # An abandoned generator of a crashed host must not be unwound: that would run code of the crashed host.
        sys.set_asyncgen_hooks(firstiter=self._generators.append, finalizer=_nothing)
        asyncio._set_running_loop(self)  # noqa: SLF001 - the function is asyncio's documented seam for loops
        self._stopped = False
        try:
            for _ in range(steps_max):
                if self._stopped or not self._step():
                    break
            return self._stopped
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001
            sys.set_asyncgen_hooks(*outer)

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped = True

    def close(self) -> None:
        """Unwind the tasks that are left over, and ignore their exceptions."""
        self._closed = True
        outer, hook = sys.get_asyncgen_hooks(), sys.unraisablehook
        sys.set_asyncgen_hooks(firstiter=None, finalizer=_nothing)
        sys.unraisablehook = _nothing
        asyncio._set_running_loop(self)  # noqa: SLF001 - unwinding may start tasks, and those are unwound too
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # about coroutines that never started
                self._unwind_all()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001
            self._tasks.clear()
            self._generators.clear()
            self._timers.clear()
            for host in self.hosts:
                host.ready.clear()
            sys.set_asyncgen_hooks(*outer)
            sys.unraisablehook = hook

    def _unwind_all(self) -> None:
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001 - it is destroyed on purpose
                _unwind(task.get_coro())
        for generator in self._generators:
            _unwind(generator)

    def _step(self) -> bool:
        """Run one callback of one host. Return whether there was one."""
        while True:
            now = self._time
            able = [host for host in self.hosts if host.ready and host.standing_until <= now]
            if not able:
                if not self._pass_time():
                    return False
                continue
            host = able[0] if len(able) == 1 else able[int(self._random.random() * len(able))]
            handle = host.ready.popleft()
            if handle.is_cancelled:
                continue
            if self.before is not None:
                self.before(host)
                if not host.alive:
                    return True
                if host.standing_until > self._time:
                    host.ready.appendleft(handle)
                    return True
            host.steps += 1
            try:
                handle.context.run(handle.callback, *handle.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler({"message": "an error in a callback", "exception": error})
            return True

    def _pass_time(self) -> bool:
        """Advance the time to the next timer. Return whether there is one."""
        while self._timers:
            when, _, handle = heapq.heappop(self._timers)
            if handle.is_cancelled or not handle.host.alive:
                continue
            self._time = max(self._time, when)
            handle.host.ready.append(handle)
            return True
        return False

    # Methods that asyncio requires of a loop.

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._time

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        """Schedule a callback on the host of its context."""
        context = context if context is not None else copy_context()
        handle = _Handle(callback, args, context, _host_of(context) or self.outside)
        if handle.host.alive and not self._closed:
            handle.host.ready.append(handle)
        return handle

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        """Like `call_soon`; the simulation has one thread."""
        return self.call_soon(callback, *args, context=context)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        """Schedule a callback in `delay` virtual seconds."""
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        """Schedule a callback at a virtual time."""
        context = context if context is not None else copy_context()
        handle = _Handle(callback, args, context, _host_of(context) or self.outside, when)
        self._begin_timer(handle)
        return handle

    def _begin_timer(self, handle: _Handle) -> None:
        if handle.host.alive and not self._closed:
            heapq.heappush(self._timers, (handle.time, next(self._numbers), handle))

    def create_future(self) -> "asyncio.Future[Any]":
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Context | None = None) -> "asyncio.Task[Any]":
        """A task of this loop, on the host of its context."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override] # noqa: ARG002 - no thread runs it
        """Call a function in a step of its own, and return the future of its result. The simulation has one thread, so it blocks every host."""
        result = self.create_future()

        def call() -> None:
            if result.done():
                return
            try:
                result.set_result(func(*args))
            except Exception as error:
                result.set_exception(error)

        self.call_soon(call)
        return result

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        """Register the current host's handler of a signal in `Host.signals`."""
        host = _HOST.get()
        if host is not None:
            context = copy_context()
            host.signals[sig] = lambda: self.call_soon(callback, *args, context=context) and None

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of a signal."""
        host = _HOST.get()
        return host is not None and host.signals.pop(sig, None) is not None

    def get_debug(self) -> bool:
        """Return False: debug mode is never on."""
        return False

    def is_running(self) -> bool:
        """Return whether the loop is still open."""
        return not self._closed

    def is_closed(self) -> bool:
        """Return whether the loop is closed."""
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Add the error to `complaints`."""
        if not self._closed:
            self.complaints.append(context)


class HostClock(SystemClock):
    """The clock of a host: the virtual time plus the host's current `clock_error`."""

    def __init__(self, loop: SimulatedLoop, host: Host, epoch: float = 1_000_000.0) -> None:
        super().__init__()
        self._loop = loop
        self._host = host
        self._epoch = epoch

    def wall(self) -> float:
        """The time of day on the host's clock."""
        return self._epoch + self._loop.time() + self._host.clock_error

    def monotonic(self) -> float:
        """The virtual time."""
        return self._loop.time()


def _host_of(context: Context) -> Host | None:
    return context.get(_HOST, None)


def _unwind(work: Any) -> None:
    """Close a coroutine, or what an asynchronous generator awaits, from the inside out."""
    for _ in range(CLOSINGS):
        inner = getattr(work, "cr_await", None) or getattr(work, "ag_await", None)
        if hasattr(inner, "cr_await") or hasattr(inner, "ag_await"):
            _unwind(inner)
        with suppress(BaseException):
            if hasattr(work, "cr_await"):
                work.close()
            return


def _nothing(*_: Any) -> None:
    """Do nothing."""
