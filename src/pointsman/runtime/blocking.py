"""A blocking engine for scripts and notebooks. It has the same methods, and runs the event loop in a thread."""

import asyncio
import logging
import signal
import socket
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from functools import partial, update_wrapper, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, overload
from weakref import WeakKeyDictionary

from pointsman.definition.process import AnyProcess
from pointsman.definition.state import State
from pointsman.errors import EngineStopped
from pointsman.kernel.rows import EventRow
from pointsman.runtime.clock import Clock
from pointsman.runtime.engine import Engine
from pointsman.runtime.scheduler import CANCEL_SECONDS
from pointsman.runtime.subscribers import Subscription
from pointsman.store.base import Reader
from pointsman.store.checkpoints import CheckpointStore

log = logging.getLogger("pointsman")

CLOSED = "the engine is closed; open it again."
IN_ITS_LOOP = (
    "a blocking engine was called by code that runs in its event loop, which would wait for itself; "
    "call it from a plain function, without `async`, or from another thread"
)

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})
NUMBERS_MAX = 64  # of signals that are read at once; each is a byte, and the others are read next

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=State)


_Handed = tuple[Coroutine[Any, Any, Any], Future[Any], Context]
"""A call of another thread, the future that it waits for, and the values of its context variables."""


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._waiting: set[Future[Any]] = set()
        self._handed: list[_Handed] = []
        self._answers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Answers] = WeakKeyDictionary()
        self._closing = False
        self._changing = threading.Lock()  # so that a call is begun before the loop ends, or refused
        self._thread = threading.Thread(target=self._work, name="pointsman-loop", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._closing:
            try:
                self._loop.run_forever()
            except BaseException:  # asyncio lets SystemExit and KeyboardInterrupt out of its loop; running the loop again is safe
                log.exception("an exception left the event loop of a blocking engine; the loop runs on")
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        """Cancel what nobody will wait for any more, and let it clean up."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=CANCEL_SECONDS)
        await asyncio.get_running_loop().shutdown_asyncgens()

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        """Run `call` in the loop and return its result. Raises EngineStopped after `close`, and RuntimeError in the loop's own thread."""
        if threading.current_thread() is self._thread:
            call.close()
            raise RuntimeError(IN_ITS_LOOP)
        future = self.begin(call)
        try:
            return future.result()
        except CancelledError:
            if self._closing:
                raise EngineStopped(CLOSED) from None
            raise
        finally:
            future.cancel()  # Ctrl-C ends the wait, and cancels the call

    def begin(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `call` in the loop and return a future of its result. Raises EngineStopped after `close`."""
        with self._changing:
            if self._closing:
                call.close()
                raise EngineStopped(CLOSED)
            future: Future[T] = Future()
            self._waiting.add(future)
            self._handed.append((call, future, copy_context()))
            if len(self._handed) == 1:
                self._loop.call_soon_threadsafe(self._begin_handed)
        return future

    def _begin_handed(self) -> None:
        """Begin what came since the loop was woken: each time wakes the other threads, too, as they give up the interpreter's lock."""
        with self._changing:
            handed, self._handed = self._handed, []
        for call, future, context in handed:
            if future.cancelled():
                call.close()
                self._waiting.discard(future)
                continue
            task = self._loop.create_task(self._carry(call, future), context=context)
            future.add_done_callback(partial(self._cancelled, task))

    def _cancelled(self, task: asyncio.Task[None], future: Future[Any]) -> None:
        if future.cancelled() and not task.done():
            self._waiting.discard(future)  # the task may not have begun
            self._loop.call_soon_threadsafe(task.cancel)

    async def _carry(self, call: Coroutine[Any, Any, T], future: Future[T]) -> None:
        """Run a call of another thread, which waits for the future."""
        try:
            result = await call
        except asyncio.CancelledError:
            future.cancel()
            raise
        except BaseException as error:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(result)
        finally:
            self._waiting.discard(future)

    async def carry_out(self, call: Coroutine[Any, Any, T]) -> T:
        """Run `call` in the loop, and return its result in the event loop of the caller. Raises EngineStopped after `close`."""
        here = asyncio.get_running_loop()
        answer: asyncio.Future[T] = here.create_future()
        future = self.begin(call)
        future.add_done_callback(partial(self._answers.setdefault(here, _Answers()).bring, answer))
        try:
            return await answer
        except BaseException:  # nobody waits any more
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread. Calls that wait in other threads raise EngineStopped."""
        with self._changing:
            self._closing = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for future in tuple(self._waiting):
            if not future.done():
                future.set_exception(EngineStopped(CLOSED))


class _Answers:
    """Brings results to the event loop of another thread. Those that come together wake it once."""

    def __init__(self) -> None:
        self._come: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._told = False

    def bring(self, answer: asyncio.Future[Any], future: Future[Any]) -> None:
        """Bring the result of a future that is done, from any thread."""
        self._come.append((answer, future))
        if not self._told:
            self._told = True
            with suppress(RuntimeError):  # that loop is closed, so nobody waits there any more
                answer.get_loop().call_soon_threadsafe(self._give)

    def _give(self) -> None:
        self._told = False  # before the results are taken, so that none stays behind
        while self._come:
            answer, future = self._come.popleft()
            if answer.done():  # the caller was cancelled
                continue
            if future.cancelled():
                answer.cancel()
            elif (error := future.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(future.result())


class _Blocking:
    """Something asynchronous, and the loop that it runs in."""

    def __init__(self, inner: Any, loop: _Loop) -> None:
        self._inner = inner
        self._loop = loop


def _waits(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """Return a method with the parameters of `method` that calls it and waits for its result."""

    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self._loop.wait(getattr(self._inner, method.__name__)(*args, **kwargs))
        return result

    update_wrapper(call, method)
    return call


async def _next(events: AsyncGenerator[EventRow, None]) -> EventRow | None:
    return await anext(events, None)


async def _has_next(changes: AsyncGenerator[None, None]) -> bool:
    async for _ in changes:
        return True
    return False


class BlockingReader(_Blocking):
    """The read-only part of the store, with the methods of `Reader`, which block."""

    @property
    def incarnation(self) -> str:
        """The name of the database, which no other database has."""
        incarnation: str = self._inner.incarnation
        return incarnation

    case = _waits(Reader.case)
    cases = _waits(Reader.cases)
    open_cases = _waits(Reader.open_cases)
    versions = _waits(Reader.versions)
    cases_of_version = _waits(Reader.cases_of_version)
    definitions = _waits(Reader.definitions)
    private = _waits(Reader.private)
    case_by_key = _waits(Reader.case_by_key)
    find = _waits(Reader.find)
    counts = _waits(Reader.counts)
    count_places = _waits(Reader.count_places)
    fields = _waits(Reader.fields)
    events = _waits(Reader.events)
    newest_events = _waits(Reader.newest_events)
    cases_of = _waits(Reader.cases_of)
    fields_of = _waits(Reader.fields_of)
    writes_of = _waits(Reader.writes_of)
    effects_of = _waits(Reader.effects_of)
    events_of = _waits(Reader.events_of)
    count_waiting = _waits(Reader.count_waiting)
    effect = _waits(Reader.effect)
    effects = _waits(Reader.effects)
    in_doubt = _waits(Reader.in_doubt)
    pause = _waits(Reader.pause)
    pause_by_token = _waits(Reader.pause_by_token)
    branches = _waits(Reader.branches)
    messages = _waits(Reader.messages)
    held = _waits(Reader.held)
    unmatched = _waits(Reader.unmatched)
    children = _waits(Reader.children)
    usage_of_case = _waits(Reader.usage_of_case)
    usage_of_days = _waits(Reader.usage_of_days)
    limits = _waits(Reader.limits)
    backlog = _waits(Reader.backlog)
    intake_paused = _waits(Reader.intake_paused)
    gaps = _waits(Reader.gaps)
    blob = _waits(Reader.blob)
    dossier = _waits(Reader.dossier)
    engines = _waits(Reader.engines)


class BlockingEngine(_Blocking):
    """An engine whose methods block. They take, return and raise what the methods of `Engine` with the same names do."""

    _inner: Engine

    @property
    def changed(self) -> int:
        """How often something was committed since the engine was opened."""
        return self._inner.changed

    @property
    def abandoned_calls(self) -> int:
        """The number of plain functions that still run although their call timed out or their case was cancelled."""
        return self._inner.abandoned_calls

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """How the subscribers fare that the engine was opened with."""
        return self._inner.subscriptions

    @property
    def event_loop_stalls(self) -> int:
        """The number of times that an async function has blocked the event loop for 5 seconds."""
        return self._inner.event_loop_stalls

    @property
    def reader(self) -> BlockingReader:
        """The read-only part of the store."""
        return BlockingReader(self._inner.reader, self._loop)

    @property
    def checkpoints(self) -> CheckpointStore:
        """The part of the store that keeps the checkpoints of LangGraph threads, for pointsman.integrations.langgraph."""
        return self._inner.checkpoints

    @property
    def processes(self) -> Sequence[AnyProcess]:
        """The processes that the engine was opened with, every version."""
        return self._inner.processes

    @property
    def clock(self) -> Clock:
        """The clock that the engine reads."""
        return self._inner.clock

    @property
    def shared(self) -> bool:
        """Whether other engines can have the store open, too."""
        return self._inner.shared

    def begin(self, call: Callable[[Engine], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run a coroutine of the engine in its event loop, and return a future of its result. Raises EngineStopped."""
        return self._loop.begin(call(self._inner))

    async def carry_out(self, call: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine of the engine in its event loop, and return its result in the caller's. Raises EngineStopped."""
        return await self._loop.carry_out(call(self._inner))

    def run(self, call: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """The same, and block until the result is there."""
        return self._loop.wait(call(self._inner))

    def new_key(self) -> str:
        """Return a random key that nothing else has (128 bits)."""
        return self._inner.new_key()

    check_ready = _waits(Engine.check_ready)
    start = _waits(Engine.start)
    send = _waits(Engine.send)
    store_blob = _waits(Engine.store_blob)
    case = _waits(Engine.case)
    wait_until_resting = _waits(Engine.wait_until_resting)
    rested = _waits(Engine.rested)
    idle = _waits(Engine.idle)
    tasks = _waits(Engine.tasks)
    pending = _waits(Engine.pending)
    resume = _waits(Engine.resume)
    assign = _waits(Engine.assign)
    cancel = _waits(Engine.cancel)
    redrive = _waits(Engine.redrive)
    redrive_all = _waits(Engine.redrive_all)
    resolve = _waits(Engine.resolve)
    erase = _waits(Engine.erase)
    erase_person = _waits(Engine.erase_person)
    pause_intake = _waits(Engine.pause_intake)
    resume_intake = _waits(Engine.resume_intake)
    redeliver = _waits(Engine.redeliver)
    vacuum = _waits(Engine.vacuum)

    @overload
    def state(self, case: int) -> Any: ...
    @overload
    def state(self, case: int, of: type[S]) -> S: ...

    @wraps(Engine.state)
    def state(self, case: int, of: type[State] = State) -> Any:  # noqa: D102
        return self._loop.wait(self._inner.state(case, of))

    @wraps(Engine.events)
    def events(self, *, after: str = "") -> Iterator[EventRow]:  # noqa: D102
        events = self._inner.events(after=after)  # which its loop closes, when nobody refers to it any more
        while (event := self._loop.wait(_next(events))) is not None:
            yield event

    def changes(self, *, since: int | None = None) -> Iterator[None]:  # noqa: D102
        changes = self._inner.changes(since=since)
        while self._loop.wait(_has_next(changes)):
            yield

    def serve(self) -> None:
        """Run until SIGTERM or SIGINT arrives. Call it in the main thread. Raises StoreError, EngineStopped."""
        heard, told = socket.socketpair()
        with heard, told:
            heard.setblocking(False)
            told.setblocking(False)
            # Only the main thread runs Python's handlers, and it waits for a lock: a signal that comes just before the wait, or that the
            # system gives to another thread, does not end it. The socket wakes the event loop in each case.
            before = {number: signal.signal(number, _nothing) for number in STOPPING}
            descriptor = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
            try:
                self._loop.wait(_serve(self._inner, heard))
            finally:
                signal.set_wakeup_fd(descriptor)
                for number, handler in before.items():
                    signal.signal(number, handler)


async def _serve(engine: Engine, heard: socket.socket) -> None:
    """Serve until the numbers that come from the socket (`signal.set_wakeup_fd`) include a signal to stop."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(heard, lambda: stop.set() if not STOPPING.isdisjoint(heard.recv(NUMBERS_MAX)) else None)
    try:
        await engine.serve(stop)
    finally:
        loop.remove_reader(heard)


def _nothing(*_: object) -> None:
    """Handle a signal that the event loop hears of."""


@contextmanager
def open_blocking(
    path: str | Path, processes: Sequence[AnyProcess], *, resources: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[BlockingEngine]:
    """Open a blocking engine, for scripts and notebooks. `settings` are the other parameters of `Engine.open`."""
    loop = _Loop()
    opening = Engine.open(path, processes, resources=resources, **settings)
    try:
        engine = loop.wait(opening.__aenter__())
        try:
            yield BlockingEngine(engine, loop)
        finally:
            loop.wait(opening.__aexit__(None, None, None))
    finally:
        loop.close()
