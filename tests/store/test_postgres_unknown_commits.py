"""A batch whose COMMIT was not answered is written once, or its callers are told that it is not known."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from pointsman.definition.transactions import Database
from pointsman.errors import StoreError
from pointsman.kernel.rows import Address, Post, Transition
from pointsman.store.postgres.connections import POOL_MAX
from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.scenarios import new_case, next_of, start_of
from postgres_proxy import Cut, Proxy

LEASE_SECONDS = 3_600.0  # nothing here renews it
SHORT_SECONDS = 1.0
HANGS_SECONDS = 600


@pytest.fixture(name="proxy")
def _proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(postgres_url) as proxy:
        yield proxy


def run(proxy: Proxy, scenario: Callable[[PostgresStore], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(HANGS_SECONDS):
            store = await open_postgres(proxy.url, lease_seconds=LEASE_SECONDS)
            try:
                await scenario(store)
            finally:
                proxy.let_through()
                await store.close()

    asyncio.run(whole())


def hurry(store: PostgresStore) -> None:
    """Let a store that is open give up after a moment, and not after a lease: to open it may take longer than a moment."""
    lines = store._writer.lines
    assert {store.connections.repeat_seconds, *(line._give_up_seconds for line in lines)} == {LEASE_SECONDS}
    store.connections.repeat_seconds = SHORT_SECONDS
    for line in lines:
        line._give_up_seconds, line._answer_seconds = SHORT_SECONDS, SHORT_SECONDS / 2


@pytest.mark.parametrize(
    ("cuts", "found"),
    [
        (("before",), 0),
        (("after",), 1),
        (("before", "before"), 0),
        (("before", "after"), 0),
        (("after", "before"), 1),
        (("after", "after"), 1),
    ],
)
def test_a_batch_is_written_once_wherever_connections_are_cut(proxy: Proxy, cuts: tuple[Cut, ...], found: int) -> None:
    """The first cut is at the batch's COMMIT, the second one at the COMMIT of the look at what happened to it."""

    async def scenario(store: PostgresStore) -> None:
        proxy.cut_at_commit(*cuts)
        cases = [await new_case(store), await new_case(store)]
        assert proxy.cuts == len(cuts)
        assert (store._writer.fates.unknown, store._writer.fates.found_committed) == (1, found)
        assert [row.id for row in await store.cases()] == cases

    run(proxy, scenario)


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_claim_whose_commit_is_not_answered_leaves_no_case_behind(proxy: Proxy, cut: Cut) -> None:
    async def scenario(store: PostgresStore) -> None:
        case = await new_case(store)
        proxy.cut_at_commit(cut)
        claimed = await store.claim(["p"], now=20.0, limit=2)
        assert proxy.cuts == 1
        assert [(one.case.id, one.case.fence) for one in claimed] == [(case, 1)]

    run(proxy, scenario)


@pytest.mark.parametrize(("cut", "calls"), [("before", 2), ("after", 1)])
def test_a_transaction_of_an_author_is_committed_once(proxy: Proxy, cut: Cut, calls: int) -> None:
    async def scenario(store: PostgresStore) -> None:
        case = await new_case(store)
        called = []

        def work(_: Database) -> Transition:
            called.append(case)
            return next_of(case, 1, 0)

        proxy.cut_at_commit(cut)
        assert await store.transact(work) == case
        [row] = await store.cases()
        assert (proxy.cuts, len(called), row.revision) == (1, calls, 2)

    run(proxy, scenario)


def test_a_store_that_cannot_find_out_writes_nothing_more(proxy: Proxy) -> None:
    async def scenario(store: PostgresStore) -> None:
        starts = [await start_of(store) for _ in range(2)]
        hurry(store)
        proxy.swallow()
        with pytest.raises(StoreError, match="cannot be reached"):
            await store.commit(starts[0])
        proxy.let_through()
        with pytest.raises(StoreError, match="cannot be reached"):
            await store.commit(starts[1])

    run(proxy, scenario)


def test_a_lease_is_not_waited_for_beyond_its_end(proxy: Proxy) -> None:
    async def scenario(store: PostgresStore) -> None:
        hurry(store)
        proxy.swallow()
        with pytest.raises(StoreError, match="cannot be reached"):
            await store.renew()

    run(proxy, scenario)


def test_a_read_does_not_use_a_connection_that_has_ended(proxy: Proxy) -> None:
    """A restart of the server ends all connections of a full pool."""

    async def scenario(store: PostgresStore) -> None:
        case = await new_case(store)
        async with AsyncExitStack() as busy:
            for _ in range(POOL_MAX):
                await busy.enter_async_context(store.connections.connection())
        proxy.cut_all()
        assert [row.id for row in await store.cases()] == [case]

    run(proxy, scenario)


def test_a_transaction_is_not_known_by_the_number_that_the_server_gave_it(proxy: Proxy) -> None:
    """A server that has crashed gives the numbers of lost transactions again, and knows none of those it has not given again."""

    async def scenario(store: PostgresStore) -> None:
        await new_case(store)
        [(given_again,)] = await store.connections.rows("SELECT pg_current_xact_id()::text")
        not_given_again = str(int(given_again) + 1_000_000)

        found = [await store._was_committed(tx, number=1_000) for tx in (given_again, not_given_again)]

        assert found == [False, False]

    run(proxy, scenario)


def test_small_writes_leave_one_row(proxy: Proxy) -> None:
    async def scenario(store: PostgresStore) -> None:
        case = await new_case(store)

        for n in range(5):
            await store.post(Post(Address("p", case=case), "mail", f"k {n}", "1", 20.0))

        [(rows,)] = await store.connections.rows(
            "SELECT count(*) FROM pointsman.small_writes".replace("pointsman", store.connections.place.schema)
        )
        assert rows == 1

    run(proxy, scenario)
