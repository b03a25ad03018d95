"""The engine for scripts and notebooks: the same calls, each waiting for its answer, with the event loop in a thread."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, overload

from pointsman.definition.process import AnyProcess, Process
from pointsman.definition.state import Blob, State
from pointsman.runtime.answers import Pending
from pointsman.runtime.engine import Engine
from pointsman.runtime.retention import Vacuumed
from pointsman.runtime.starts import Delivered, Started
from pointsman.store.base import CaseRow

T = TypeVar("T")
S = TypeVar("S", bound=State)


class BlockingEngine:
    """An engine whose methods wait. They do what `Engine`'s methods of the same names do, and raise what those raise."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._loop = loop

    @property
    def abandoned(self) -> int:
        """How many plain functions were given up and still run."""
        return self._engine.abandoned

    def start(
        self, process: Process[S] | str, state: S | Mapping[str, Any], *, key: str | None = None, correlation: str | None = None,
        tenant: str = "", priority: int = 0,
    ) -> Started:  # fmt: skip
        """Start a case."""
        return self._wait(self._engine.start(process, state, key=key, correlation=correlation, tenant=tenant, priority=priority))

    def send(
        self, process: AnyProcess | str, message: object, *, name: str | None = None, key: str | None = None, tenant: str = "", priority: int = 0
    ) -> Delivered:  # fmt: skip
        """Deliver a message."""
        return self._wait(self._engine.send(process, message, name=name, key=key, tenant=tenant, priority=priority))

    def keep(self, content: bytes) -> Blob:
        """Store a large value."""
        return self._wait(self._engine.keep(content))

    def settled(self, case: int) -> CaseRow:
        """Wait until the case waits for somebody, is parked or has ended."""
        return self._wait(self._engine.settled(case))

    def idle(self) -> None:
        """Wait until nothing moves by itself any more."""
        self._wait(self._engine.idle())

    @overload
    def state(self, case: int) -> Any: ...
    @overload
    def state(self, case: int, of: type[S]) -> S: ...

    def state(self, case: int, of: type[State] = State) -> Any:
        """The state of a case, which is one `of` this type."""
        return self._wait(self._engine.state(case, of))

    def pending(self, case: int) -> Pending:
        """What a case waits for."""
        return self._wait(self._engine.pending(case))

    def resume(self, token: str, answer: object, *, by: str, edits: Mapping[str, object] | None = None) -> CaseRow:
        """Answer a pause."""
        return self._wait(self._engine.resume(token, answer, by=by, edits=edits))

    def cancel(self, case: int, *, by: str, why: str) -> CaseRow:
        """End a case from outside."""
        return self._wait(self._engine.cancel(case, by=by, why=why))

    def redrive(self, case: int, *, by: str, why: str, fields: Mapping[str, object] | None = None) -> CaseRow:
        """Put a parked case back into the line."""
        return self._wait(self._engine.redrive(case, by=by, why=why, fields=fields))

    def resolve(self, key: str, *, happened: bool, by: str, why: str, outcome: object = None, calls: int | None = None) -> CaseRow:
        """Say what became of an effect in doubt."""
        return self._wait(self._engine.resolve(key, happened=happened, by=by, why=why, outcome=outcome, calls=calls))

    def erase(self, case: int, *, by: str, why: str) -> CaseRow:
        """Take away what a case knows."""
        return self._wait(self._engine.erase(case, by=by, why=why))

    def vacuum(self) -> Vacuumed:
        """Let go at once of all that was kept long enough, and give its space back."""
        return self._wait(self._engine.vacuum())

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


@contextmanager
def open_blocking(
    path: str | Path, processes: Sequence[AnyProcess], *, resources: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[BlockingEngine]:
    """Open an engine whose calls wait; `settings` are those of `Engine.open`. For scripts and notebooks."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="pointsman-loop", daemon=True)
    thread.start()
    opening = Engine.open(path, processes, resources=resources, **settings)
    try:
        engine = asyncio.run_coroutine_threadsafe(opening.__aenter__(), loop).result()
        try:
            yield BlockingEngine(engine, loop)
        finally:
            asyncio.run_coroutine_threadsafe(opening.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
