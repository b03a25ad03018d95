"""The schema of a PostgreSQL store: check the server, recognise the tables, and migrate them."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from pointsman.errors import StoreError, StoreForeign, StoreNewer, StoreUnwritable
from pointsman.store.postgres.connections import Connections, Place, in_schema, rows_of
from pointsman.store.postgres.timeline import recognise
from pointsman.store.statements import migrations

OLDEST = 14  # the oldest major version that the suite has to pass on

log = logging.getLogger("pointsman")


async def check(connections: Connections) -> None:
    """Check that the server keeps what it confirms, and that this role may use the tables. Changes nothing. Raises StoreError with the fix."""
    [(reserved,)] = await connections.rows(connections.sql["is_reserved"], {"schema": connections.place.schema})
    if reserved:
        raise StoreError(
            f"{connections.place.schema!r} cannot be the schema, because SQL reserves that word; name another one with `?schema=name`."
        )
    found = await connections.rows(connections.sql["look_at_server"])
    refuse_unfit(connections.place, dict(found))
    denied = [name for (name,) in await connections.rows(connections.sql["denied_tables"], {"schema": connections.place.schema})]
    if denied:
        schema, user = connections.place.schema, dict(found)["user"]
        raise StoreUnwritable(
            f'the role "{user}" may not read and write {", ".join(f"{schema}.{name}" for name in denied[:3])} in {connections.place.shown}; run'
            f' `GRANT USAGE ON SCHEMA {schema} TO "{user}"; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO "{user}"` as their owner.'
        )


async def prepare(connections: Connections, *, confirmed: bool = False) -> list[int]:
    """Create the schema if it is missing, and run the missing migrations, each in one transaction. Engines that open at once take turns.

    Returns the numbers of the migrations that ran here.

    Raises StoreError if the database may have gone back in time, unless that is `confirmed`.
    Raises StoreNewer for tables of a newer release, StoreForeign for a schema that is not ours, and StoreUnwritable if this role may not
    create what is missing.
    """
    ran = []
    while (number := await _migrate_one(connections)) is not None:
        ran.append(number)
    async with locked(connections) as connection:
        raised = await rows_of(connection, connections.sql["raise_era"])
    if raised:
        log.warning(
            "%s has been moved to another PostgreSQL cluster; new events are numbered from there (era %s)",
            connections.place.shown,
            raised[0][0],
        )
    await recognise(connections, confirmed=confirmed)
    return ran


async def missing(connections: Connections, *, to_run: bool = False) -> list[int]:
    """Return the numbers of the migrations that `prepare` would run now. Changes nothing.

    Raises StoreNewer and StoreForeign as `prepare` does. With `to_run`, raises StoreUnwritable if this role may not run them.
    """
    async with connections.transaction() as connection:
        found = await _look(connections, connection)
        done = await _last_migration(connections, connection, found)
    numbers = [number for number, _ in migrations("postgres") if number > done]
    if numbers and to_run:
        _refuse_unprivileged(connections.place, found)
    return numbers


def refuse_unfit(place: Place, server: Mapping[str, str]) -> None:
    """Raise StoreError if a server with these settings could lose what it has confirmed, or cannot hold the tables."""
    shown, user = place.shown, server["user"]
    if int(server["version"]) < OLDEST * 10_000:
        raise StoreError(f"{shown} runs PostgreSQL {server['shown']}; upgrade it to {OLDEST} or newer.")
    if server["encoding"] != "UTF8":
        raise StoreError(
            f"the database of {shown} is encoded in {server['encoding']}; name one that was created with `ENCODING 'UTF8' TEMPLATE template0`."
        )
    if server["standby"] == "true":
        raise StoreUnwritable(f"{shown} is a standby; name the primary server, or several hosts with `target_session_attrs=read-write`.")
    if server["read_only"] == "on":
        raise StoreUnwritable(
            f'{shown} is read-only for "{user}" (default_transaction_read_only); run `ALTER ROLE "{user}" SET default_transaction_read_only = off`.'
        )
    for name in ("fsync", "full_page_writes"):
        if server[name] != "on":
            raise StoreError(
                f"{shown} may lose what it has confirmed ({name} = {server[name]});"
                f" run `ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()` as a superuser."
            )
    if server["synchronous_commit"] == "off":
        raise StoreError(
            f'{shown} may lose what it has confirmed (synchronous_commit = off for "{user}"); run `ALTER ROLE "{user}" SET synchronous_commit = on`.'
        )
    if server["isolation"] != "read committed":
        raise StoreError(
            f'the transactions of "{user}" on {shown} are {server["isolation"]};'
            f" run `ALTER ROLE \"{user}\" SET default_transaction_isolation = 'read committed'`."
        )


class _Found(NamedTuple):
    """What there is of the schema, in the order of the statement `look_at_schema`."""

    exists: bool
    may_create_schema: bool
    may_use: bool
    may_create: bool
    has_content: bool
    has_meta: bool
    user: str
    database: str


@asynccontextmanager
async def locked(connections: Connections) -> AsyncIterator[AsyncConnection[Any]]:
    """A transaction in which no other engine prepares this schema."""
    # The lock belongs to the transaction, not to the session: poolers give each transaction another session.
    async with connections.transaction() as connection:
        await rows_of(connection, connections.sql["no_time_limits"])
        await rows_of(connection, connections.sql["lock_schema"], {"schema": connections.place.schema})
        yield connection


async def _migrate_one(connections: Connections) -> int | None:
    """Run the first migration that is missing, and return its number; None if there is none."""
    place = connections.place
    async with locked(connections) as connection:
        found = await _look(connections, connection)
        done = await _last_migration(connections, connection, found)
        todo = next(((number, text) for number, text in migrations("postgres") if number > done), None)
        if todo is None:
            return None
        _refuse_unprivileged(place, found)
        if not found.exists:
            await rows_of(connection, connections.sql["create_schema"].replace("{schema}", place.schema))
        number, text = todo
        await rows_of(connection, in_schema(text, place.schema))
        await rows_of(connection, connections.sql["set_tables"], {"number": str(number)})
    return number


async def _look(connections: Connections, connection: AsyncConnection[Any]) -> _Found:
    [row] = await rows_of(connection, connections.sql["look_at_schema"], {"schema": connections.place.schema})
    return _Found(*row)


async def _last_migration(connections: Connections, connection: AsyncConnection[Any], found: _Found) -> int:
    """The number of the last migration that ran here; 0 for a schema that is missing or empty."""
    place = connections.place
    if not found.has_content:
        return 0
    if not found.may_use:
        raise StoreUnwritable(
            f'the role "{found.user}" may not use the schema {place.schema} of {place.shown};'
            f' run `GRANT USAGE ON SCHEMA {place.schema} TO "{found.user}"` as its owner.'
        )
    rows = await rows_of(connection, connections.sql["select_tables"]) if found.has_meta else []
    if not rows:
        raise StoreForeign(
            f"the schema {place.schema} of {place.shown} belongs to another program;"
            " name another one with `?schema=name`; this one was not changed."
        )
    newest = migrations("postgres")[-1][0]
    if rows[0][0] > newest:
        raise StoreNewer(
            f"the schema {place.schema} of {place.shown} was written by a newer release (tables {rows[0][0]}, known {newest});"
            " upgrade pointsman to open it."
        )
    return int(rows[0][0])


def _refuse_unprivileged(place: Place, found: _Found) -> None:
    if not found.exists and not found.may_create_schema:
        raise StoreUnwritable(
            f'the role "{found.user}" may not create the schema {place.schema} in {place.shown};'
            f' run `CREATE SCHEMA {place.schema}; GRANT ALL ON SCHEMA {place.schema} TO "{found.user}"` as the owner of the database {found.database}.'
        )
    if found.exists and not found.may_create:
        raise StoreUnwritable(
            f'the role "{found.user}" may not create tables in the schema {place.schema} of {place.shown};'
            f' run `GRANT ALL ON SCHEMA {place.schema} TO "{found.user}"` as its owner.'
        )
