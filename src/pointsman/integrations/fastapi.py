"""Run an engine inside a FastAPI application, and mount its API and its pages there.

    pointsman = Pointsman("cases.db", [claims], access=my_access)
    app = FastAPI(lifespan=pointsman.lifespan)
    app.mount("/cases", pointsman.app)

A route of the application gets the engine as a parameter: `engine: Annotated[Engine, Depends(pointsman.engine)]`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from pointsman.definition.process import AnyProcess
from pointsman.errors import EngineStopped
from pointsman.runtime.engine import Engine
from pointsman.server.access import Access
from pointsman.server.app import create_app
from pointsman.web import pages


class Pointsman:
    """An engine for an application: open while the application runs."""

    def __init__(self, path: str | Path, processes: Sequence[AnyProcess], *, access: Access, **options: Any) -> None:
        """Name the database and the processes. `access` finds out who calls; `options` are those of `Engine.open`."""
        self._path = path
        self._processes = processes
        self._options = options
        self.app = create_app(None, access, pages())

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Hold the engine open while the application runs. Raises StoreError, DefinitionError."""
        async with Engine.open(self._path, self._processes, **self._options) as engine:
            self.app.state.engine = engine
            try:
                yield
            finally:
                self.app.state.engine = None

    def engine(self) -> Engine:
        """Return the open engine: a dependency of the application's own routes. Raises EngineStopped outside the lifespan."""
        engine: Engine | None = self.app.state.engine
        if engine is None:
            raise EngineStopped("the engine is not open; pass `lifespan=pointsman.lifespan` to the application.")
        return engine
