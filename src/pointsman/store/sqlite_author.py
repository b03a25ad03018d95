"""What an author's transaction may do in a SQLite store: read everything, and write to its own tables."""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from pointsman.errors import DefinitionError
from pointsman.store.statements import migrations

STATEMENT_SHOWN = 120  # characters of a refused statement: enough to find it in the code

_MADE = re.compile(r"^CREATE (?:TABLE|VIEW) (\w+)", re.MULTILINE)
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_OUTSIDE = {
    sqlite3.SQLITE_TRANSACTION: "begins or ends the engine's commit",
    sqlite3.SQLITE_SAVEPOINT: "begins or ends a part of the engine's commit",
    sqlite3.SQLITE_ATTACH: "opens another file in the engine's connection",
    sqlite3.SQLITE_DETACH: "closes a file in the engine's connection",
    sqlite3.SQLITE_PRAGMA: "changes or asks a setting of the engine's file",
    # Temporary objects outlive the transaction and can hide an engine's table of the same name.
    sqlite3.SQLITE_CREATE_TEMP_TABLE: "makes a temporary table, which outlives the transaction",
    sqlite3.SQLITE_CREATE_TEMP_VIEW: "makes a temporary view, which outlives the transaction",
    sqlite3.SQLITE_CREATE_TEMP_TRIGGER: "makes a temporary trigger, which outlives the transaction",
}
_ROLLBACK = re.compile(r"\bROLLBACK\b", re.IGNORECASE)  # SQLite does not ask the authorizer about ON CONFLICT ROLLBACK


@cache
def own_tables() -> frozenset[str]:
    """The engine's tables and views, which the migrations create, in lower case."""
    return frozenset(name for _, text in migrations("sqlite") for name in _MADE.findall(text))


class AuthorsDatabase:
    """The database handle of a transaction, valid until the transaction is over. Make it with `authors_database`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._refused = ""

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows.

        Raises sqlite3.Error, and DefinitionError if the statement would change the engine's tables or transaction.
        """
        if self._connection is None:
            raise DefinitionError(f"{_shown(statement)}: the transaction is over; use its `db` only inside the function that gets it.")
        if _ROLLBACK.search(statement):
            reason = "it contains ROLLBACK, which would undo the writes of other cases in the same commit"
            raise DefinitionError(
                f"{_shown(statement)}: not authorized, as {reason}; use ABORT, or raise an exception to roll the rows back."
            )
        self._refused = ""
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except sqlite3.DatabaseError as error:
            if " view" in str(error):  # SQLite refuses to write to a view without asking the authorizer
                self._refuse_own(re.findall(r"\w+", str(error)))
            if self._refused:
                raise DefinitionError(f"{_shown(statement)}: not authorized, as {self._refused}.") from None
            raise

    def over(self) -> None:
        """Close the handle: every later statement is refused."""
        self._connection = None

    def authorize(self, action: int, first: str | None, second: str | None, *_: object) -> int:
        """Allow or deny one action of a statement (https://www.sqlite.org/c3ref/set_authorizer.html)."""
        if action in _READS:
            return sqlite3.SQLITE_OK
        if action in _OUTSIDE:
            self._refused = f"it {_OUTSIDE[action]}; a transaction reads and writes rows: do this on the file while no engine has it open"
            return sqlite3.SQLITE_DENY
        # For an index, a trigger or ALTER TABLE, the table is the second argument.
        return sqlite3.SQLITE_DENY if self._refuse_own((first, second)) else sqlite3.SQLITE_OK

    def _refuse_own(self, names: Iterable[str | None]) -> bool:
        """Refuse the statement if one of these names is an engine's table, and return whether it is."""
        touched = next((name for name in names if name is not None and name.lower() in own_tables()), None)
        if touched is not None:
            self._refused = f"{touched!r} is the engine's own; a transaction may read it, so write to a table of your own"
        return touched is not None


@contextmanager
def authors_database(connection: sqlite3.Connection) -> Iterator[AuthorsDatabase]:
    """Give the author's handle. Inside the block, no statement can change the engine's tables, their indexes, or its transaction."""
    db = AuthorsDatabase(connection)
    connection.set_authorizer(db.authorize)
    try:
        yield db
    finally:
        connection.set_authorizer(None)
        db.over()


def _shown(statement: str) -> str:
    text = " ".join(statement.split())
    return f"`{text if len(text) <= STATEMENT_SHOWN else text[: STATEMENT_SHOWN - 1] + '…'}`"
