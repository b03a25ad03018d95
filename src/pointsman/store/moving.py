"""Move the cases of a SQLite file to a PostgreSQL database.

The rows go in by one transaction of the database, in which they are also read back and compared. So an interruption leaves all or nothing
there, and the move can begin anew. These commits follow each other, and an engine can open at most one of the two places at any time:

1. the file: it is closed to engines, once the rows are proven
2. the database: the rows are there, with the digest of them all
3. the file: the move is finished

A move that finds the file closed, and the rows in the database, only does the last.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pointsman.errors import StoreError
from pointsman.kernel.snapshot import ENDED
from pointsman.store.base import Failpoints, no_failpoints
from pointsman.store.postgres import postgres_place
from pointsman.store.sqlite_leaving import Leaving, leaving, looking

if TYPE_CHECKING:
    from pointsman.store.postgres.arriving import Arriving

TABLES = (
    "cases", "journal", "effects", "pauses", "branches", "messages", "erased_keys", "case_usage", "day_usage", "search", "words", "limits",
    "definitions", "schedules", "blobs", "checkpoint_threads", "checkpoint_lines", "checkpoints", "checkpoint_values", "checkpoint_writes",
    "checkpoint_chunks",
)  # fmt: skip
"""What moves. The names are the same in both stores."""
DIGESTS = 1 << 256  # a sum of digests is as long as one

Row = Sequence[Any]
Tell = Callable[[str, int], None]


class TableMoved(NamedTuple):
    """A table: its rows in the file and in the database (None if nothing was copied), and the digest of those in the file."""

    table: str
    rows: int
    there: int | None
    digest: str


class Moving(NamedTuple):
    """What has moved, or would: the place, the tables, the open and the ended cases, and the author's own tables, which do not move.

    `before` says that an earlier move had brought the rows there.
    """

    place: str
    tables: tuple[TableMoved, ...]
    open_cases: int
    ended_cases: int
    authors_tables: tuple[str, ...]
    before: bool = False


class Content:
    """How many rows there are, and the sum of their SHA-256: it is the same for the same rows in any order."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, row: Row) -> None:
        """Count a row."""
        plain = [
            value if value is None or isinstance(value, str) else int(value) if isinstance(value, bool | Decimal) else value
            for value in row
        ]
        text = repr([sha256(value).hexdigest() if isinstance(value, bytes) else value for value in plain])
        self.rows += 1
        self._sum += int.from_bytes(sha256(text.encode()).digest())

    @property
    def digest(self) -> str:
        """The sum, in hexadecimal digits."""
        return f"{self._sum % DIGESTS:064x}"

    def of(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows, which are counted on their way."""
        for row in rows:
            self.add(row)
            yield row

    async def take(self, rows: AsyncIterator[Row]) -> "Content":
        """Count all rows."""
        async for row in rows:
            self.add(row)
        return self


async def move(path: Path, url: str, *, now: float, tell: Tell, failpoints: Failpoints = no_failpoints) -> Moving:
    """Move all cases of a file to a database, and close the file to engines. It can be run again at any time.

    `now` is in Unix seconds. `tell` is called with a table and the number of its rows that have gone. Raises StoreError if an engine has
    the file or the database open, if something else is in the database, or if what came in is not what went out; then nothing is changed.
    """
    to = postgres_place(url)
    from pointsman.store.postgres.arriving import arriving, shown  # noqa: PLC0415 - only if psycopg is installed

    with leaving(path, now) as file:
        _refuse_elsewhere(file, place := shown(to))
        if file.moved is not None and file.moved.finished:
            return _report(file, place, [_counted(file, table, tell) for table in TABLES])._replace(before=True)
        async with arriving(url) as database:
            arrived = database.moved_from()
            if arrived is not None and arrived[0] == file.incarnation:
                moving = _found(file, place, arrived[1], tell)
            else:
                await database.forget_lapsed()
                await database.refuse_content(TABLES)
                moving = await _carry(file, database, tell, failpoints)
                await database.set_moved_from(_digest(moving.tables))
            failpoints("move.proven")
            if file.moved is None:
                file.close_to_engines(place)
            failpoints("move.closed")
        failpoints("move.committed")
        file.finish(place)
    failpoints("move.finished")
    return moving


async def look(path: Path, url: str, *, tell: Tell) -> Moving:
    """Say what would move, and change nothing. Raises StoreError as `move` does."""
    to = postgres_place(url)
    from pointsman.store.postgres.arriving import looking as looking_there  # noqa: PLC0415 - only if psycopg is installed
    from pointsman.store.postgres.arriving import shown  # noqa: PLC0415

    with looking(path) as file:
        _refuse_elsewhere(file, place := shown(to))
        moving = _report(file, place, [_counted(file, table, tell) for table in TABLES])
        async with looking_there(url) as database:
            if database is not None and (database.moved_from() or ("", ""))[0] != file.incarnation:
                await database.refuse_content(TABLES)
    return moving


def _refuse_elsewhere(file: Leaving, place: str) -> None:
    if file.moved is not None and file.moved.place != place:
        done = "have moved" if file.moved.finished else "are being moved"
        raise StoreError(f"the cases of {file.path} {done} to {file.moved.place}; name that URL, or undo it as docs/postgres.md says.")


async def _carry(file: Leaving, database: "Arriving", tell: Tell, failpoints: Failpoints) -> Moving:
    """Copy all rows, and compare what came in. Raises StoreError if it differs."""
    tables = []
    for table in TABLES:
        columns, rows = file.rows(table)
        went = Content()
        await database.copy_in(table, columns, went.of(rows), partial(tell, table))
        came = await Content().take(database.rows(table, columns))
        if (went.rows, went.digest) != (came.rows, came.digest):
            raise StoreError(
                f"what came in at {database.place} is not what went out of {file.path} (the table {table}: {went.rows:,} rows here, {came.rows:,}"
                " there); nothing was moved; look for a trigger that changes rows there, and move again."
            )
        tables.append(TableMoved(table, went.rows, came.rows, went.digest))
        failpoints("move.table")
    facts = file.facts()
    await database.set_facts(facts)
    if await database.facts([*facts]) != facts or await database.counts() != file.counts():
        raise StoreError(f"{database.place} does not count its cases as {file.path} does; nothing was moved; look for a trigger there.")
    return _report(file, database.place, tables)


def _found(file: Leaving, place: str, arrived: str, tell: Tell) -> Moving:
    """What an earlier move has brought there. Raises StoreError if the file is no longer what moved."""
    tables = [_counted(file, table, tell) for table in TABLES]
    if _digest(tables) != arrived:
        raise StoreError(
            f"{file.path} has changed since its cases came to {place}; undo that move as docs/postgres.md says, and move again."
        )
    return _report(file, place, tables)._replace(before=True)


def _counted(file: Leaving, table: str, tell: Tell) -> TableMoved:
    content = Content()
    for _ in content.of(file.rows(table)[1]):
        pass
    tell(table, content.rows)
    return TableMoved(table, content.rows, None, content.digest)


def _digest(tables: Sequence[TableMoved]) -> str:
    """The digest of all tables."""
    return sha256("\n".join(f"{one.table} {one.rows} {one.digest}" for one in tables).encode()).hexdigest()


def _report(file: Leaving, place: str, tables: Sequence[TableMoved]) -> Moving:
    counts = file.counts()
    ended = sum(number for _, status, _, number in counts if status in ENDED)
    return Moving(place, tuple(tables), sum(row[3] for row in counts) - ended, ended, tuple(file.authors_tables()))
