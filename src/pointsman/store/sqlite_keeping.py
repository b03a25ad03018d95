"""What a SQLite store deletes: expired cases, the content of an erased case, unused blobs, and unused space.

`expire` and `erase` run in the core's transaction. `unreferenced` only reads, page by page; on a file it has its own connection,
so that it blocks neither the writer nor a checkpoint.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pointsman.kernel.events import Kind, skeleton_of
from pointsman.kernel.rows import EventWrite
from pointsman.store.base import erased_key
from pointsman.store.journal import rewritten
from pointsman.store.sqlite_file import RETURNS_PAGES

Sql = Mapping[str, str]

PAGE_ROWS = 500  # rows per read: it ends before the WAL has grown much
COMPACT_PAGES = 250  # of a slice of `compact`: about 3 ms of the writer's time
INCREMENTAL = 2  # the value of `auto_vacuum` of a file that returns pages (https://www.sqlite.org/pragma.html#pragma_auto_vacuum)
BELONGINGS = ("journal", "effects", "pauses", "branches", "messages", "erased_keys", "case_usage", "search", "words", "cases")
REFERENCE = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")  # any digest counts, wherever an author stores it


def outcomes(connection: sqlite3.Connection, sql: Sql, process: str) -> list[str]:
    """The outcomes of the cases of a process that are done, with one index look-up for each."""
    found: list[str] = []
    row = connection.execute(sql["first_outcome"], (process, "")).fetchone()
    while row is not None:
        found.append(row[0])
        row = connection.execute(sql["next_outcome"], (process, row[0])).fetchone()
    return found


def expire(connection: sqlite3.Connection, sql: Sql, cases: Sequence[int]) -> None:
    """Delete cases with everything that belongs to them."""
    for belongings in BELONGINGS:
        connection.execute(sql[f"expire_{belongings}"], (json.dumps(cases),))


def erase(connection: sqlite3.Connection, sql: Sql, incarnation: str, case: int) -> None:
    """Delete the content of a case, and keep its skeleton."""
    for process, tenant, name, key in connection.execute(sql["keys_of_case"], {"case": case}).fetchall():
        connection.execute(sql["insert_erased_key"], (process, tenant, name, erased_key(incarnation, process, name, key), case))
    for statement in ("erase_case", "erase_fields", "erase_messages", "erase_effects", "erase_search", "erase_words", "delete_branches"):
        connection.execute(sql[statement], (case,))
    rows = connection.execute(sql["select_facts"], (case,)).fetchall()
    connection.executemany(sql["rewrite_facts"], [(rewritten(events, _emptied), row) for row, events in rows])


def _emptied(event: EventWrite) -> EventWrite:
    return event if event.kind == Kind.ERASED else event._replace(facts=skeleton_of(event.facts))


def unreferenced(connection: sqlite3.Connection, sql: Sql, before: float, stop: Callable[[], bool]) -> list[tuple[str, int]]:
    """The blobs last kept before `before` that nothing refers to, with their sizes; empty if `stop` ends the search."""
    old = dict(connection.execute(sql["select_old_blobs"], (before,)).fetchall())
    for text in _texts(connection, sql) if old else ():
        for digest in REFERENCE.findall(text):
            old.pop(digest, None)
        if stop():
            return []
        if not old:
            break
    return sorted(old.items())


def _texts(connection: sqlite3.Connection, sql: Sql) -> Iterator[str]:
    """Every stored text that may refer to a blob. Fields come last, because all other texts may be copied to them."""
    for (outcome,) in connection.execute(sql["scan_branches"]):
        yield outcome
    for scan, begin in (("scan_messages", (0,)), ("scan_effects", ("",)), ("scan_fields", (0,))):
        place: tuple[Any, ...] | None = begin
        while place is not None:
            begun, place = place, None
            for number, row in enumerate(connection.execute(sql[scan], (*begun, PAGE_ROWS)), 1):
                place = row[:-1] if number == PAGE_ROWS else None
                yield row[-1]


def compact(connection: sqlite3.Connection) -> tuple[int, bool]:
    """Return some unused pages of the file to the system; after the last ones, empty the WAL.

    Returns the number of bytes freed, and whether there are more. A file of an earlier release is rewritten whole, once.
    """
    before = _size(connection)
    if _setting(connection, "auto_vacuum") != INCREMENTAL:
        connection.execute(RETURNS_PAGES)
        connection.execute("VACUUM")
    connection.executescript(f"PRAGMA incremental_vacuum({COMPACT_PAGES})")  # `execute` would return one page
    freed = max(0, before - _size(connection))
    more = freed > 0 and _setting(connection, "freelist_count") > 0
    if not more:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return freed, more


def _size(connection: sqlite3.Connection) -> int:
    return _setting(connection, "page_count") * _setting(connection, "page_size")


def _setting(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
