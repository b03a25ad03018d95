"""SQL statements by name, and transactions. In a .sql file, each statement follows a line `-- name: ...`.

The statements run on SQLite and, where desks share a database, on PostgreSQL: `main` is the schema of a file, and stands for the desks' schema.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from itertools import count
from typing import Any, Protocol

_MAIN = re.compile(r"\bmain\b")


class Rows(Protocol):
    """The rows that a statement returned."""

    def __iter__(self) -> Iterator[Any]:
        """Yield each row."""
        ...

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """Return all rows."""
        ...


class Connection(Protocol):
    """A connection to tables of the desk."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Rows:
        """Run one statement, with a value for each `?`."""
        ...

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]], /) -> object:
        """Run one statement for each row of values."""
        ...


@cache
def statements(package: str, file: str) -> Mapping[str, str]:
    """Return the statements of `file` in the `sql` folder of a package, by name."""
    text = (resources.files(package) / "sql" / file).read_text(encoding="utf-8")
    named = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(named[1::2], named[2::2], strict=True))


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as a transaction. Roll back what an error leaves open. Raises sqlite3.Error."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            with suppress(sqlite3.Error):  # SQLite may already have rolled back
                connection.execute("ROLLBACK")


@cache
def numbered(statement: str, schema: str) -> str:
    """Return a statement for PostgreSQL: with `$1` for the first `?`, and with the desks' schema for `main`."""
    numbers = count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", _MAIN.sub(schema, statement))
