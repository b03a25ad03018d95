"""A commit that another transaction refuses, by a deadlock or a serialization failure, is attempted again; its caller notices nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from test_postgres_races import blocked

from pointsman.definition.transactions import Database
from pointsman.kernel.rows import Address, EventWrite, Post, Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.scenarios import new_case, next_of

pytestmark = pytest.mark.usefixtures("patient")

HANG_SECONDS = 600
LEASE_SECONDS = 3_600.0  # nothing here renews it
# What another connection makes of the first write to a table: it fails as the server says it. A sequence is not rolled back.
FAILS_ONCE = """
CREATE SEQUENCE {schema}.fails;
CREATE FUNCTION {schema}.fail_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF nextval('{schema}.fails') = 1 THEN
    RAISE EXCEPTION 'refused' USING ERRCODE = '{code}';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER fail_once AFTER INSERT OR UPDATE ON {schema}.{table} FOR EACH STATEMENT EXECUTE FUNCTION {schema}.fail_once();
"""
NOTED = [EventWrite("noted", None, 0, "{}")]

Write = Callable[[PostgresStore, int], Awaitable[Any]]


def run(url: str, scenario: Callable[[PostgresStore, "psycopg.AsyncConnection[Any]"], Awaitable[None]]) -> None:
    """Run a scenario on a store, with another connection to the same server."""

    async def main() -> None:
        store = await open_postgres(url, lease_seconds=LEASE_SECONDS)
        try:
            async with await psycopg.AsyncConnection.connect(url.partition("?")[0], autocommit=True) as other:
                await scenario(store, other)
        finally:
            await store.close()

    asyncio.run(asyncio.wait_for(main(), HANG_SECONDS))


async def commit(store: PostgresStore, case: int) -> None:
    await store.commit(next_of(case, 1, 0, events=NOTED))


async def start(store: PostgresStore, case: int) -> None:
    await new_case(store, key=f"after {case}")


async def post(store: PostgresStore, case: int) -> None:
    await store.post(Post(Address("p", case=case), "mail", "k", "1", 20.0))


async def append(store: PostgresStore, case: int) -> None:
    await store.append(case, NOTED, at=20.0)


async def transact(store: PostgresStore, case: int) -> None:
    await store.transact(lambda _: next_of(case, 1, 0, events=NOTED))


async def claim(store: PostgresStore, case: int) -> None:
    await new_case(store)
    assert len(await store.claim(["p"], now=20.0, limit=1)) == 1


@pytest.mark.parametrize("code", ["40P01", "40001"], ids=["deadlock", "serialization failure"])
@pytest.mark.parametrize(
    ("write", "table"),
    [(commit, "journal"), (start, "cases"), (post, "messages"), (append, "journal"), (transact, "journal"), (claim, "cases")],
    ids=["commit", "start", "post", "append", "transact", "claim"],
)
def test_what_the_server_refuses_for_another_transaction_is_attempted_again(postgres_url: str, write: Write, table: str, code: str) -> None:
    async def scenario(store: PostgresStore, other: "psycopg.AsyncConnection[Any]") -> None:
        schema = store.connections.place.schema
        case = await new_case(store, status=Status.RUNNING)
        await other.execute(FAILS_ONCE.format(schema=schema, code=code, table=table).encode())

        await write(store, case)

        cursor = await other.execute(f"SELECT last_value FROM {schema}.fails".encode())
        [(attempts,)] = await cursor.fetchall()
        assert attempts >= 2

    run(postgres_url, scenario)


def test_a_deadlock_with_another_connection_is_survived(postgres_url: str) -> None:
    """The author's transaction has the first row and waits for the second one; the other connection has that one and waits for the first."""

    async def scenario(store: PostgresStore, other: "psycopg.AsyncConnection[Any]") -> None:
        schema = store.connections.place.schema
        own = f"{schema}_own"
        await other.execute(f"CREATE SCHEMA {own}; CREATE TABLE {own}.rows AS SELECT 1 AS id UNION ALL SELECT 2".encode())
        try:
            case = await new_case(store, status=Status.RUNNING)
            calls: list[int] = []

            def work(db: Database) -> Transition:
                calls.append(case)
                for number in (1, 2):
                    db.execute(f"UPDATE {own}.rows SET id = id WHERE id = ?::integer /* {schema}. */", (number,))
                return next_of(case, 1, 0, events=NOTED)

            await other.execute("SET deadlock_timeout = '1h'")  # so the server refuses the store, and not this connection
            async with other.transaction():
                await other.execute(f"UPDATE {own}.rows SET id = id WHERE id = 2".encode())
                written = asyncio.ensure_future(store.transact(work))
                await blocked(store, 1)
                await other.execute(f"UPDATE {own}.rows SET id = id WHERE id = 1".encode())
                assert len(calls) >= 1
            assert await written == case
            assert len(calls) >= 2
            row = await store.case(case)
            assert row is not None
            assert row.revision == 2
        finally:
            await other.execute(f"DROP SCHEMA {own} CASCADE".encode())

    run(postgres_url, scenario)
