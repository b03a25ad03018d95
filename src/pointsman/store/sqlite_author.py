"""The author's half of a SQLite database: what a transaction may do there, and what it may not."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

OWN_TABLES = frozenset(
    {"cases", "fields", "events", "effects", "pauses", "branches", "case_usage", "day_usage", "messages", "blobs", "limits", "definitions", "schedules", "erased_keys", "meta", "states"}
)  # fmt: skip

_WRITES = {
    sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_ALTER_TABLE, sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_DROP_INDEX, sqlite3.SQLITE_CREATE_INDEX,
}  # fmt: skip
# What is temporary outlives the transaction, and hides the engine's table of the same name.
_OUTSIDE = {
    sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_CREATE_TEMP_TABLE, sqlite3.SQLITE_CREATE_TEMP_VIEW, sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
}  # fmt: skip
_ROLLBACK = re.compile(r"\bROLLBACK\b", re.IGNORECASE)  # as a conflict's resolution no authorizer is asked about it


class AuthorsDatabase:
    """The handle that a transaction gets."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and answer its rows. Raises sqlite3.Error, "not authorized" where it would touch what is the engine's."""
        if _ROLLBACK.search(statement):
            raise sqlite3.ProgrammingError("not authorized: ROLLBACK would take back what other cases write in the same commit; say ABORT")
        return self._connection.execute(statement, parameters).fetchall()


@contextmanager
def own_tables_guarded(connection: sqlite3.Connection) -> Iterator[None]:
    """Within the block no statement writes the engine's tables, or ends the engine's transaction (sqlite.org/c3ref/set_authorizer.html)."""

    def authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
        touches = first in OWN_TABLES or (action in {sqlite3.SQLITE_CREATE_TRIGGER, sqlite3.SQLITE_CREATE_INDEX} and second in OWN_TABLES)
        return sqlite3.SQLITE_DENY if action in _OUTSIDE or (action in _WRITES and touches) else sqlite3.SQLITE_OK

    connection.set_authorizer(authorize)
    try:
        yield
    finally:
        connection.set_authorizer(None)
