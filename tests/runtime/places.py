"""Where the cases of a test live, and how a test of the engine runs."""

import asyncio
import sqlite3
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, closing
from contextvars import ContextVar
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from pointsman import Engine
from pointsman.definition.process import AnyProcess
from pointsman.kernel.rows import EventRow
from pointsman.store.base import DefinitionRow
from pointsman.store.memory import MemoryStore

T = TypeVar("T")

BOUND = ContextVar[asyncio.Timeout]("BOUND")
LEASE_SECONDS = 900.0  # of engines on a real server, whose clock does not stop while the machine is busy or the test stands still
HANG_SECONDS = 60  # far beyond any test here, also on PostgreSQL and a busy machine: one that waits for ever fails instead


class Place:
    """A store that is found again when an engine opens it again."""

    def __init__(self, path: Path, store: MemoryStore | None = None) -> None:
        self.path = path
        self.store = store
        self._random = Random(7)  # one for all engines of a place, as tokens must not come twice

    def open(self, *processes: AnyProcess, **settings: Any) -> AbstractAsyncContextManager[Engine]:
        """An engine on this place, which gives running steps no grace when it is left."""
        given = {"grace_seconds": 0.0, "random": self._random, "store": self.store, **settings}
        return Engine.open(self.path, processes, **given)

    def dump(self) -> object:
        """Everything that the store holds, to be compared with a later dump."""
        if self.store is not None:
            return _tables(self.store.core.connection)
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as connection:
            return _tables(connection)


def _tables(connection: sqlite3.Connection) -> dict[str, list[Any]]:
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for (name,) in tables}


def run(main: Coroutine[Any, Any, T], *, seconds: float = HANG_SECONDS) -> T:
    """Run a test's scenario, and fail where it hangs."""

    async def bounded() -> T:
        async with asyncio.timeout(seconds) as bound:
            BOUND.set(bound)
            return await main

    return asyncio.run(bounded())


async def seen(engine: Engine, kind: str, *, count: int = 1) -> EventRow:
    """Wait until `count` events of this kind have been committed, and answer the last of them."""
    async for event in engine.events():
        count -= event.kind == kind
        if count == 0:
            return event
    raise AssertionError(kind)


async def definitions_with(engine: Engine, process: AnyProcess) -> list[DefinitionRow]:
    """Wait until the engine has looked at what waits under an earlier definition, and answer the definitions that are stored then."""
    while True:
        definitions = await engine.reader.definitions()
        if any(row.fingerprint == process.fingerprint for row in definitions):
            return definitions
        await asyncio.sleep(0)


async def let_pass(seconds: float) -> None:
    """Let so many seconds pass at once for the timers of the event loop that are set by now, except the bound of `run`."""
    loop, bound = asyncio.get_running_loop(), BOUND.get()
    for _ in range(20):
        await asyncio.sleep(0)  # the timer of a call that has begun is set in the next turns of the loop
    bound.reschedule((bound.when() or 0.0) + seconds)
    earlier = loop.time
    loop.time = lambda: earlier() + seconds  # type: ignore[method-assign]


def held() -> list[str]:
    """The names of the tasks that hold a case."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("pointsman-case")]
