"""The tables of desks that share a PostgreSQL database: what a single desk keeps in files beside its cases.

They are in a schema of their own, beside the schema of the cases. One connection serves one desk, and its statements take turns.
"""

import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import resources
from random import Random
from threading import Lock
from typing import Any

import psycopg

from pointsman import postgres_place
from pointsman_desk.errors import DeskError, IndexUnavailable
from pointsman_desk.statements import Connection, numbered, statements

SCHEMA_MAX = 63  # characters of a name in PostgreSQL, which cuts a longer one
CONNECTING: dict[str, Any] = {  # a silent network ends a statement after half a minute, as long as a lease; a pooler may give each transaction another session
    "autocommit": True, "prepare_threshold": None, "connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000
}  # fmt: skip
SECRET_BYTES = 32


class SharedTables:
    """The tables of desks in the database of a URL; missing ones are created. Every method raises IndexUnavailable.

    `shown` is the URL without a password, and `schema` the schema of the tables. Raises DeskError, and StoreError for an invalid URL.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        place = postgres_place(url)
        self.shown, self.schema = place.shown, f"{place.schema}_desk"
        if len(self.schema) > SCHEMA_MAX:
            raise DeskError(f"{place.schema!r} is too long for the schema of a desk; name a shorter one with `?schema=name`.")
        self._conninfo = place.conninfo
        self._lock = Lock()
        self._connection: psycopg.Connection[Any] | None = None
        try:
            with self.using() as connection:
                self.exist = bool(connection.execute(_sql("exists")).fetchone()[0])
            if create and not self.exist:
                self._create()
        except IndexUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def check(self) -> None:
        """Check that this role may use the tables, or create them if they are missing. Changes nothing."""
        with self.using() as connection:
            may = connection.execute(_sql("may_use" if self.exist else "may_create")).fetchone()[0]
        if not may:
            raise IndexUnavailable(self._denied("it has no right to them"))

    @contextmanager
    def using(self, *, begins: bool = False) -> Iterator[Connection]:
        """Use the connection exclusively; with `begins` the block is a transaction, which an error rolls back."""
        with self._lock:
            try:
                connection = self._connection = self._opened()
                with connection.transaction() if begins else nullcontext():
                    yield _Statements(connection, self.schema)
            except psycopg.errors.InsufficientPrivilege as error:
                raise IndexUnavailable(self._denied(" ".join(str(error).split()))) from error
            except psycopg.Error as error:
                raise IndexUnavailable(
                    f"the tables of the desk in {self.shown} cannot be used now ({' '.join(str(error).split())}); check the URL, and that the "
                    "server runs."
                ) from error

    def fact(self, name: str, proposed: str) -> str:
        """Return what all desks have agreed on under this name: what the first of them `proposed`."""
        with self.using() as connection:
            connection.execute(_sql("propose"), (name, proposed))
            return str(connection.execute(_sql("fact"), (name,)).fetchone()[0])

    def secret(self, chance: Random) -> bytes:
        """Return the secret that signs the mails of all desks; the first of them makes it from `chance`."""
        return bytes.fromhex(self.fact("secret", chance.randbytes(SECRET_BYTES).hex()))

    def read(self, mailbox: str, reader: str, seconds: float) -> bool:
        """Give a mailbox to this `reader` for so many seconds, or for longer. Returns False if another reader has it now."""
        with self.using() as connection:
            return connection.execute(_sql("read"), (mailbox, reader, seconds)).fetchone() is not None

    def leave(self, mailbox: str, reader: str) -> None:
        """Take a mailbox from this reader, so that others need not wait."""
        with self.using() as connection:
            connection.execute(_sql("leave"), (mailbox, reader))

    def bookmark(self, mailbox: str) -> str | None:
        """Return the bookmark of a mailbox, or None."""
        with self.using() as connection:
            row = connection.execute(_sql("bookmark"), (mailbox,)).fetchone()
        return None if row is None else row[0]

    def mark(self, mailbox: str, reader: str, bookmark: str) -> bool:
        """Move the bookmark of a mailbox. Returns False, and moves nothing, if another reader has the mailbox by now."""
        with self.using() as connection:
            return connection.execute(_sql("mark"), (bookmark, mailbox, reader)).fetchone() is not None

    def begin_anew(self) -> None:
        """Forget how far the mailboxes have been read, and which outbox the desks have."""
        with self.using(begins=True) as connection:
            connection.execute(_sql("forget_bookmarks"))
            connection.execute(_sql("forget_outbox"))

    def _denied(self, why: str) -> str:
        role = f'"{self._connection.info.user}"' if self._connection is not None else "the desk's role"
        return (
            f"the role {role} may not use or create the tables of the desk in {self.shown} ({why}); run `CREATE SCHEMA IF NOT"
            f" EXISTS {self.schema}; GRANT ALL ON SCHEMA {self.schema} TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA {self.schema} TO {role}` as the"
            " owner of the database."
        )

    def _create(self) -> None:
        tables = (resources.files(__package__) / "sql" / "shared_tables.sql").read_text(encoding="utf-8")
        with self.using(begins=True) as connection:
            connection.execute(_sql("lock"))  # desks that open at once take turns
            if not connection.execute(_sql("has_schema")).fetchone()[0]:  # IF NOT EXISTS would need the right to create one
                connection.execute(_sql("create_schema"))
            connection.execute(tables)
        self.exist = True

    def _opened(self) -> psycopg.Connection[Any]:
        """The connection; a new one if the server or the network has ended the old one. An idle server sends nothing else."""
        known = self._connection
        if known is not None and not known.closed and not select.select([known.fileno()], [], [], 0)[0]:
            return known
        if known is not None:
            known.close()
        return psycopg.connect(self._conninfo, cursor_factory=psycopg.RawCursor, **CONNECTING)


class _Statements:
    """Runs the desk's statements, which are written for SQLite, on PostgreSQL."""

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """Run one statement."""
        return self._connection.execute(numbered(statement, self._schema).encode(), values or None)

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]], /) -> None:
        """Run one statement for each row."""
        self._connection.cursor().executemany(numbered(statement, self._schema).encode(), rows)


@cache
def _sql(name: str) -> str:
    return statements(__package__, "shared.sql")[name]
