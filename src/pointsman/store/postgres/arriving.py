"""The PostgreSQL database that the cases of a file move into: copy rows in and read them back, all in one transaction."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain, islice
from typing import Any

from psycopg import AsyncConnection, errors

from pointsman.errors import StoreError
from pointsman.store.postgres import schema
from pointsman.store.postgres.connections import SCHEMA, Connections, Place, place_of, rows_of
from pointsman.store.postgres.reader import MOVED_FROM
from pointsman.store.statements import statements

Row = Sequence[Any]

BATCH_ROWS = 10_000  # of one COPY: what it has counted of them is in memory until it ends
_LINE = re.compile(r"^COPY \w+, line (\d+)")  # where PostgreSQL says that a row cannot be stored
NUMBERED = ("messages", "checkpoint_threads", "checkpoint_lines")  # tables that number their rows


class Arriving:
    """A database in a transaction in which no engine can open it. Make it with `arriving`."""

    def __init__(self, connections: Connections, connection: AsyncConnection[Any], facts: Mapping[str, str]) -> None:
        self.place = shown(connections.place)
        self._schema = connections.place.schema
        self._sql = connections.sql
        self._connection = connection
        self._facts = facts

    def moved_from(self) -> tuple[str, str] | None:
        """The incarnation of the file whose cases came in, and the digest of what came in; None if no file's cases did."""
        if MOVED_FROM not in self._facts:
            return None
        return self._facts["incarnation"], str(json.loads(self._facts[MOVED_FROM])["digest"])

    async def forget_lapsed(self) -> None:
        """Forget the engines whose leases have ended, so that they can commit nothing more."""
        lapsed = [engine for (engine,) in await self._do("lock_lapsed", {"skew": 0.0})]
        await self._do("forget_engines", {"engines": lapsed})
        await self._do("forget_commits")

    async def refuse_content(self, tables: Sequence[str]) -> None:
        """Raise StoreError if an engine has the database open, or anything is in it."""
        [(live,)] = await self._do("live_engines")
        if live:
            raise StoreError(f"{self.place} is open in an engine ({live} in all); stop it, or wait until its lease has ended.")
        full = [table for table in tables if (await rows_of(self._connection, self._of(table, "has_rows")))[0][0]]
        if full or self._facts["cases"] != "0":
            raise StoreError(
                f"{self.place} has content of its own (in {', '.join(full[:3]) or 'meta'}); name an empty schema with `?schema=NAME`."
            )

    async def copy_in(self, table: str, columns: Sequence[str], rows: Iterator[Row], told: Callable[[int], None]) -> None:
        """Copy rows in, and tell how many after each batch. Raises StoreError if PostgreSQL cannot store one."""
        statement, done = self._of(table, "copy_in", columns), 0
        for first in rows:
            try:
                async with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
                    for row in chain((first,), islice(rows, BATCH_ROWS - 1)):
                        await copy.write_row(row)
                        done += 1
            except (errors.DataError, errors.ProgramLimitExceeded) as error:
                line = _LINE.search(error.diag.context or "")
                number = (done - 1) // BATCH_ROWS * BATCH_ROWS + int(line[1]) if line else done
                raise StoreError(
                    f"PostgreSQL cannot store row {number:,} of {table} ({error.diag.message_primary}); nothing was moved; erase its case,"
                    " or correct the row in a copy of the file."
                ) from error
            told(done)

    async def rows(self, table: str, columns: Sequence[str]) -> AsyncIterator[Row]:
        """Read the rows of a table back."""
        async with self._connection.cursor() as cursor:
            await cursor.execute(self._of(table, "no_rows", columns))
            types = [column.type_code for column in cursor.description or ()]
            async with cursor.copy(self._of(table, "copy_out", columns)) as copy:
                copy.set_types(types)
                async for row in copy.rows():
                    yield row

    async def set_facts(self, facts: Mapping[str, str]) -> None:
        """Write what the file has in its table meta, and number new rows behind those that came in."""
        for name, value in facts.items():
            await self._do("set_meta", {"name": name, "value": value})
        for table in NUMBERED:
            await rows_of(self._connection, self._of(table, "number_on"), {"table": f"{self._schema}.{table}"})

    async def facts(self, names: Sequence[str]) -> dict[str, str]:
        """Read these facts back."""
        return {name: value for name, value in await self._do("all_meta") if name in names}

    async def counts(self) -> list[Row]:
        """How many cases the database has counted: rows of process, status, place and number."""
        return [tuple(row) for row in await self._do("count_in")]

    async def set_moved_from(self, digest: str) -> None:
        """Write that a file's cases are here, with the digest of what came in."""
        await self._do("set_meta", {"name": MOVED_FROM, "value": json.dumps({"digest": digest})})

    async def _do(self, name: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return await rows_of(self._connection, self._sql[name], values or {})

    def _of(self, table: str, name: str, columns: Sequence[str] = ()) -> str:
        return statements("postgres")[name].replace("{table}", f"{self._schema}.{table}").replace("{columns}", ", ".join(columns))


def shown(place: Place) -> str:
    """A place as people write it, without a password."""
    return place.shown if place.schema == SCHEMA else f"{place.shown}?schema={place.schema}"


@asynccontextmanager
async def arriving(url: str) -> AsyncIterator[Arriving]:
    """Open a database, create its tables if they are missing, and begin the transaction that takes the rows in; it is committed at the end.

    Raises StoreError with the fix.
    """
    connections = Connections(place_of(url))
    try:
        await connections.open()
        await schema.check(connections)
        await schema.prepare(connections)
        async with schema.locked(connections) as connection:
            await rows_of(connection, connections.sql["read_whole_tables"])
            yield Arriving(connections, connection, dict(await rows_of(connection, connections.sql["all_meta"])))
        if MOVED_FROM not in dict(await connections.rows(connections.sql["all_meta"])):
            raise StoreError(f"{shown(connections.place)} has not committed what came in; move again.")
    finally:
        await connections.close()


@asynccontextmanager
async def looking(url: str) -> AsyncIterator[Arriving | None]:
    """Open a database as it is, to see whether something is in it; None if it has no tables yet. Raises StoreError with the fix."""
    connections = Connections(place_of(url))
    try:
        await connections.open()
        await schema.check(connections)
        if await schema.missing(connections, to_run=True):
            yield None
        else:
            async with connections.transaction() as connection:
                yield Arriving(connections, connection, dict(await rows_of(connection, connections.sql["all_meta"])))
    finally:
        await connections.close()
