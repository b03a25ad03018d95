"""What an author's transaction may do in a PostgreSQL store: read everything, and write to its own tables."""

import asyncio
import re
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from psycopg import AsyncConnection
from psycopg.raw_cursor import AsyncRawCursor

from pointsman.errors import DefinitionError

STATEMENT_SHOWN = 120  # characters of a refused statement: enough to find it in the code

_ENDS = re.compile(
    r"\s*(?:begin|start|commit|end|rollback|abort|savepoint|release|prepare|set|reset|listen|notify|discard|lock|copy|vacuum)\b",
    re.IGNORECASE,
)
# What is no placeholder: a string, a quoted name, a comment. Then a placeholder, as SQLite writes it.
_PARTS = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\2\$)|\?""", re.DOTALL)


class AuthorsDatabase:
    """The database handle of a transaction, for the author's thread: its statements run on the engine's connection."""

    def __init__(self, connection: AsyncConnection[Any], loop: asyncio.AbstractEventLoop, schema: str) -> None:
        self._connection: AsyncConnection[Any] | None = connection
        self._loop = loop
        self._writes_ours = re.compile(
            rf"\b(?:insert\s+into|update|delete\s+from|truncate|alter|drop|create)\b[^;]*?\b{schema}\.", re.IGNORECASE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection = None

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows. A `?` stands for a parameter.

        Raises psycopg.Error, and DefinitionError if the statement would change the engine's tables or transaction.
        """
        if _ENDS.match(statement):
            raise DefinitionError(
                f"a transaction ends or changes the engine's commit: {statement[:STATEMENT_SHOWN]!r}; leave that to the engine."
            )
        if self._writes_ours.search(statement):
            raise DefinitionError(
                f"a transaction changes the engine's tables: {statement[:STATEMENT_SHOWN]!r}; write to tables of your own."
            )
        return asyncio.run_coroutine_threadsafe(self._run(numbered(statement), parameters), self._loop).result()

    async def _run(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        # Looked at in the event loop, where a cancelled transaction also ends: afterwards somebody else may use the connection.
        if self._connection is None:
            raise DefinitionError("a transaction has used its database after it returned; do all of its work before it returns.")
        cursor = AsyncRawCursor(self._connection)
        await cursor.execute(statement.encode(), list(parameters) or None)
        return await cursor.fetchall() if cursor.description else []


def numbered(statement: str) -> str:
    """A statement with PostgreSQL's placeholders, `$1`, for SQLite's, `?`."""
    count = 0

    def place(found: re.Match[str]) -> str:
        nonlocal count
        if found[1] is not None:
            return found[0]
        count += 1
        return f"${count}"

    return _PARTS.sub(place, statement)
