"""The command that keeps a file small."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pointsman.cli import operating
from pointsman.cli.places import database, named_processes, open_reader
from pointsman.cli.terminal import App, Db, or_exit
from pointsman.definition.process import AnyProcess
from pointsman.runtime.clock import SystemClock
from pointsman.runtime.engine import Engine
from pointsman.runtime.registry import Registry
from pointsman.runtime.retention import Vacuumed
from pointsman.runtime.retention import vacuum as vacuum_store
from pointsman.store.sqlite import open_sqlite


def vacuum(db: Db = None, app: App = None) -> None:
    """Apply retention, delete unused blobs, and shrink the file.

    The program that has the file open does it; if there is none, this command. PostgreSQL keeps the space for new rows. --app can name a list of processes. Without it no case is deleted,
    because only a process declares its retention.
    """

    async def clean(place: Path | str, processes: Sequence[AnyProcess]) -> Vacuumed:
        async with open_reader(place):  # check the database before changing it
            clock = SystemClock()
        if not isinstance(place, Path):
            async with Engine.open(place, processes, concurrency=0) as engine:
                return await engine.vacuum()
        store = await open_sqlite(place, now=clock.now())
        try:
            clock.not_before(store.clock_high_water)
            return await vacuum_store(store, processes, clock)
        finally:
            await store.close()

    def body() -> None:
        place = database(db)
        if not (isinstance(place, Path) and operating.vacuum_through(place)):
            vacuumed = asyncio.run(clean(place, Registry(named_processes(app)).newest))
            operating.print_vacuumed(*vacuumed)

    or_exit(body)
