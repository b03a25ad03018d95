"""SQL statements by name, and transactions. In a .sql file, each statement follows a line `-- name: ...`."""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources


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
