"""Engines behind PgBouncer in its transaction mode, which gives each transaction another session of the server."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from test_postgres_races import at_once

from pgbouncer import PgBouncer
from pointsman.definition.transactions import Database
from pointsman.errors import StoreError
from pointsman.kernel.rows import EventWrite, Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.checkpoints import CheckpointId, CheckpointWrite, Value
from pointsman.store.postgres.connections import place_of
from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.scenarios import new_case, next_of

pytestmark = pytest.mark.usefixtures("patient")

HANG_SECONDS = 600
LEASE_SECONDS = 3_600.0  # nothing here renews it
# What a session must not keep, because another client gets it next.
KEPT = """
SELECT 'prepared', name FROM pg_prepared_statements
UNION ALL SELECT 'channel', channel FROM pg_listening_channels() AS channel
UNION ALL SELECT 'setting', name FROM pg_settings WHERE source = 'session' AND name NOT IN ('client_encoding', 'transaction_isolation', 'transaction_read_only')
UNION ALL SELECT 'lock', locktype FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
UNION ALL SELECT 'cursor', name FROM pg_cursors WHERE is_holdable
"""


@pytest.fixture(name="pooler")
def _pooler(postgres_url: str) -> Iterator[PgBouncer]:
    with PgBouncer(postgres_url, sessions=3) as pooler:
        yield pooler


async def all_of_it(one: PostgresStore, two: PostgresStore) -> None:
    """Run most kinds of statements, several times: psycopg prepares a statement that comes often."""
    for number in range(8):
        case = await new_case(one, key=f"k {number}", status=Status.RUNNING, events=[EventWrite("accepted", None, 0, "{}")])

        def work(db: Database, case: int = case) -> Transition:
            assert db.execute("SELECT ?::integer + 1", (1,)) == [(2,)]
            return next_of(case, 1, 0)

        await at_once(one.transact(work), two.append(case, [EventWrite("node.late", None, 0, "{}")], at=9.0), two.renew())
        await two.commit(next_of(case, 2, 0, Status.READY, wake_at=10.0))
        assert [claimed.case.id for claimed in await two.claim(["p"], now=20.0, limit=5)] == [case]
        assert await one.dossier(case) is not None
        assert len(await one.events(case=case)) == 2
        at = CheckpointId("t", "", f"{number}")
        await asyncio.wrap_future(one.checkpoints.put(CheckpointWrite(at, None, None, {}, Value("body", b"{}"), "{}", [])))
        assert await asyncio.wrap_future(two.checkpoints.get("t", "", f"{number}")) is not None


def test_engines_leave_nothing_in_a_session(pooler: PgBouncer) -> None:
    async def main() -> None:
        one, two = (
            await open_postgres(pooler.url, lease_seconds=LEASE_SECONDS),
            await open_postgres(pooler.url, lease_seconds=LEASE_SECONDS),
        )
        try:
            await all_of_it(one, two)
        finally:
            await one.close()
            await two.close()

    asyncio.run(asyncio.wait_for(main(), HANG_SECONDS))
    url = pooler.url.partition("?")[0]
    with psycopg.connect(url) as first, psycopg.connect(url) as second, psycopg.connect(url) as third:
        assert [connection.execute(KEPT).fetchall() for connection in (first, second, third)] == [[], [], []]


def test_a_pooler_is_noticed_unless_the_url_names_its_mode(pooler: PgBouncer, postgres_url: str) -> None:
    async def pooled(url: str) -> bool | None:
        store = await open_postgres(url, lease_seconds=LEASE_SECONDS)
        await store.close()
        return store.connections.place.pooled

    assert asyncio.run(pooled(pooler.url)) is True
    assert asyncio.run(pooled(postgres_url)) is False
    assert asyncio.run(pooled(f"{postgres_url}&pooler=transaction")) is True
    assert place_of(f"{pooler.url}&pooler=session").pooled is False
    with pytest.raises(StoreError, match="'statement' is no mode of a pooler; write"):
        place_of(f"{pooler.url}&pooler=statement")


def test_an_engine_notices_commits_of_others_although_nothing_can_be_listened_to(pooler: PgBouncer, postgres_url: str) -> None:
    async def main() -> None:
        one, two = (
            await open_postgres(pooler.url, lease_seconds=LEASE_SECONDS),
            await open_postgres(postgres_url, lease_seconds=LEASE_SECONDS),
        )
        try:
            for heard, commits in ((one, two), (two, one)):
                notifications = heard.notifications()
                waiting = asyncio.ensure_future(anext(notifications))
                while not waiting.done():  # a listener may begin to listen after a commit
                    await new_case(commits)
                    await asyncio.wait([waiting], timeout=0.1)
                await waiting
                await notifications.aclose()
        finally:
            await one.close()
            await two.close()

    asyncio.run(asyncio.wait_for(main(), HANG_SECONDS))
