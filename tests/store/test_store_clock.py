"""The highest committed time: found exactly at each opening, whatever was written or refused before."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from pointsman.kernel.rows import EventWrite, FieldWrite, NewCase, Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.sqlite import SqliteStore, open_sqlite
from pointsman.store.sqlite_core import CLOCK_EVENTS

LATE = 1_764_408_647.1234534  # a time of today has 17 digits; SQLite makes 15 of them when it turns a number into a text


async def start(store: SqliteStore, key: str | None, at: float) -> None:
    (number,) = await store.reserve(1)
    fields, events = [FieldWrite("text", '"a"', "")], [EventWrite("accepted", None, 0, "{}")]
    await store.commit(Transition(number, 0, 0, at, Status.PARKED, new=NewCase("p", 1, key), fields=fields, events=events))


async def opened_again(path: Path) -> float:
    """What an engine finds in the file as it is now, as after a crash."""
    dead = path.with_name("dead.db")
    shutil.copy(path, dead)
    shutil.copy(f"{path}-wal", f"{dead}-wal")
    store = await open_sqlite(dead, now=1.0)
    await store.close()
    return store.clock_high_water


def test_starts_with_known_keys_do_not_hide_the_time_of_later_events(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=1.0)
        for _ in range(CLOCK_EVENTS + 10):  # each takes the number of an event, and writes none
            await start(store, "known", 10.0)
        await store.close()

        store = await open_sqlite(path, now=1.0)
        await start(store, "new", 2_000.0)
        assert await opened_again(path) == 2_000.0
        await store.close()

    asyncio.run(main())


def test_the_clock_is_saved_to_the_last_digit(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=1.0)
        await start(store, None, LATE)
        for _ in range(CLOCK_EVENTS + 10):
            await start(store, "known", 10.0)
        with closing(sqlite3.connect(path)) as plain:
            assert plain.execute("SELECT value FROM meta WHERE name = 'clock'").fetchone() == (repr(LATE),)
        assert await opened_again(path) == LATE
        await store.close()

    asyncio.run(main())
