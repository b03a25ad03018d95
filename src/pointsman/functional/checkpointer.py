"""The database of entrypoints, and the engine that runs them."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pointsman.errors import DefinitionError
from pointsman.functional.process import EntrypointProcess
from pointsman.runtime.blocking import BlockingEngine, open_blocking


def children_of(process: EntrypointProcess) -> Iterator[EntrypointProcess]:
    """The processes of the entrypoints that a body calls, and of those that they call."""
    for child in process.children:
        yield child
        yield from children_of(child)


class Checkpointer:
    """A database, `Checkpointer("cases.db")`, for the entrypoints that are declared with it.

    The engine is opened by the first call, by `open`, or by entering the block, and from then on runs every open case in the database. Leave the block, or
    call `close`, to end it; it also ends with the process, and nothing that is committed is lost then. `resources` and `settings` are those of `Engine.open`.
    """

    def __init__(self, path: str | Path, *, resources: Mapping[str, Any] | None = None, **settings: Any) -> None:
        self._path = path
        self._resources = resources
        self._settings = settings
        self._processes: list[EntrypointProcess] = []
        self._opening: AbstractContextManager[BlockingEngine] | None = None
        self._engine: BlockingEngine | None = None
        self._changing = threading.Lock()

    def add(self, process: EntrypointProcess) -> None:
        """Take in the process of an entrypoint. Raises DefinitionError once the engine is open."""
        with self._changing:
            if self._engine is not None:
                raise DefinitionError(
                    f"entrypoint {process.name!r} was declared after the engine was opened; declare it before the first call."
                )
            self._processes += [one for one in (process, *children_of(process)) if one not in self._processes]

    @property
    def engine(self) -> BlockingEngine:
        """The engine, which this opens if it is not open. Raises what `Engine.open` raises."""
        with self._changing:
            if self._engine is None:
                opening = open_blocking(self._path, self._processes, resources=self._resources, **self._settings)
                self._engine, self._opening = opening.__enter__(), opening
            return self._engine

    def open(self) -> Self:
        """Open the engine, so that the open cases in the database go on without any call. Raises what `Engine.open` raises."""
        assert self.engine is not None
        return self

    def close(self) -> None:
        """Close the engine. Does nothing if it is not open."""
        with self._changing:
            opening, self._opening, self._engine = self._opening, None, None
        if opening is not None:
            opening.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
