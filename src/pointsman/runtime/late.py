"""Late results: a call that ends after its step has ended is recorded as an event, and its usage is counted."""

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from pydantic_core import to_json

from pointsman.definition.nodes import AnyNode
from pointsman.errors import EngineStopped, StoreError
from pointsman.kernel.codec import message_of, short
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.guarding import taken_apart
from pointsman.runtime.calls import GivenUp
from pointsman.runtime.commits import Commits


class LateResults:
    """Records late results."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self._telling: set[asyncio.Task[None]] = set()  # an event loop holds its tasks weakly

    def given_up(self, case: int, name: str, node: AnyNode, attempt: int) -> GivenUp | None:
        """Return the callback for a plain function that ends after the engine gave up on it; None for a function that needs no thread."""
        if node.asynchronous or node.inline:
            return None
        return partial(self._ended, asyncio.get_running_loop(), case, name, node, attempt)

    def tell(self, case: int, event: Event) -> None:
        """Commit the event if the engine is still open."""
        telling = asyncio.ensure_future(self._append(case, event))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    def _ended(self, loop: asyncio.AbstractEventLoop, case: int, name: str, node: AnyNode, attempt: int, thread: Future[Any]) -> None:
        """Runs in the function's thread."""
        if thread.cancelled():
            return
        error = thread.exception()
        if error is not None:
            facts = {"result": f"{type(error).__name__}: {message_of(error)}"}
        elif node.guard is not None:
            answer = taken_apart(thread.result())
            facts = {"result": short(_json(answer.output)), **answer.facts}
        else:
            facts = {"result": short(_json(thread.result()))}
        with suppress(RuntimeError):  # the loop is closed, and the engine with it
            loop.call_soon_threadsafe(self.tell, case, Event(Kind.NODE_LATE, name, attempt, facts))

    async def _append(self, case: int, event: Event) -> None:
        with suppress(StoreError, EngineStopped):  # the engine is closed, or reports this error itself
            await self._commits.append(case, event)


def _json(value: object) -> str:
    try:
        return to_json(value, fallback=str, inf_nan_mode="strings").decode()
    except Exception as error:
        return f"{type(value).__name__}, which cannot be shown ({message_of(error)})"
