"""The SQLite file that cases move out of: its rows as a PostgreSQL store has them, and the mark that closes it to engines."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pointsman.errors import StoreError, StoreLocked
from pointsman.store.journal import CommonEventsReader, packed_in_full, unpacked
from pointsman.store.sqlite_author import own_tables
from pointsman.store.sqlite_core import SqliteCore
from pointsman.store.sqlite_file import (
    MOVED,
    FileLock,
    Moved,
    connect_read_only,
    explained,
    has_engine,
    moved_to,
    open_writer,
    real,
    refuse_older,
)
from pointsman.store.statements import statements
from pointsman.store.stored_rows import INTAKE, NO_ENGINE, turn_of, turn_text

Row = Sequence[Any]

FACTS = ("incarnation", INTAKE)  # of the table meta, which move: the keys of effects and of erased cases are made with the incarnation


class Leaving:
    """A file of this release. Make it with `leaving` or `looking`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._sql = statements("sqlite")
        self._core = SqliteCore(connection, path)
        self._common = CommonEventsReader(connection, self._sql)
        self.incarnation = self._core.incarnation
        self.moved = moved_to(connection)
        self._reading: sqlite3.Cursor | None = None

    def begin(self, now: float) -> None:
        """Begin the transaction, as the file's only engine at `now` (Unix seconds): cases that a dead engine left running become ready."""
        with explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            if self.moved is None:
                self._core.raise_epoch()
                self._core.recover(max(now, self._core.clock_high_water()))

    def facts(self) -> dict[str, str]:
        """What the table meta has to move, and the highest number of a case, by the names that a PostgreSQL store gives them."""
        found = {name: self._connection.execute(self._sql["select_meta"], (name,)).fetchone() for name in FACTS}
        turns = self._connection.execute(self._sql["select_subscribers"]).fetchall()
        subscribers = {name: turn_text(NO_ENGINE, turn_of(value)[1]) for name, value in turns}
        gaps = dict(self._connection.execute(self._sql["select_gaps"]).fetchall())
        private = {name: "" for (name,) in self._connection.execute(self._sql["select_private"])}
        of_meta = {name: row[0] for name, row in found.items() if row is not None}
        return {"cases": str(self._core.highest), **of_meta, **subscribers, **gaps, **private}

    def counts(self) -> list[Row]:
        """How many cases there are: rows of process, status, place and number; running cases are counted as ready."""
        with explained(self.path):
            return self._connection.execute(self._sql["moved_case_counts"]).fetchall()

    def authors_tables(self) -> list[str]:
        """The names of the tables that authors' transactions have made."""
        with explained(self.path):
            names = [name for (name,) in self._connection.execute(self._sql["authors_tables"])]
        return [name for name in names if name.lower() not in own_tables()]

    def rows(self, table: str) -> tuple[tuple[str, ...], Iterator[Row]]:
        """The columns of a table as PostgreSQL has it, and its rows, which are read one after another."""
        with explained(self.path):
            self._reading = cursor = self._connection.execute(self._sql[f"moved_{table}"])
        columns = tuple(column[0] for column in cursor.description)
        return columns, self._each(table, columns, cursor)

    def close_to_engines(self, place: str) -> None:
        """Commit that the cases are being moved to this place: no engine opens the file any more, and only a move to there goes on."""
        self._mark(Moved(place, finished=False))
        with explained(self.path):
            self._connection.execute("COMMIT")

    def finish(self, place: str) -> None:
        """Commit that the cases have moved to this place."""
        self._mark(Moved(place, finished=True))
        if self._connection.in_transaction:
            with explained(self.path):
                self._connection.execute("COMMIT")

    def close(self) -> None:
        """Undo what is not committed, and close the file."""
        if self._reading is not None:
            self._reading.close()  # one that is not read to its end would keep the file locked
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._connection.close()

    def _mark(self, moved: Moved) -> None:
        with explained(self.path):
            self._connection.execute(self._sql["set_meta"], (MOVED, json.dumps(moved._asdict())))

    def _each(self, table: str, columns: Sequence[str], cursor: sqlite3.Cursor) -> Iterator[Row]:
        changes = [(columns.index(column), change) for column, change in self._changes(table).items()]
        with explained(self.path):
            for row in cursor:
                found = list(row)
                for place, change in changes:
                    found[place] = change(found[place])
                for column, value in zip(columns, found, strict=True):
                    if isinstance(value, str) and "\0" in value:
                        raise StoreError(
                            f"{self.path} has a NUL character in the column {column} of {table} ({columns[0]} {row[0]!r}), which PostgreSQL"
                            " cannot store; erase that case, or correct the text in a copy of the file."
                        )
                yield found

    def _changes(self, table: str) -> Mapping[str, Callable[[Any], Any]]:
        """How the values of a table differ in a PostgreSQL store, by column."""
        if table == "journal":  # there are no common events there
            return {"events": lambda text: None if text is None else packed_in_full(unpacked(text, self._common))}
        return {"version": json.dumps} if table == "checkpoint_values" else {}


@contextmanager
def leaving(path: Path, now: float) -> Iterator[Leaving]:
    """Open a file to move its cases, as its only engine at `now` (Unix seconds). Without a mark, nothing of it is changed.

    Raises StoreError if the file is in use, or is not one of this release.
    """
    path = real(path)
    refuse_older(path)
    lock = FileLock(path)
    lock.acquire()
    try:
        file = Leaving(path, open_writer(path, moved=True))
        try:
            file.begin(now)
            yield file
        finally:
            file.close()
    finally:
        lock.release()


@contextmanager
def looking(path: Path) -> Iterator[Leaving]:
    """Open a file read-only, to see what would move. Raises StoreError as `leaving` does."""
    path = real(path)
    refuse_older(path)
    if has_engine(path):
        raise StoreLocked(f"{path} is open in another engine; stop that one before you move its cases.")
    file = Leaving(path, connect_read_only(path))
    try:
        yield file
    finally:
        file.close()
