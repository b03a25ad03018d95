"""Limit how many wrong order numbers a sender may give before the shop is no longer asked."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock

from pointsman_desk.errors import IndexUnavailable
from pointsman_desk.statements import statements, transaction

GUESSES_MAX = 5  # a person can better help somebody who mistypes a number five times
WINDOW_SECONDS = 24 * 3600.0
ROWS_MAX = 50_000  # five of each of 10,000 senders


class Guesses:
    """The wrong numbers of each sender in the last `WINDOW_SECONDS`, each number counted once, in a SQLite file.

    The file contains only hashes, of the newest `rows_max` guesses. It is opened, and created if missing, at its first use, so that a
    damaged file stops only the look-up of orders. ":memory:" is for tests. Every method but `close` may raise IndexUnavailable.
    """

    def __init__(self, file: Path | str = ":memory:", *, rows_max: int = ROWS_MAX) -> None:
        self._file = file
        self._rows_max = rows_max
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()

    def check(self) -> None:
        """Read the whole (small) file. Raises IndexUnavailable if it is damaged."""
        with self._using() as connection:
            if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)

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
    def _using(self, *, begins: bool = False) -> Iterator[sqlite3.Connection]:
        """Use the connection exclusively; with `begins` the block is a transaction, which an error rolls back."""
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
