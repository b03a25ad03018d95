"""The tables of accounts in the PostgreSQL database that has the cases, so that any number of programs serve one database."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from threading import Lock
from typing import Any

import psycopg

from pointsman.server.account_tables import AccountsError, Run
from pointsman.store.postgres.connections import in_schema, place_of
from pointsman.store.statements import named


class AccountsDatabase:
    """The tables in a database, over one connection, which is opened when it is needed and again when it is lost.

    Raises StoreError if the URL cannot be read.
    """

    remote = True

    def __init__(self, url: str) -> None:
        self._place = place_of(url)
        texts = named(files("pointsman.server") / "sql" / "accounts_postgres.sql")
        self._sql = {name: in_schema(text, self._place.schema).encode() for name, text in texts.items()}
        self._lock = Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def all(self, statement: str, *parameters: object) -> list[Any]:
        """Return the rows of a statement that only reads. A connection that has ended meanwhile is replaced."""
        with self._lock:
            for connects in (True, False):
                try:
                    return self._connected().execute(self._sql[statement], parameters).fetchall()
                except psycopg.DataError:
                    return []  # PostgreSQL cannot store such a text, so no row has it
                except psycopg.Error as error:
                    self._disconnect()
                    if not (connects and isinstance(error, psycopg.OperationalError)):
                        raise self._explained("read", error) from None
        raise AssertionError("unreachable")

    @contextmanager
    def writing(self) -> Iterator[Run]:
        """A transaction."""
        with self._lock:
            try:
                self._ping()
                connection = self._connected()

                def run(statement: str, *parameters: object) -> list[Any]:
                    cursor = connection.execute(self._sql[statement], parameters)
                    return cursor.fetchall() if cursor.description else []

                with connection.transaction():
                    run("take_turns")
                    yield run
            except psycopg.Error as error:
                self._disconnect()
                raise self._explained("written", error) from None

    def close(self) -> None:
        """Close the connection."""
        self._disconnect()

    def _ping(self) -> None:
        """Replace a connection that has ended before anything is written over it."""
        try:
            self._connected().execute(b"")
        except psycopg.OperationalError:
            self._disconnect()

    def _connected(self) -> "psycopg.Connection[Any]":
        if self._connection is None or self._connection.closed:
            # Without prepared statements: a pooler may give each transaction another session.
            self._connection = psycopg.connect(self._place.conninfo, autocommit=True, prepare_threshold=None)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _explained(self, what: str, error: psycopg.Error) -> AccountsError:
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
            told = f"{self._place.shown} has no accounts in the schema {self._place.schema}"
            return AccountsError(f"{told}; run `pointsman migrate URL`, or open an engine on it.")
        told = " ".join(str(error).split())
        return AccountsError(f"{self._place.shown}, which has the accounts, cannot be {what} ({told}); try again.")
