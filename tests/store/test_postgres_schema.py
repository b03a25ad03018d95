"""The schema of a PostgreSQL store: created, recognised, migrated, moved; each refusal is one sentence with the fix."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from pointsman.errors import StoreError, StoreForeign, StoreNewer, StoreUnwritable
from pointsman.store.postgres import schema
from pointsman.store.postgres.connections import Connections, place_of
from pointsman.store.postgres.schema import check, missing, prepare, refuse_unfit
from pointsman.store.statements import migrations
from postgres_server import Server

pytestmark = pytest.mark.usefixtures("patient")

NUMBERS = [number for number, _ in migrations("postgres")]
FIT = {
    "version": "140000", "shown": "14.0", "encoding": "UTF8", "standby": "false", "read_only": "off", "fsync": "on", "full_page_writes": "on",
    "synchronous_commit": "on", "isolation": "read committed", "user": "app",
}  # fmt: skip


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connections]:
    connections = Connections(place_of(url))
    try:
        await connections.open()
        yield connections
    finally:
        await connections.close()


def on(url: str, *steps: Callable[[Connections], Coroutine[Any, Any, Any]]) -> Any:
    """Run these steps on the database, and return what the last one does."""

    async def run() -> Any:
        result = None
        async with connected(url) as connections:
            for step in steps:
                result = await step(connections)
        return result

    return asyncio.run(run())


def sql(text: str) -> Callable[[Connections], Coroutine[Any, Any, Any]]:
    async def run(connections: Connections) -> Any:
        return await connections.rows(text.replace("pointsman.", f"{connections.place.schema}."))

    return run


def schema_of(url: str) -> str:
    return place_of(url).schema


def refused(url: str, step: Callable[[Connections], Coroutine[Any, Any, Any]], kind: type[StoreError]) -> str:
    with pytest.raises(kind) as caught:
        on(url, step)
    told = str(caught.value)
    assert told.endswith(".")
    assert "\n" not in told
    return told


def with_options(url: str, **settings: str) -> str:
    return f"{url}&options={quote(' '.join(f'-c {name}={value}' for name, value in settings.items()))}"


def test_an_empty_database_is_prepared_and_again_changes_nothing(postgres_url: str) -> None:
    assert on(postgres_url, check, missing) == NUMBERS
    assert on(postgres_url, prepare, check, missing) == []
    before = on(postgres_url, sql("SELECT name, value FROM pointsman.meta ORDER BY name"))
    assert dict(before)["tables"] == str(NUMBERS[-1])
    on(postgres_url, prepare)
    assert on(postgres_url, sql("SELECT name, value FROM pointsman.meta ORDER BY name")) == before


def test_an_empty_schema_of_an_administrator_is_used(postgres_url: str) -> None:
    on(postgres_url, sql(f"CREATE SCHEMA {schema_of(postgres_url)}"), prepare, check)


def test_engines_that_open_at_once_prepare_it_once(postgres_url: str) -> None:
    async def all_at_once() -> None:
        async with connected(postgres_url) as one, connected(postgres_url) as two, connected(postgres_url) as three:
            ran = await asyncio.gather(*(prepare(connections) for connections in (one, two, three, one, two, three)))
            assert sorted(chain(*ran)) == NUMBERS, "each is told by the one that ran it"

    asyncio.run(all_at_once())
    assert on(postgres_url, missing) == []


def test_a_migration_that_fails_leaves_the_tables_of_the_last_one(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on(postgres_url, prepare)
    add = "ALTER TABLE pointsman.cases ADD COLUMN more integer;"
    later = [*migrations("postgres"), (8_001, add), (8_002, f"CREATE TABLE pointsman.extra (id integer); {add}")]
    monkeypatch.setattr(schema, "migrations", lambda dialect: tuple(later))
    assert on(postgres_url, missing) == [8_001, 8_002]
    with pytest.raises(Exception, match="already exists"):
        on(postgres_url, prepare)
    assert on(postgres_url, missing) == [8_002]
    assert on(postgres_url, sql("SELECT to_regclass('pointsman.extra')")) == [(None,)]
    later[-1] = (8_002, "CREATE TABLE pointsman.extra (id integer);")
    on(postgres_url, prepare)
    assert on(postgres_url, missing) == []


def test_tables_of_a_newer_release_are_refused(postgres_url: str) -> None:
    on(postgres_url, prepare, sql("UPDATE pointsman.meta SET value = '9999' WHERE name = 'tables'"))
    assert "tables 9999" in refused(postgres_url, prepare, StoreNewer)


@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE pointsman.orders (id integer)",
        "CREATE TABLE pointsman.meta (id integer)",
        "CREATE TABLE pointsman.meta (name text, value text)",
        "CREATE FUNCTION pointsman.one() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    ],
)
def test_a_schema_of_another_program_is_refused_and_left_alone(postgres_url: str, table: str) -> None:
    on(postgres_url, sql(f"CREATE SCHEMA {schema_of(postgres_url)}"), sql(table))
    assert "?schema=name" in refused(postgres_url, prepare, StoreForeign)
    found = on(postgres_url, sql(f"SELECT count(*) FROM pg_class WHERE relnamespace = '{schema_of(postgres_url)}'::regnamespace"))
    assert found[0][0] <= 1


@pytest.fixture(name="app_url")
def _app_url(postgres_url: str, postgres: Server) -> Any:
    """The same database and schema, for a role that owns nothing."""
    role = f"{schema_of(postgres_url)}_app"
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'app'")
    head, _, rest = postgres_url.partition("://")
    yield f"{head}://{role}:app@{rest.rpartition('@')[2]}"
    postgres.execute(f"DROP OWNED BY {role}")
    postgres.execute(f"DROP ROLE {role}")


def test_a_role_without_rights_is_told_which_it_needs(postgres_url: str, app_url: str, postgres: Server) -> None:
    name = schema_of(postgres_url)
    told = refused(app_url, prepare, StoreUnwritable)
    assert refused(app_url, partial(missing, to_run=True), StoreUnwritable) == told, "a dry run says the same"
    assert on(app_url, missing) == NUMBERS, "who only reads needs no right to create"
    assert f'CREATE SCHEMA {name}; GRANT ALL ON SCHEMA {name} TO "{name}_app"' in told
    assert "app:app" not in told
    postgres.execute(f"CREATE SCHEMA {name}")
    assert f"GRANT ALL ON SCHEMA {name}" in refused(app_url, prepare, StoreUnwritable)
    on(postgres_url, prepare)
    assert f"GRANT USAGE ON SCHEMA {name}" in refused(app_url, check, StoreUnwritable)
    assert f"GRANT USAGE ON SCHEMA {name}" in refused(app_url, prepare, StoreUnwritable)
    postgres.execute(f'GRANT USAGE ON SCHEMA {name} TO "{name}_app"; GRANT ALL ON ALL TABLES IN SCHEMA {name} TO "{name}_app"')
    on(app_url, check, prepare, check)


def test_a_migration_that_only_the_owner_may_run_says_so(
    postgres_url: str, app_url: str, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = schema_of(postgres_url)
    on(postgres_url, prepare)
    postgres.execute(f"GRANT ALL ON SCHEMA {name} TO {name}_app; GRANT ALL ON ALL TABLES IN SCHEMA {name} TO {name}_app")
    later = (*migrations("postgres"), (8_001, "ALTER TABLE pointsman.cases ADD COLUMN more integer;"))
    monkeypatch.setattr(schema, "migrations", lambda dialect: later)
    assert "pointsman migrate" in refused(app_url, prepare, StoreUnwritable)
    on(postgres_url, prepare)
    on(app_url, prepare)


def test_a_database_that_was_moved_to_a_younger_cluster_numbers_on_from_its_journal(postgres_url: str) -> None:
    next_tx = "SELECT (SELECT value::bigint FROM pointsman.meta WHERE name = 'era') + pg_current_xact_id()::text::bigint"
    on(postgres_url, prepare, sql("INSERT INTO pointsman.journal (tx, n, case_id, revision) VALUES (9000000000, 1, 1, 1)"))
    on(postgres_url, prepare)
    [(moved,)] = on(postgres_url, sql(next_tx))
    assert moved > 9_000_000_000
    era = on(postgres_url, sql("SELECT value FROM pointsman.meta WHERE name = 'era'"))
    on(postgres_url, sql(f"INSERT INTO pointsman.journal (tx, n, case_id, revision) VALUES (({next_tx}), 1, 1, 2)"), prepare)
    assert on(postgres_url, sql("SELECT value FROM pointsman.meta WHERE name = 'era'")) == era


def test_the_era_stays_while_others_write(postgres_url: str) -> None:
    write = (
        "INSERT INTO pointsman.journal (tx, n, case_id, revision) "
        "SELECT (SELECT value::bigint FROM pointsman.meta WHERE name = 'era') + pg_current_xact_id()::text::bigint, 1, 1, 1"
    )

    async def side_by_side() -> None:
        async with connected(postgres_url) as connections:
            await prepare(connections)
            await asyncio.gather(*(step(connections) for _ in range(40) for step in (sql(write), prepare)))

    asyncio.run(side_by_side())
    assert on(postgres_url, sql("SELECT value FROM pointsman.meta WHERE name = 'era'")) == [("0",)]


@pytest.mark.parametrize(
    ("setting", "value", "fix"),
    [
        ("version", "130011", "upgrade it to 14"),
        ("encoding", "LATIN1", "ENCODING 'UTF8'"),
        ("standby", "true", "name the primary server"),
        ("read_only", "on", "default_transaction_read_only = off"),
        ("fsync", "off", "ALTER SYSTEM SET fsync = on"),
        ("full_page_writes", "off", "ALTER SYSTEM SET full_page_writes = on"),
        ("synchronous_commit", "off", "SET synchronous_commit = on"),
        ("isolation", "serializable", "'read committed'"),
    ],
)
def test_a_server_that_could_lose_what_it_confirms_is_refused(setting: str, value: str, fix: str) -> None:
    place = place_of("postgresql://app:secret@db.example/shop")
    refuse_unfit(place, FIT)
    with pytest.raises(StoreError) as caught:
        refuse_unfit(place, FIT | {setting: value})
    assert fix in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("synchronous_commit", "off"), ("default_transaction_read_only", "on"), ("default_transaction_isolation", "serializable")],
)
def test_the_settings_of_our_own_sessions_count(postgres_url: str, setting: str, value: str) -> None:
    url = with_options(postgres_url, **{setting: value})
    assert setting in refused(url, check, StoreError)


def test_fsync_and_encoding_are_read_from_the_server(postgres_url: str, postgres: Server) -> None:
    latin = f"{schema_of(postgres_url)}_latin"
    postgres.execute(f"CREATE DATABASE {latin} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with psycopg.connect(postgres.url) as connection:
            database = connection.info.dbname
        assert "LATIN1" in refused(postgres_url.replace(f"/{database}?", f"/{latin}?"), check, StoreError)
    finally:
        postgres.execute(f"DROP DATABASE {latin} (FORCE)")


@pytest.mark.parametrize(
    ("change", "told"),
    [("no_such_option=1", "no_such_option"), ("options=-c%20no_such_setting%3D1", "no_such_setting"), ("user=nobody_here", "nobody_here")],
)
def test_a_url_that_the_server_refuses_is_explained_at_once(postgres_url: str, change: str, told: str) -> None:
    assert told in refused(f"{postgres_url}&{change}", check, StoreError)


def test_a_password_is_not_shown_when_nothing_listens() -> None:
    assert "secret" not in refused("postgresql://app:secret@127.0.0.1:1/shop", check, StoreError)
