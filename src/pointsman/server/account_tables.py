"""Where accounts are stored: in a file beside a SQLite file, or in the PostgreSQL database that has the cases."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.resources import files
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from pointsman.errors import PointsmanError
from pointsman.store.statements import named

BUSY_SECONDS = 5.0  # longer than another program writes a row

Run = Callable[..., list[Any]]
"""Runs a named statement with these parameters, and returns its rows."""


class AccountsError(PointsmanError):
    """An account cannot be changed as asked, or its place cannot be used."""


class AccountTables(Protocol):
    """The rows of accounts, by named statements (`sql/accounts*.sql`). May be used from any thread. Each method raises AccountsError.

    `remote` says whether an answer comes over a network: an event loop then does not wait for it.
    """

    remote: bool

    def all(self, statement: str, *parameters: object) -> list[Any]:
        """Return the rows of a statement that only reads."""

    def writing(self) -> AbstractContextManager[Run]:
        """A transaction, in turn with others who write: committed at its end, or rolled back by an exception."""

    def close(self) -> None:
        """Close the connections."""


class AccountsFile:
    """The tables in a SQLite file, which is created if it is missing. Only its owner can read it."""

    remote = False

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock, self._read_lock = Lock(), Lock()  # two connections, so that no reader waits for a writer, which waits for the disk
        self._sql = named(files("pointsman.server") / "sql" / "accounts.sql")
        tables = (files("pointsman.server") / "sql" / "accounts_tables.sql").read_text(encoding="utf-8")
        try:
            _keep_private(file)
            self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS)
            self._reading = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS)
            self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {tables}")
        except (OSError, sqlite3.Error) as error:
            raise AccountsError(f"{file}, which has the accounts, cannot be opened ({error}); make it readable and writable.") from None

    def all(self, statement: str, *parameters: object) -> list[Any]:
        """Return the rows of a statement that only reads."""
        with self._read_lock:
            try:
                return self._reading.execute(self._sql[statement], parameters).fetchall()
            except sqlite3.Error as error:
                raise AccountsError(f"{self._file}, which has the accounts, cannot be read ({error}); try again.") from None

    @contextmanager
    def writing(self) -> Iterator[Run]:
        """A transaction."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield lambda statement, *parameters: self._connection.execute(self._sql[statement], parameters).fetchall()
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise AccountsError(f"{self._file}, which has the accounts, cannot be written ({error}); try again.") from None
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        self._reading.close()
        self._connection.close()


def _keep_private(file: Path) -> None:
    """Create the file where it is missing; let only its owner read it, also where a backup was put back with other permissions."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(handle).st_mode & 0o077:
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)
