"""An event loop inside a body, for libraries that need asyncio, such as agents.

It runs until everything in it waits for calls of the body. Then it suspends the body until one of them has ended. It has no clock and no sockets:
its time passes only when the body sleeps, so a body does the same whenever it is run again.
"""

# ruff: noqa: SLF001 - asyncio has these functions for those who write event loops
import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from concurrent.futures import Future as ThreadFuture
from contextlib import contextmanager
from typing import Any, TypeVar

from pointsman.functional.asking import sleep
from pointsman.functional.body import Body, Call, Waiting, current_body
from pointsman.functional.tasks import Future

R = TypeVar("R")


def run_in_body(work: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that uses asyncio, in a body. What it reaches outside goes through `ended`. Raises RuntimeError outside a body."""
    body = current_body()
    if body is None:
        work.close()
        raise RuntimeError("this runs only in the body of an entrypoint; call it there.")
    return _BodyLoop(body).run(work)


async def ended(call: Future[R]) -> R:
    """Wait for a call of the body, while other tasks of the loop go on; return its result."""
    loop = asyncio.get_running_loop()
    if isinstance(call, Call) and call.outcome is None and isinstance(loop, _BodyLoop):
        await loop.until(call)
    return call.result()


class AtOnce(Executor):
    """Calls a function at once, where a library would use a thread: a body has none."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ThreadFuture[Any]:
        """Call the function, and return the future of its result."""
        future: ThreadFuture[Any] = ThreadFuture()
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # the future carries it
            future.set_exception(error)
        return future


class _BodyLoop(asyncio.BaseEventLoop):
    """`run` runs one coroutine. BaseEventLoop calls `select` when nothing is ready."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self._body = body
        self._selector = self
        self._waiters: dict[Call[Any], asyncio.Future[None]] = {}
        self._now = 0.0
        self._around = _Running()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        outside, self._body.outside = self._body.outside, self._outside
        self._around = _Running.left()
        self.set_exception_handler(lambda _, __: None)  # only what a dropped body leaves behind
        try:
            return self.run_until_complete(work)
        finally:
            self._body.outside = outside
            self.close()
            self._around.entered()

    async def until(self, call: Call[Any]) -> None:
        waiter = self._waiters[call] = self.create_future()
        try:
            await waiter
        finally:
            self._waiters.pop(call, None)

    @contextmanager
    def _outside(self) -> Iterator[None]:
        """Leave this loop while the body is suspended, so that the engine finds its own."""
        inside = _Running.left()
        self._around.entered()
        try:
            yield
        finally:
            self._around = _Running.left()
            inside.entered()

    def select(self, timeout: float | None) -> list[Any]:
        if timeout == 0:
            return []
        if self._waiters:
            self._body.wait(Waiting(tuple(self._waiters)))
            for call, waiter in self._waiters.items():
                if call.outcome is not None and not waiter.done():
                    waiter.set_result(None)
        elif timeout is not None:
            sleep(timeout)
            self._now += timeout
        else:
            raise RuntimeError("it waits for something that is no call of the body; put that into a task.")
        return []

    def time(self) -> float:
        return self._now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        if not isinstance(executor, AtOnce):
            raise RuntimeError(  # noqa: TRY004 - no caller gives a wrong type
                "a body has no threads; put what asyncio.to_thread or run_in_executor calls into a task."
            )
        return super().run_in_executor(executor, func, *args)

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        """Nothing: no other thread calls it."""


class _Running:
    """What asyncio knows about the loop that runs in this thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: Any = None
        self._hooks = sys.get_asyncgen_hooks()

    @classmethod
    def left(cls) -> "_Running":
        """Leave the loop that runs, and return what it takes to enter it again."""
        running = cls()
        running._loop = asyncio._get_running_loop()
        if running._loop is not None and hasattr(asyncio.tasks, "_swap_current_task"):  # since Python 3.12
            running._task = asyncio.current_task(running._loop)
            if running._task is not None:  # to swap nothing for nothing raises KeyError
                asyncio.tasks._swap_current_task(running._loop, None)
        asyncio._set_running_loop(None)
        return running

    def entered(self) -> None:
        """Enter the loop again."""
        asyncio._set_running_loop(self._loop)
        if self._task is not None:
            asyncio.tasks._swap_current_task(self._loop, self._task)  # type: ignore[attr-defined, unused-ignore]
        sys.set_asyncgen_hooks(*self._hooks)
