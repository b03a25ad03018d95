"""Call an author's function: with its fields and resources, within its time, and in a thread where it is a plain one."""

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from pointsman.definition.nodes import AnyNode, Context
from pointsman.definition.state import Blob
from pointsman.errors import NotSent
from pointsman.kernel.codec import codec_of, message_of
from pointsman.runtime.hold import Hold
from pointsman.runtime.ports import Ports


@dataclass(frozen=True, slots=True)
class Calls:
    """What calling takes: the seams, the resources by name, and the threads for plain functions."""

    ports: Ports
    resources: Mapping[str, Any]
    threads: Executor

    async def call(self, hold: Hold, node: AnyNode, *, attempt: int, key: str = "", timeout_seconds: float | None = None) -> object:
        """Call a node or an effect. Raises what it raises, and TimeoutError after `timeout_seconds`.

        A thread cannot be stopped: a plain function that runs out of time is left to its end, and its result is dropped.
        """
        self.ports.points("effect.call" if key else "node.call")
        result = await self.invoke(
            node.function,
            node,
            hold,
            attempt=attempt,
            key=key,
            timeout_seconds=timeout_seconds,
            asynchronous=node.asynchronous,
        )
        self.ports.points("effect.called" if key else "node.called")
        return result

    async def invoke(
        self, function: Callable[..., Any], node: AnyNode, hold: Hold, *, attempt: int, key: str, timeout_seconds: float | None, asynchronous: bool,
        only: tuple[frozenset[str], frozenset[str]] | None = None,
    ) -> object:  # fmt: skip
        """Call `function` with the node's fields and resources, or with those of them that `only` names (reads, uses)."""
        cells, codec = hold.snapshot.cells, codec_of(hold.process.state)
        reads = {name: codec.fresh(cells, name) for name in node.signature.reads if only is None or name in only[0]}
        uses = {name: self.resources.get(name) for name in node.signature.uses if only is None or name in only[1]}
        if "ctx" in (uses if only is None else only[1]):
            uses["ctx"] = Context(
                hold.snapshot.case,
                node.name,
                attempt,
                self.ports.clock.now(),
                key,
                self.ports.store.incarnation,
                self.read,
            )
        thread = None if asynchronous else self._threaded(function, reads, uses)
        call = function(*reads.values(), **uses) if thread is None else asyncio.wrap_future(thread)
        try:
            if timeout_seconds is None:
                return await call
            async with asyncio.timeout(timeout_seconds):
                return await call
        except TimeoutError:
            if thread is not None and thread.cancelled():
                raise NotSent("no thread was free in time; open the engine with more threads") from None
            raise
        except Exception:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            stopping = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
            if stopping or isinstance(error, KeyboardInterrupt):
                raise
            raise RuntimeError(f"{node.name!r} ended itself with {type(error).__name__}: {message_of(error)}") from None

    async def read(self, blob: Blob) -> bytes:
        """The content of a blob, for `Context.read`."""
        content = await self.ports.store.blob(blob)
        if content is None:
            raise KeyError(f"blob {blob.sha256[:12]} is not in the store")
        return content

    def _threaded(self, function: Callable[..., Any], reads: Mapping[str, Any], uses: Mapping[str, Any]) -> Future[Any]:
        context = contextvars.copy_context()

        def call() -> Any:
            try:
                return context.run(function, *reads.values(), **uses)
            except StopIteration as error:
                raise RuntimeError("it raised StopIteration") from error  # which no future can hold

        return self.threads.submit(call)
