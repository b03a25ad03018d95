"""What an author's transaction may do in a PostgreSQL store: read everything, and write to its own tables."""

import asyncio
import re
from collections.abc import Sequence
from functools import cache
from types import TracebackType
from typing import Any, Self

from psycopg import AsyncConnection
from psycopg.raw_cursor import AsyncRawCursor

from pointsman.errors import DefinitionError
from pointsman.store.postgres.connections import Connections, rows_of
from pointsman.store.statements import migrations

STATEMENT_SHOWN = 120  # characters of a refused statement: enough to find it in the code

_ENDS = re.compile(
    r"(?:begin|start|commit|end|rollback|abort|savepoint|release|prepare|deallocate|set|reset|listen|unlisten|notify|discard|lock|copy|vacuum)\b",
    re.IGNORECASE,
)
# What is no placeholder: a string, a quoted name, a comment. Then a placeholder, as SQLite writes it.
_PARTS = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\2\$)|\?""", re.DOTALL)
_COMMENT = re.compile(r"/\*|\*/")
_MADE = re.compile(r"^CREATE (?:TABLE|VIEW) pointsman\.(\w+)", re.MULTILINE)


@cache
def own_tables() -> Sequence[str]:
    """The engine's tables and views, which the migrations create."""
    return [name for _, text in migrations("postgres") for name in _MADE.findall(text)]


class AuthorsDatabase:
    """The database handle of a transaction, for the author's thread: its statements run on the engine's connection.

    The server says what a statement has changed: it holds a lock on each table that it writes to, however the statement names the table,
    and also if a function or a trigger writes to it.
    """

    def __init__(self, connection: AsyncConnection[Any], loop: asyncio.AbstractEventLoop, connections: Connections) -> None:
        self._connection: AsyncConnection[Any] | None = connection
        self._loop = loop
        self._changed = connections.sql["changed_ours"]
        self._ours = {"schema": connections.place.schema, "tables": [*own_tables()]}
        self._refused: DefinitionError | None = None
        self._under_way: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection = None
        if error is not None:  # the author's thread may go on: a statement after the rollback would be a transaction of its own
            for statement in self._under_way:
                statement.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._refused is not None:  # also if the author's code went on: what was refused has been written, and must not be committed
            raise self._refused

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows. A `?` stands for a parameter.

        Raises psycopg.Error, and DefinitionError if the statement would change the engine's tables or transaction.
        """
        if _ENDS.match(uncommented(statement)):
            raise DefinitionError(
                f"a transaction ends or changes the engine's commit: {statement[:STATEMENT_SHOWN]!r}; leave that to the engine."
            )
        return asyncio.run_coroutine_threadsafe(self._run(statement, parameters), self._loop).result()

    async def _run(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        # Looked at in the event loop, where a cancelled transaction also ends: afterwards somebody else may use the connection.
        connection = self._connection
        if connection is None:
            raise DefinitionError("a transaction has used its database after it returned; do all of its work before it returns.")
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        cursor = AsyncRawCursor(connection)
        async with connection.pipeline():  # which takes one statement at a time: a second one could end the commit
            await cursor.execute(numbered(statement).encode(), list(parameters) or None)
        # Not in the pipeline, for the reason that `Writing.run` gives.
        if changed := await rows_of(connection, self._changed, self._ours):
            self._refused = DefinitionError(
                f"a transaction changes the engine's tables ({changed[0][0]}): {statement[:STATEMENT_SHOWN]!r}; write to tables of your own."
            )
            raise self._refused
        return await cursor.fetchall() if cursor.description else []


def uncommented(statement: str) -> str:
    """A statement without the comments and semicolons before it. PostgreSQL's comments can hold comments."""
    rest = statement.lstrip("; \t\r\n\f\v")
    if rest.startswith("--"):
        return uncommented(rest.partition("\n")[2])
    if not rest.startswith("/*"):
        return rest
    depth = 0
    for mark in _COMMENT.finditer(rest):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return uncommented(rest[mark.end() :])
    return ""


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
