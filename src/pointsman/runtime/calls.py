"""Call an author's function with its fields and resources, under its timeout: in the event loop, in a thread or in a subprocess."""

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
import types
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from pointsman.definition.effects import Reconcile
from pointsman.definition.nodes import AnyNode, Context
from pointsman.definition.signature import signature_of
from pointsman.definition.state import Blob
from pointsman.definition.transactions import Database
from pointsman.errors import NotBegun
from pointsman.kernel.attempts import CallEnd
from pointsman.kernel.case import Case
from pointsman.kernel.codec import codec_of, message_of
from pointsman.kernel.commands import LookUpEffect
from pointsman.kernel.evidence import PLACE, stands_at
from pointsman.kernel.guarding import BEGINNING, Progress
from pointsman.kernel.happenings import LookedUp
from pointsman.kernel.joins import ItemAt
from pointsman.kernel.record import record
from pointsman.kernel.snapshot import Cell
from pointsman.runtime.begun import Begun
from pointsman.runtime.called import CALLED
from pointsman.runtime.isolated import Isolation
from pointsman.runtime.limits import Permit
from pointsman.runtime.ports import Ports
from pointsman.runtime.session import CaseSession
from pointsman.runtime.threads import Call, Threads
from pointsman.runtime.watchdog import Watchdog

MOMENT_SECONDS = 0.05  # the wait for a thread after which the attempt no longer counts: a thread is usually free sooner, or not for long

TOO_LATE = "its time had passed before the call could begin"

Late = Callable[[], bool]
"""Returns whether a call must stop because its time has passed or the lease is lost."""


def never() -> bool:
    """The `Late` of a call that nothing but its timeout ends."""
    return False


def is_ctrl_c(error: BaseException) -> bool:
    """Return whether this may be a person's Ctrl-C, which Python raises in the main thread only."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


GivenUp = Callable[[Future[Any]], None]
"""Called, in the function's thread, when a plain function returns after the engine gave up on it."""


