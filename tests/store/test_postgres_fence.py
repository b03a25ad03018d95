"""An engine that has lost a case or its lease writes nothing; the control without the fence writes."""

import asyncio
from contextlib import suppress

import pytest

from pointsman.errors import Conflict, LeaseLost, StoreAway
from pointsman.kernel.rows import Address, Post
from pointsman.kernel.snapshot import Status
from pointsman.store.postgres.connections import Connections, place_of, rows_of, schema_statements
from pointsman.store.postgres.store import open_postgres
from pointsman.store.postgres.writes import Call, Writing
from pointsman.testing.scenarios import new_case, next_of, start_of
from postgres_server import Server

pytestmark = pytest.mark.usefixtures("patient")

FENCE = "c.fence = t.fence"
LEASE_SECONDS = 3_600.0  # far longer than a machine stands still: the tests move the clock by parts of it
HANG_SECONDS = 600.0


async def written_by_a_loser(url: str) -> bool:
    """Let an engine write a case that another one has taken over; return whether the store takes that."""
    ahead = 0.0
    loser = await open_postgres(url, lease_seconds=LEASE_SECONDS)
    winner = await open_postgres(url, lease_seconds=LEASE_SECONDS, skew=lambda: ahead)
    try:
        case = await new_case(loser)
        [lost] = await loser.claim(["p"], now=20.0, limit=1)
        ahead = 0.7 * LEASE_SECONDS
        await winner.renew()
        ahead = 1.4 * LEASE_SECONDS  # only the other one's lease has expired
        [taken] = await winner.claim(["p"], now=20.0, limit=1)
        assert (lost.case.id, taken.case.id) == (case, case)
        await loser.commit(next_of(case, lost.case.revision, lost.case.fence))
    except Conflict:
        return False
    else:
        return True
    finally:
        await winner.close()
        await loser.close()


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_engine_that_has_lost_a_case_writes_to_it_only_if_the_fence_is_forgotten(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, forgotten: bool
) -> None:
    statements = schema_statements(place_of(postgres_url).schema)
    if forgotten:
        for name, text in statements.items():
            monkeypatch.setitem(statements, name, text.replace(FENCE, "true"))  # type: ignore[arg-type]

    assert asyncio.run(written_by_a_loser(postgres_url)) == forgotten


def test_a_message_starts_no_case_for_an_engine_that_was_forgotten(postgres_url: str) -> None:
    """Nobody would take it over: it would belong to an engine that nobody knows."""

    async def main() -> None:
        stalled = await open_postgres(postgres_url, lease_seconds=LEASE_SECONDS)
        start = await start_of(stalled, status=Status.RUNNING)
        other = await open_postgres(postgres_url, lease_seconds=LEASE_SECONDS, skew=lambda: 2 * LEASE_SECONDS)  # it forgets the stalled one
        try:
            with pytest.raises(LeaseLost):
                await stalled.post(Post(Address("p", correlation="c"), "mail", "k", "1", 20.0), start)
            assert (await other.cases(), await other.unmatched()) == ([], [])
        finally:
            await other.close()
            await stalled.close()

    asyncio.run(main())


@pytest.mark.parametrize("pooled", [False, True])
def test_the_server_ends_the_transaction_of_an_engine_that_says_nothing_for_half_a_lease(postgres_url: str, pooled: bool) -> None:
    """An engine that is stopped in a transaction would keep the locks on its cases, and claims pass over what is locked."""

    async def main() -> tuple[str, str]:
        store = await open_postgres(f"{postgres_url}&pooler=transaction" if pooled else postgres_url, lease_seconds=LEASE_SECONDS)
        show = "SHOW idle_in_transaction_session_timeout"
        try:
            async with store.connections.transaction() as connection:
                [(of_small_writes,)] = await rows_of(connection, show)
            [(of_batches,)] = await store._writer.alone(lambda connection: rows_of(connection, show))
        finally:
            await store.close()
        return of_small_writes, of_batches

    assert asyncio.run(main()) == ("30min", "30min")


def test_the_server_ends_a_transaction_that_is_silent_after_several_statements(postgres: Server, postgres_url: str) -> None:
    """Psycopg ends a pipeline whose answers are late with a Flush, after which the server does not count the silence."""
    statements = {"quick": "SELECT 1", "late": "SELECT set_config('idle_in_transaction_session_timeout', '1', true), pg_sleep(0.05)"}

    async def main() -> None:
        connections = Connections(place_of(postgres_url))
        await connections.open()
        try:
            with suppress(StoreAway):
                async with connections.transaction() as connection:
                    await Writing(statements, "", 1, 0).run(connection, [Call("quick", {}), Call("late", {})])
                    await asyncio.to_thread(ended, connection.info.backend_pid)
        finally:
            await connections.close()

    def ended(session: int) -> None:
        while postgres.execute(f"SELECT 1 FROM pg_stat_activity WHERE pid = {session}"):
            pass

    asyncio.run(asyncio.wait_for(main(), HANG_SECONDS))
