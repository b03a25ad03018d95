"""Call an author's function: with its fields and resources, within its time, and in a thread where it is a plain one."""

import asyncio
import contextvars
import functools
import threading
import types
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pointsman.definition.nodes import AnyNode, Context
from pointsman.definition.state import Blob
from pointsman.definition.transactions import Database
from pointsman.errors import NotBegun
from pointsman.kernel.codec import codec_of, message_of
from pointsman.kernel.guarding import BEGINNING, Progress
from pointsman.runtime.begun import Begun
from pointsman.runtime.evidence import PLACE, stands_at
from pointsman.runtime.hold import Hold
from pointsman.runtime.isolated import Isolation
from pointsman.runtime.limits import Permit
from pointsman.runtime.ports import Ports
from pointsman.runtime.threads import Call, Threads
from pointsman.runtime.watchdog import Watchdog

MOMENT_SECONDS = 0.05  # of waiting for a thread before the attempt stops to count: it is free within less, or not for long

TOO_LATE = "its time had passed before the call could begin"

Late = Callable[[], bool]
"""Whether a call may no longer go on."""


def never() -> bool:
    """A call that may go on as long as it likes."""
    return False


def is_ctrl_c(error: BaseException) -> bool:
    """Whether this may be a person's Ctrl-C, which Python raises in the main thread, and not an author's function that raised it."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


class ItemAt(NamedTuple):
    """One item of a collection: its position, its place as text (the position, or the key), and its value."""

    position: int
    place: str
    value: object


GivenUp = Callable[[Future[Any]], None]
"""Told, in the thread, of a plain function that has come to its end after it was given up."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What calling takes: the seams, the resources by name, and the threads for plain functions."""

    ports: Ports
    resources: Mapping[str, Any]
    threads: Threads
    begun: Begun
    watchdog: Watchdog
    isolation: Isolation = field(default_factory=Isolation)

    async def call(
        self, hold: Hold, node: AnyNode, *, attempt: int, key: str = "", timeout_seconds: float | None = None, late: Late = never,
        item: ItemAt | None = None, given_up: GivenUp | None = None, permit: Permit | None = None, progress: Progress = BEGINNING,
    ) -> object:  # fmt: skip
        """Call a node or an effect. Raises what it raises, and TimeoutError after `timeout_seconds` or when it is `late`.

        The time of a node begins with its call, however long it has waited for a thread. That of an effect has begun with its intent.
        What is late before it has begun is not begun, and NotBegun says so. A thread cannot be stopped: a plain function that
        runs out of time is left to its end (`Threads.abandon`), and its result is dropped. The `permit` is given back when
        the call has ended, in whatever way.
        """
        self.ports.failpoints("effect.call" if key else "node.call")
        try:
            result = await self.invoke(
                node.function,
                node,
                hold,
                attempt=attempt,
                key=key,
                timeout_seconds=timeout_seconds,
                asynchronous=node.asynchronous,
                late=late,
                item=item,
                given_up=given_up,
                permit=permit,
                progress=progress,
            )
        except BaseException as error:
            if permit is not None:
                await permit.ended(error)
            raise
        if permit is not None:
            await permit.ended(None)
        self.ports.failpoints("effect.called" if key else "node.called")
        return result

    async def invoke(
        self, function: Callable[..., Any], node: AnyNode, hold: Hold, *, attempt: int, key: str, timeout_seconds: float | None, asynchronous: bool,
        only: tuple[frozenset[str], frozenset[str]] | None = None, late: Late = never,
        item: ItemAt | None = None, given_up: GivenUp | None = None, permit: Permit | None = None, progress: Progress = BEGINNING,
    ) -> object:  # fmt: skip
        """Call `function` with the node's fields and resources, or with those of them that `only` names (reads, uses)."""
        cells, codec = hold.snapshot.cells, codec_of(hold.process.state)
        reads = [codec.fresh(cells, name) for name in node.signature.reads if only is None or name in only[0]]
        if item is not None and node.signature.item is not None:
            reads.insert(node.signature.item.position, item.value)
        uses = {name: self.resources.get(name) for name in node.signature.uses if only is None or name in only[1]}
        if "ctx" in (uses if only is None else only[1]):
            uses["ctx"] = Context(
                hold.snapshot.case,
                node.name,
                attempt,
                self.ports.clock.now(),
                key,
                self.ports.store.incarnation,
                progress.violations,
                progress.rejected,
                progress.model,
                self.read,
            )
        isolated = node.isolated and function is node.function
        async with AsyncExitStack() as places:
            if isolated:
                await self._in_turn(hold, places)
            elif asynchronous:
                places.enter_context(self.watchdog.watching(node))
            thread = None if asynchronous or isolated else self._threaded(hold, function, reads, uses, late)
            if permit is not None:
                permit.call = thread
            call: Awaitable[object]
            if thread is not None:
                call = asyncio.wrap_future(thread)
            elif isolated:
                call = self.isolation.call(node, reads, uses.get("ctx"))
            else:
                call = function(*reads, **uses) if late is never else _in_time(function(*reads, **uses), late)
            return await self._answer(hold, node, call, thread, timeout_seconds, key, given_up)

    async def _answer(
        self, hold: Hold, node: AnyNode, call: Awaitable[object], thread: Call | None, timeout_seconds: float | None, key: str,
        given_up: GivenUp | None,
    ) -> object:  # fmt: skip
        """What a call comes to that has begun, or waits for its thread."""
        try:
            if thread is not None and not key:
                await self._begins(hold, thread)
            async with asyncio.timeout(timeout_seconds):
                with self.begun.calling(hold):
                    return await call
        except TimeoutError as error:
            if thread is not None and thread.cancelled():
                raise NotBegun("no thread was free in time; open the engine with more threads") from None
            if thread is not None and not thread.done():
                setattr(error, PLACE, stands_at(thread.thread))
            raise
        except Exception:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            stopping = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
            if stopping or (thread is None and is_ctrl_c(error)):
                raise
            raise RuntimeError(f"{node.name!r} ended itself with {type(error).__name__}: {message_of(error)}") from None
        finally:
            if thread is not None:
                self.threads.abandon(thread, key)
                if thread.abandoned and given_up is not None:
                    thread.add_done_callback(given_up)

    def at_once(self, hold: Hold, node: AnyNode, db: Database) -> object:
        """Call a transaction's function here and now, with the database as its `db`."""
        codec = codec_of(hold.process.state)
        reads = [codec.fresh(hold.snapshot.cells, name) for name in node.signature.reads]
        uses = {name: self.resources.get(name) for name in node.signature.uses} | {"db": db}
        if "ctx" in uses:
            uses["ctx"] = Context(hold.snapshot.case, node.name, hold.attempt, self.ports.clock.now(), "", self.ports.store.incarnation)
        try:
            return node.function(*reads, **uses)
        except Exception:
            raise
        except BaseException as error:  # it would end the writer with it
            raise RuntimeError(f"{node.name!r} ended itself with {type(error).__name__}: {message_of(error)}") from None

    async def read(self, blob: Blob) -> bytes:
        """The content of a blob, for `Context.read`."""
        content = await self.ports.store.blob(blob)
        if content is None:
            raise KeyError(f"blob {blob.sha256[:12]} is not in the store")
        return content

    async def place(self, hold: Hold) -> Call:
        """A thread for the call to come. While it is waited for, the attempt does not count."""
        place = self.threads.keep()
        try:
            await self._begins(hold, place)
            if place.done():
                place.result()  # which raises
        except BaseException:
            self.threads.let_go(place)
            raise
        return place

    async def _begins(self, hold: Hold, thread: Call) -> None:
        """Return when the thread has got to its call, or the call has ended without one."""
        begins = asyncio.wrap_future(thread.begun)
        try:
            await asyncio.wait({begins}, timeout=MOMENT_SECONDS)
            if not begins.done():
                thread.waited = True
                await self.begun.waits(hold)
                await begins
        except BaseException:
            thread.cancel()
            raise

    async def _in_turn(self, hold: Hold, places: AsyncExitStack) -> None:
        """Wait for one of the places of isolated functions."""
        if self.isolation.places.locked():
            await self.begun.waits(hold)
        await places.enter_async_context(self.isolation.places)
        await self.begun.begins(hold)

    def _threaded(self, hold: Hold, function: Callable[..., Any], reads: Sequence[Any], uses: Mapping[str, Any], late: Late) -> Call:
        context, loop = contextvars.copy_context(), asyncio.get_running_loop()
        place, hold.place = hold.place, None

        def counted() -> None:
            asyncio.run_coroutine_threadsafe(self.begun.begins(hold), loop).result()

        def call() -> Any:
            if late():
                raise NotBegun(TOO_LATE)
            try:
                return context.run(function, *reads, **uses)
            except StopIteration as error:
                raise RuntimeError("it raised StopIteration") from error  # which no future can hold

        return self.threads.submit(call, counted) if place is None else self.threads.give(place, call)


@types.coroutine
def _in_time(call: Any, late: Late) -> Generator[Any, Any, object]:
    """Await an author's coroutine, and go on with it only while it is not `late`. Raises NotBegun where it had not begun.

    The event loop looks at its timers after it has run what was ready. In a process that was stopped for a while, by
    SIGSTOP or by a machine that slept, that would be the next step of the call, which sends what should no longer be sent.
    """
    if late():
        call.close()
        raise NotBegun(TOO_LATE)
    step = functools.partial(call.send, None)
    given_up = False
    while True:
        try:
            waits_for = step()
        except StopIteration as end:
            return end.value
        except asyncio.CancelledError:
            if given_up:
                raise TimeoutError from None
            raise
        try:
            answer = yield waits_for
            step = functools.partial(call.send, answer)
            if late() and not given_up:
                given_up = True
                step = functools.partial(call.throw, asyncio.CancelledError())
        except BaseException as error:
            step = functools.partial(call.throw, error)
