"""How a SQLite file stands."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from pointsman.store.health import EngineHealth, Room, Server, StoreHealth, Tables, Times
from pointsman.store.sqlite_file import beside, connect_to_look, engine_process, explained, has_engine, mirrors, real, tables_of, why_closed
from pointsman.store.statements import migrations, statements

SETTINGS = ("journal_mode",)  # what the file itself has; an engine flushes each commit, whatever a file says


def health_of(path: Path) -> StoreHealth:
    """Look at a file, also one that an engine has open. Changes nothing. Raises StoreError with the fix."""
    with closing(connect_to_look(path)) as connection, explained(path):
        settings = {name: str(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in SETTINGS}
        tables = Tables(tables_of(connection), migrations("sqlite")[-1][0])
        saved, later = (
            connection.execute(statements("sqlite")["highest_time"]).fetchone() if tables.number == tables.newest else ("0", None)
        )
        closed, mirror = why_closed(connection, path), mirrors(connection)
    room = Room(_size(real(path)), _size(beside(path, "-wal")), shutil.disk_usage(real(path).parent).free)
    times = Times(None, max(float(saved), later or 0.0))
    return StoreHealth(Server("SQLite", sqlite3.sqlite_version, settings, mirror), tables, room, times, _engines(path), closed)


def _engines(path: Path) -> tuple[EngineHealth, ...]:
    return (EngineHealth(f"process {engine_process(path) or 'unknown'}", None, alive=True),) if has_engine(path) else ()


def _size(file: Path) -> int:
    try:
        return os.stat(file).st_size  # noqa: PTH116 - also of a file that has just gone
    except FileNotFoundError:
        return 0