@record
class Request:
    """A call to make: the node and the fields to call it with.

    `look_up` replaces the node's function when an effect is looked up. `key` is an effect's idempotency key. `timeout_seconds` replaces the
    node's own timeout when the call's time has already begun. A call for which `late` returns True is not begun, or is given up. `item` is a
    branch's item. `permit` is given back when the call ends, however it ends. `given_up` is called when a plain function ends after the engine
    gave up on it.
    """

    node: AnyNode
    cells: Mapping[str, Cell]
    attempt: int
    key: str = ""
    timeout_seconds: float | None = None
    late: Late = never
    look_up: Callable[..., Any] | None = None
    item: ItemAt | None = None
    permit: Permit | None = None
    progress: Progress = BEGINNING
    given_up: GivenUp | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls authors' functions, with the resources by name and the threads for plain functions."""

    ports: Ports
    resources: Mapping[str, Any]
    threads: Threads
    begun: Begun
    watchdog: Watchdog
    isolation: Isolation = field(default_factory=Isolation)
    # Looking for the running loop is a system call in Python 3.11 (getpid), so look once.
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    async def call(self, session: CaseSession, request: Request) -> CallEnd:
        """Call a node or an effect, and return how the call ended.

        A node's timeout starts with its call, not with its wait for a thread. An effect's timeout starts with its intent. Python cannot stop a
        thread: a plain function that runs out of time runs on (`Threads.abandon`), and its result is dropped.
        """
        permit, failpoints = request.permit, self.ports.failpoints
        failpoints("effect.call" if request.key else "node.call")
        try:
            end = CallEnd(await self.invoke(session, request))
        except Exception as error:  # the author's function may raise anything
            end = CallEnd(error=error)
        except BaseException as error:
            if permit is not None:
                await permit.ended(error)
            raise
        if (cancelled := self.cancelled_task()) is not None:
            await without_cancel(cancelled)
        if permit is not None:
            await permit.ended(end.error)
        if end.error is None:
            failpoints("effect.called" if request.key else "node.called")
        return end if permit is None else end._replace(facts=permit.facts, refused=permit.refused, held_until=permit.end.holds)

    async def look_up(self, session: CaseSession, asked: LookUpEffect) -> LookedUp:
        """Look up whether an effect in doubt happened."""
        safety = asked.effect.safety
        assert isinstance(safety, Reconcile)
        self.threads.forget(asked.key)
        self.ports.failpoints("effect.look_up")
        request = Request(asked.effect, asked.cells, asked.attempts, asked.key, look_up=safety.look_up)
        try:
            looked_up = LookedUp(asked, await self.invoke(session, request))
        except Exception as error:  # the author's function may raise anything
            looked_up = LookedUp(asked, None, error)
        if (cancelled := self.cancelled_task()) is not None:
            await without_cancel(cancelled)
        return looked_up

    def invoke(self, session: CaseSession, request: Request) -> Awaitable[object]:
        """Call the function with its fields and resources. Raises what it raises, TimeoutError after its timeout, and NotBegun.

        Await the result at once.
        """
        if request.late():
            raise NotBegun(TOO_LATE)
        node, row = request.node, session.case.row
        CALLED.set((row, node.name, request.attempt))
        function, signature, asynchronous = node.function, node.signature, node.asynchronous
        if request.look_up is not None:  # it takes parameters of its effect, possibly in another order
            function, signature = request.look_up, signature_of(request.look_up, "look-up")
            asynchronous = inspect.iscoroutinefunction(function)
        reads: list[Any] = []
        if signature.reads:
            fresh, cells = codec_of(session.process.state).fresh, request.cells
            reads = [fresh(cells, name) for name in signature.reads]
        if request.item is not None and signature.item is not None:
            reads.insert(signature.item.position, request.item.value)
        uses = {name: self.resources.get(name) for name in signature.uses} if signature.uses else {}
        if "ctx" in uses:
            progress = request.progress
            context = self._context(session.case, request.node, request.attempt, request.key)
            uses["ctx"] = replace(
                context,
                violations=progress.violations,
                rejected=progress.rejected,
                model=progress.model,
                _read=self.read,
                _reader=self.ports.store.reader,
            )
        if node.isolated and request.look_up is None:
            return self._isolated(session, request, reads, uses.get("ctx"))
        if asynchronous or node.inline:
            call: Awaitable[object] = function(*reads, **uses) if asynchronous else _inline(function, reads, uses)
            return self._answer(session, request, call)
        thread = self._threaded(session, request, functools.partial(function, *reads, **uses))
        if request.permit is not None:
            request.permit.call = thread
        return self._answer(session, request, asyncio.wrap_future(thread), thread)

    def cancelled_task(self) -> asyncio.Task[Any] | None:
        """Return the task that runs, if its cancel has been requested: `without_cancel` clears that."""
        task = asyncio.current_task(self.loop)
        return task if task is not None and task.cancelling() else None

    def _context(self, case: Case, node: AnyNode, attempt: int, key: str = "") -> Context:
        return Context(case.row.id, node.name, attempt, self.ports.clock.now(), key, case.incarnation)

    async def _answer(self, session: CaseSession, request: Request, call: Awaitable[object], thread: Call | None = None) -> object:
        """Wait for the answer of a call that has begun or that waits for its thread."""
        try:
            if thread is not None and not request.key:
                await self._begins(session, thread)
            seconds = request.node.timeout_seconds if request.timeout_seconds is None else request.timeout_seconds
            ends_at = None if seconds is None else self.loop.time() + seconds
            session.calling += 1
            try:
                steps = call.__await__()
                try:
                    waits_for = next(steps)
                except StopIteration as end:  # it never waited, so it needs no timer
                    return end.value
                async with asyncio.timeout_at(ends_at):
                    return await _continued(steps, waits_for, request.late if thread is None else never)
            finally:
                session.calling -= 1
        except TimeoutError as error:
            if thread is not None and thread.cancelled():
                raise NotBegun("no thread was free in time; open the engine with more threads") from None
            if thread is not None and not thread.done():
                setattr(error, PLACE, stands_at(thread.thread))
            raise
        except Exception:
            raise
        except BaseException as error:
            task = asyncio.current_task(self.loop)
            stopping = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
            if stopping or (thread is None and is_ctrl_c(error)):
                raise
            raise RuntimeError(f"{request.node.name!r} raised {type(error).__name__}: {message_of(error)}") from None
        finally:
            CALLED.set(None)
            if thread is not None:
                self.threads.abandon(thread, request.key)
                if thread.abandoned and request.given_up is not None:
                    thread.add_done_callback(request.given_up)

    def at_once(self, session: CaseSession, node: AnyNode, db: Database) -> object:
        """Call a transaction's function in this thread, with the database as its `db`."""
        case, codec = session.case, codec_of(session.process.state)
        reads = [codec.fresh(case.snapshot.cells, name) for name in node.signature.reads]
        uses = {name: self.resources.get(name) for name in node.signature.uses} | {"db": db}
        if "ctx" in uses:
            uses["ctx"] = self._context(case, node, case.row.attempts)
        try:
            return node.function(*reads, **uses)
        except Exception:
            raise
        except BaseException as error:  # SystemExit would end the writer thread
            raise RuntimeError(f"{node.name!r} raised {type(error).__name__}: {message_of(error)}") from None

    async def read(self, blob: Blob) -> bytes:
        """Return the content of a blob, for `Context.read`."""
        content = await self.ports.store.blob(blob)
        if content is None:
            raise KeyError(f"blob {blob.sha256[:12]} is not in the store")
        return content

    async def reserve_thread(self, session: CaseSession) -> Call:
        """Reserve a thread for the next call. While the case waits for it, the attempt does not count."""
        thread = self.threads.keep()
        try:
            await self._begins(session, thread)
            if thread.done():
                thread.result()  # raises
        except BaseException:
            self.threads.let_go(thread)
            raise
        return thread

    async def _begins(self, session: CaseSession, thread: Call) -> None:
        """Return when the thread begins the call, or the call has ended without a thread."""
        begins = asyncio.wrap_future(thread.begun)
        try:
            await asyncio.wait({begins}, timeout=MOMENT_SECONDS)
            if not begins.done():
                thread.waited = True
                await self.begun.waits(session)
                await begins
        except BaseException:
            thread.cancel()
            raise

    async def _isolated(self, session: CaseSession, request: Request, reads: Sequence[Any], context: Context | None) -> object:
        """Call the function in a subprocess, once another one may start. The wait for that does not use up the call's time."""
        if self.isolation.slots.locked():
            await self.begun.waits(session)
        async with self.isolation.slots:
            await self.begun.begins(session)
            return await self._answer(session, request, self.isolation.call(request.node, reads, context))

    def _threaded(self, session: CaseSession, request: Request, function: Callable[[], Any]) -> Call:
        context, loop = contextvars.copy_context(), self.loop
        reserved, session.reserved = session.reserved, None

        def counted() -> None:
            asyncio.run_coroutine_threadsafe(self.begun.begins(session), loop).result()

        def call() -> Any:
            if request.late():
                raise NotBegun(TOO_LATE)
            try:
                return context.run(function)
            except StopIteration as error:
                raise RuntimeError("it raised StopIteration") from error  # a future cannot hold StopIteration

        return self.threads.submit(call, counted) if reserved is None else self.threads.give(reserved, call)


async def _inline(function: Callable[..., object], reads: Sequence[Any], uses: Mapping[str, Any]) -> object:
    return function(*reads, **uses)


async def without_cancel(task: asyncio.Task[Any]) -> None:
    """Clear a cancel that a function requested of its own task, or caught and did not raise again: it would cancel the commit."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)  # a pending cancel is raised here
    while task.uncancel():
        pass


@types.coroutine
def _continued(steps: Generator[Any, Any, object], waits_for: Any, late: Late) -> Generator[Any, Any, object]:
    """Resume a call each time that what it awaits is ready, unless it is `late` by then.

    A timer alone is not enough: the event loop runs ready callbacks before expired timers. After SIGSTOP or a sleep of the machine, the
    callback could resume the call and send what must no longer be sent.
    """
    given_up = False
    while True:
        try:
            yield waits_for
        except BaseException as error:
            raises: BaseException | None = error
        else:
            raises = asyncio.CancelledError() if late() and not given_up else None
            given_up = given_up or raises is not None
        try:
            waits_for = next(steps) if raises is None else steps.throw(raises)
        except StopIteration as end:
            return end.value
        except asyncio.CancelledError:
            if given_up:
                raise TimeoutError from None
            raise
