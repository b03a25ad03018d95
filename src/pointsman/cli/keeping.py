"""The command that keeps a file small."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pointsman.cli import operating
from pointsman.cli.places import database, named_processes
from pointsman.cli.terminal import App, Db, or_exit
from pointsman.definition.process import AnyProcess
from pointsman.runtime.clock import SystemClock
from pointsman.runtime.registry import Registry
from pointsman.runtime.retention import Vacuumed
from pointsman.runtime.retention import vacuum as vacuum_store
from pointsman.store.sqlite import open_sqlite
from pointsman.store.sqlite_reader import SqliteReader


def vacuum(db: Db = None, app: App = None) -> None:
    """Apply retention, delete unused blobs, and shrink the file.

    The program that has the file open does it; if there is none, this command. --app can name a list of processes. Without it no case is deleted,
    because only a process declares its retention.
    """

    async def clean(path: Path, processes: Sequence[AnyProcess]) -> Vacuumed:
        with SqliteReader(path):  # check the file before changing it
            clock = SystemClock()
        store = await open_sqlite(path, now=clock.now())
        try:
            clock.not_before(store.clock_high_water)
            return await vacuum_store(store, processes, clock)
        finally:
            await store.close()

    def body() -> None:
        if not operating.vacuum_through(db):
            vacuumed = asyncio.run(clean(database(db), Registry(named_processes(app)).newest))
            operating.print_vacuumed(*vacuumed)

    or_exit(body)
