"""The PostgreSQL store: any number of engines on one database.

This module can be imported without psycopg, which the other modules of the package need.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pointsman.errors import StoreError

if TYPE_CHECKING:
    from pointsman.store.base import Failpoints, Reader
    from pointsman.store.health import StoreHealth
    from pointsman.store.postgres.connections import Place
    from pointsman.store.postgres.store import PostgresStore


LEASE_SECONDS = 30.0  # a crashed engine's cases wait so long for another engine

_PASSWORD = re.compile(r"(?<=[?&])(?:ssl)?password=[^&]*&?")
_NO_FILE = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]+:/|.*\bpassword\s*=", re.DOTALL)


def is_url(path: object) -> bool:
    """Return whether a path is a URL, and not a file. Whoever opens a URL that is not of a PostgreSQL database raises StoreError.

    Also a URL of another kind, or parameters of libpq, may have a password, which would be shown as a part of a file's name.
    """
    return isinstance(path, str) and _NO_FILE.match(path) is not None


def without_password(url: str) -> str:
    """Return the URL as it may be shown: without a password, and with everything that says which database it is."""
    start, at, rest = url.rpartition("@")
    scheme, _, user = start.partition("://")
    return _PASSWORD.sub("", f"{scheme}://{user.partition(':')[0]}@{rest}" if at else url).replace("?&", "?").rstrip("?&")


async def open_url(url: str, *, failpoints: "Failpoints", lease_seconds: float = LEASE_SECONDS) -> "PostgresStore":
    """Open the database that a URL names for one more engine. Raises StoreError, also if psycopg is not installed."""
    _need_psycopg()
    from pointsman.store.postgres.store import open_postgres  # noqa: PLC0415 - only for databases on PostgreSQL

    return await open_postgres(url, failpoints=failpoints, lease_seconds=lease_seconds)


@asynccontextmanager
async def reading_url(url: str) -> "AsyncIterator[Reader]":
    """Open the database that a URL names for reading only: without a lease, and without creating or migrating tables.

    A role that may only read will do, and so will a standby. Raises StoreError, also if psycopg is not installed.
    """
    _need_psycopg()
    from pointsman.store.postgres.reader import open_reader  # noqa: PLC0415 - only for databases on PostgreSQL

    async with open_reader(url) as reader:
        yield reader


async def health_of_url(url: str) -> "StoreHealth":
    """Look at the database of a URL as an engine would that opens it. Changes nothing.

    Raises StoreError with the fix, also if psycopg is not installed.
    """
    _need_psycopg()
    from pointsman.store.postgres.health import health_of  # noqa: PLC0415 - only for databases on PostgreSQL

    return await health_of(url)


async def migrate_url(url: str, *, dry_run: bool = False, confirmed: bool = False) -> list[int]:
    """Check the server, and create or migrate the tables. Return the numbers of the migrations that ran here.

    A `dry_run` changes nothing, and returns the numbers of those that would run.

    `confirmed` says that an operator knows what happened since the moment to which the database may have gone back.

    Raises StoreError with the fix, also if psycopg is not installed.
    """
    _need_psycopg()
    from pointsman.store.postgres import schema  # noqa: PLC0415 - only for databases on PostgreSQL
    from pointsman.store.postgres.connections import Connections, place_of  # noqa: PLC0415

    connections = Connections(place_of(url))
    try:
        await connections.open()
        await schema.check(connections)
        if dry_run:
            return await schema.missing(connections, to_run=True)
        return await schema.prepare(connections, confirmed=confirmed)
    finally:
        await connections.close()


def postgres_place(url: str) -> "Place":
    """Return how libpq connects to the database of a URL, the URL as it may be shown, and the schema of the tables.

    For programs that keep tables of their own beside the cases. Raises StoreError, also if psycopg is not installed.
    """
    _need_psycopg()
    from pointsman.store.postgres.connections import place_of  # noqa: PLC0415 - only for databases on PostgreSQL

    return place_of(url)


def _need_psycopg() -> None:
    try:
        import psycopg  # noqa: F401, PLC0415 - without libpq its import fails, too
        import psycopg_pool  # noqa: F401, PLC0415
    except ImportError as error:
        raise StoreError(f"a PostgreSQL database needs psycopg ({error}); install it with `pip install 'pointsman[postgres]'`.") from None
