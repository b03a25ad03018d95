"""Limit how many wrong order numbers a sender may give before the shop is no longer asked."""

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from pointsman_desk.errors import IndexUnavailable
from pointsman_desk.statements import Connection, statements, transaction

if TYPE_CHECKING:  # it needs psycopg
    from pointsman_desk.shared import SharedTables

T = TypeVar("T")

GUESSES_MAX = 5  # a person can better help somebody who mistypes a number five times
WINDOW_SECONDS = 24 * 3600.0
ROWS_MAX = 50_000  # five of each of 10,000 senders


class Guesses:
    """The wrong numbers of each sender in the last `WINDOW_SECONDS`, each number counted once, in a SQLite file or in the tables that desks share.

    They contain only hashes, of the newest `rows_max` guesses. A file is opened, and created if missing, at its first use, so that a
    damaged file stops only the look-up of orders. ":memory:" is for tests. Every method but `close` may raise IndexUnavailable.
    """

    def __init__(self, place: "Path | str | SharedTables" = ":memory:", *, rows_max: int = ROWS_MAX) -> None:
        self.shared = None if isinstance(place, Path | str) else place
        self._file = place if isinstance(place, Path | str) else ""
        self._rows_max = rows_max
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()

    def check(self) -> None:
        """Read the whole (small) file. Raises IndexUnavailable if it is damaged."""
        if self.shared is not None:
            return
        with self._using() as connection:
            if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)

    async def use(self, call: Callable[[], T]) -> T:
        """Call a method: here, because a file is not flushed, or in a thread, if it uses tables that desks share."""
        return call() if self.shared is None else await asyncio.to_thread(call)

    def may_name(self, sender: str, number: str, now: float) -> bool:
        """Return whether the shop may be asked for `number`, and count it as a guess until `right` is called; `now` is in Unix seconds."""
        who = _hash(sender)
        with self._using(begins=True) as connection:
            connection.execute(_sql("forget"), (now - WINDOW_SECONDS,))
            allowed: bool = connection.execute(_sql("count"), (who,)).fetchone()[0] < GUESSES_MAX
            if allowed:
                connection.execute(_sql("add"), (who, _hash(number), now))
                connection.execute(_sql("forget_oldest"), (self._rows_max,))
        return allowed

    def right(self, sender: str, number: str) -> None:
        """Remove `number` from the guesses: the order is the sender's."""
        with self._using() as connection:
            connection.execute(_sql("remove"), (_hash(sender), _hash(number)))

    @contextmanager
    def _using(self, *, begins: bool = False) -> Iterator[Connection]:
        """Use the connection exclusively; with `begins` the block is a transaction, which an error rolls back."""
        if self.shared is not None:
            with self.shared.using(begins=begins) as connection:
                yield connection
            return
        with self._lock:
            try:
                self._connection = self._connection or self._opened()
                with transaction(self._connection) if begins else nullcontext():
                    yield self._connection
            except sqlite3.OperationalError as error:  # locked, read-only, or the disk is full
                raise IndexUnavailable(
                    f"{self._file} cannot be used ({error}); make it writable, free disk space, or close the other program that has it open."
                ) from error
            except sqlite3.Error as error:
                raise IndexUnavailable(
                    f"{self._file} is damaged ({error}); delete it: it only counts the wrong order numbers of the last day."
                ) from error

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a power failure may allow one more guess
            connection.execute(_sql("table"))
            connection.execute(_sql("index"))
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def _sql(name: str) -> str:
    return statements(__package__, "guesses.sql")[name]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
