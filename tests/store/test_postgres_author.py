"""What an author's transaction may do on PostgreSQL: the server says what it has changed, however that was written."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress

import psycopg
import pytest

from pointsman.definition.transactions import Database
from pointsman.errors import DefinitionError, StoreError, ValueRefused
from pointsman.kernel.rows import Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.postgres.author import numbered, uncommented
from pointsman.store.postgres.connections import place_of
from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.scenarios import new_case, next_of
from postgres_server import Server

pytestmark = pytest.mark.usefixtures("patient")

HANG_SECONDS = 600
LEASE_SECONDS = 3_600.0  # nothing here renews it


def run(url: str, scenario: Callable[[PostgresStore], Awaitable[None]]) -> None:
    """Run a scenario on a store, beside which there is a schema of the author's own."""

    async def main() -> None:
        store = await open_postgres(url, lease_seconds=LEASE_SECONDS)
        try:
            await scenario(store)
        finally:
            await store.close()

    own = f"{place_of(url).schema}_own"
    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {own}".encode())
        try:
            connection.execute(f"CREATE TABLE {own}.notes (id integer, text text)".encode())
            asyncio.run(asyncio.wait_for(main(), HANG_SECONDS))
        finally:
            connection.execute(f"DROP SCHEMA {own} CASCADE".encode())


async def transact(store: PostgresStore, *statements: str, swallows: bool = False) -> int:
    """Run statements in an author's transaction of a new case, and return the case."""
    schema = store.connections.place.schema
    case = await new_case(store, status=Status.RUNNING)

    def work(db: Database) -> Transition:
        with suppress(DefinitionError) if swallows else nullcontext():
            for statement in statements:
                db.execute(statement.format(schema=schema, own=f"{schema}_own"))
        return next_of(case, 1, 0)

    return await store.transact(work)


async def revisions(store: PostgresStore) -> list[int]:
    return [row.revision for row in await store.cases()]


CHANGES = {
    "quoted": 'UPDATE "{schema}"."cases" SET revision = 99',
    "quoted in part": 'DELETE FROM {schema}."cases"',
    "unicode": 'UPDATE U&"{schema}".cases SET revision = 99',
    "in a CTE": "WITH gone AS (DELETE FROM {schema}.cases RETURNING 1) SELECT * FROM gone",
    "in a block": "DO $$ BEGIN EXECUTE format('DELETE FROM %I.cases', '{schema}'); END $$",
    "truncated": "TRUNCATE {schema}.cases",
    "altered": 'ALTER TABLE {schema}."cases" ADD COLUMN more text',
    "dropped": 'DROP TABLE {schema}."cases" CASCADE',
    "moved away": "ALTER TABLE {schema}.cases SET SCHEMA {own}",
    "with a trigger": "CREATE TRIGGER one BEFORE UPDATE ON {schema}.cases FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "a new table": 'CREATE TABLE "{schema}".mine (id integer)',
    "a function": "CREATE OR REPLACE FUNCTION {schema}.shard() RETURNS integer LANGUAGE sql STABLE AS 'SELECT 1'",
}


ENDS = [
    "COMMIT",
    " ;/* a /* b */ */-- c\nROLLBACK",
    "SET search_path = x",
    "/**/SAVEPOINT one",
    "SELECT 1; COMMIT",
    "INSERT INTO {own}.notes VALUES (1); COMMIT",
]


@pytest.mark.parametrize("swallows", [False, True], ids=["raises", "goes on"])
def test_a_transaction_cannot_change_the_engines_tables(postgres_url: str, swallows: bool) -> None:
    async def scenario(store: PostgresStore) -> None:
        for number, (how, statement) in enumerate(CHANGES.items(), 1):
            with pytest.raises(DefinitionError, match=r"changes the engine's tables .* write to tables of your own\.$"):
                await transact(store, statement, swallows=swallows)
            assert await revisions(store) == [1] * number, how
        await transact(store, "SELECT 1")
        assert (await revisions(store))[-1] == 2

    run(postgres_url, scenario)


def test_a_transaction_cannot_end_the_engines_commit(postgres_url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        for statement in ENDS:
            with pytest.raises((DefinitionError, ValueRefused), match=r"ends or changes the engine's commit|multiple commands"):
                await transact(store, "INSERT INTO {own}.notes VALUES (1)", statement)
        assert await revisions(store) == [1] * len(ENDS)
        assert await store.connections.rows(f"SELECT * FROM {store.connections.place.schema}_own.notes") == []

    run(postgres_url, scenario)


def test_a_transaction_reads_everything_and_changes_its_own_tables(postgres_url: str) -> None:
    statements = [
        "INSERT INTO {own}.notes SELECT id, 'it''s ? about {schema}.cases' FROM {schema}.cases",
        "ALTER TABLE {own}.notes ADD COLUMN more text DEFAULT 'update {schema}.cases'",
        "CREATE TABLE {own}.others (case_id bigint)",
        'INSERT INTO {own}.others SELECT case_id FROM "{schema}".journal',
        "UPDATE {own}.notes SET text = (SELECT max(status) FROM {schema}.cases)",
        "DROP TABLE {own}.others",
        "SELECT 1 FROM {schema}.cases FOR UPDATE",
    ]

    async def scenario(store: PostgresStore) -> None:
        case = await transact(store, *statements)
        assert await revisions(store) == [2]
        assert await store.connections.rows(f"SELECT id, text FROM {store.connections.place.schema}_own.notes") == [(case, "running")]

    run(postgres_url, scenario)


def test_comments_and_placeholders_are_told_from_the_statement() -> None:
    assert uncommented(" ; -- one\n/* two /* three */ */ SELECT '/*'") == "SELECT '/*'"
    assert uncommented("/* never ends") == ""
    assert numbered("SELECT ?, '?', \"?\", ? -- ?") == "SELECT $1, '?', \"?\", $2 -- ?"


@pytest.mark.parametrize("word", ["select", "user", "order", "pg_cases", "between"])
def test_a_reserved_word_is_no_schema(postgres: Server, word: str) -> None:
    async def main() -> None:
        await open_postgres(f"{postgres.url}?schema={word}")

    with pytest.raises(StoreError, match=f"'{word}' cannot be the schema, because SQL reserves that word; name another one") as caught:
        asyncio.run(main())

    assert "\n" not in str(caught.value)


def test_a_transaction_runs_again_that_was_silent_once_because_its_process_was_stopped(postgres: Server, postgres_url: str) -> None:
    async def scenario(store: PostgresStore) -> None:
        case, sessions = await new_case(store, status=Status.RUNNING), list[int]()

        def work(db: Database) -> Transition:
            seconds = 0 if sessions else 1
            [[session, _]] = db.execute(f"SELECT pg_backend_pid(), set_config('idle_in_transaction_session_timeout', '{seconds}', true)")
            sessions.append(session)
            while seconds and postgres.execute(f"SELECT 1 FROM pg_stat_activity WHERE pid = {session}"):
                pass
            return next_of(case, 1, 0)

        await store.transact(work)
        assert (await revisions(store), len({*sessions})) == ([2], 2)

    run(postgres_url, scenario)


@pytest.mark.parametrize("writes_afterwards", [False, True])
def test_a_transaction_that_is_silent_for_too_long_is_refused(postgres: Server, postgres_url: str, writes_afterwards: bool) -> None:
    async def scenario(store: PostgresStore) -> None:
        case = await new_case(store, status=Status.RUNNING)

        def work(db: Database) -> Transition:
            [[session, _]] = db.execute("SELECT pg_backend_pid(), set_config('idle_in_transaction_session_timeout', '1', true)")
            while postgres.execute(f"SELECT 1 FROM pg_stat_activity WHERE pid = {session}"):
                pass
            if writes_afterwards:
                db.execute("SELECT 1")
            return next_of(case, 1, 0)

        with pytest.raises(DefinitionError, match="said nothing to the database"):
            await store.transact(work)
        assert await revisions(store) == [1]

    run(postgres_url, scenario)
