"""A read whose connection is lost is repeated on another one, as long as the lease of its engine may last."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, errors

from pointsman.errors import StoreError
from pointsman.kernel.rows import Address, EventWrite, Post
from pointsman.kernel.snapshot import Status
from pointsman.store.postgres import connections
from pointsman.store.postgres.connections import ConnectionLost, Place, explain, place_of
from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.scenarios import new_case, next_of
from postgres_proxy import Proxy
from postgres_server import Server

HANGS_SECONDS = 600
LEASE_SECONDS = 3_600.0  # nothing here renews it
SHORT_SECONDS = 1.0
ENDS_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


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


@pytest.mark.parametrize(
    ("table", "read"),
    [
        ("cases", lambda store, case: store.case(case)),
        ("journal", lambda store, case: store.events(case=case)),
        ("effects", lambda store, case: store.dossier(case)),
        ("engines", lambda store, case: store.next_wake(["p"])),
        ("meta", lambda store, case: store.reserve(1)),
    ],
)
def test_a_lost_read_is_repeated(proxy: Proxy, table: str, read: Callable[[PostgresStore, int], Awaitable[object]]) -> None:
    async def scenario(store: PostgresStore) -> None:
        case = await new_case(store)
        proxy.cut_at(f"{store.connections.place.schema}.{table}", "before", "after", "before")

        assert await read(store, case) is not None
        assert proxy.cuts == 3

    run(proxy, scenario)


def test_a_renewal_that_is_lost_is_repeated(proxy: Proxy) -> None:
    async def scenario(store: PostgresStore) -> None:
        proxy.cut_at(f"UPDATE {store.connections.place.schema}.engines", "before", "after")

        assert await store.renew() > 0
        assert proxy.cuts == 2

    run(proxy, scenario)


def test_connections_that_the_server_ends_are_replaced(postgres: Server, postgres_url: str) -> None:
    async def main() -> None:
        store = await open_postgres(postgres_url, lease_seconds=LEASE_SECONDS)
        try:
            case = await new_case(store)
            for _ in range(5):
                await asyncio.gather(*(store.case(case) for _ in range(3)))
                postgres.execute(ENDS_ALL)
                assert [row.id for row in await store.cases()] == [case]
        finally:
            await store.close()

    asyncio.run(asyncio.wait_for(main(), HANGS_SECONDS))


def test_a_connection_that_ends_while_the_database_is_opened_is_replaced(
    postgres: Server, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    seen_through = connections._seen_through

    async def seen_at_last(place: Place, connection: AsyncConnection[Any]) -> Place:
        place = await seen_through(place, connection)
        postgres.execute(ENDS_ALL)
        return place

    async def main() -> None:
        store = await open_postgres(postgres_url, lease_seconds=LEASE_SECONDS)
        try:
            assert await store.cases() == []
        finally:
            await store.close()

    monkeypatch.setattr(connections, "_seen_through", seen_at_last)
    asyncio.run(asyncio.wait_for(main(), HANGS_SECONDS))


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (errors.AdminShutdown("ended"), ConnectionLost, "ended"),
        (errors.IdleInTransactionSessionTimeout("idle"), ConnectionLost, "idle"),
        (psycopg.OperationalError("no answer"), ConnectionLost, "no answer"),
        (errors.QueryCanceled("statement timeout"), StoreError, "statement timeout; raise the limit of this role"),
        (errors.LockNotAvailable("lock timeout"), StoreError, "lock timeout; raise the limit of this role"),
    ],
)
def test_an_error_after_which_the_connection_has_ended_is_a_lost_connection(error: psycopg.Error, kind: type, words: str) -> None:
    explained = explain(place_of("postgresql://h/d"), error)

    assert (type(explained), words in str(explained)) == (kind, True)


def test_a_restart_of_the_server_is_not_noticed(postgres: Server, postgres_url: str) -> None:
    async def main() -> None:
        store = await open_postgres(postgres_url, lease_seconds=LEASE_SECONDS)
        try:
            case = await new_case(store, status=Status.RUNNING)
            restart, revision = asyncio.create_task(asyncio.to_thread(postgres.restart_immediately)), 1
            over = False
            while not over:
                over = restart.done()
                assert await store.commit(next_of(case, revision, 0)) == case
                revision += 1
                await store.post(Post(Address("p", case=case), "mail", f"k {revision}", "1", 20.0))
                await store.append(case, [EventWrite("node.late", None, 0, "{}")], at=20.0)
                row = await store.case(case)
                assert row is not None
                assert (row.revision, row.inbox) == (revision, revision - 1)
                assert len(await store.events(case=case)) == revision
                await store.renew()
            await restart
        finally:
            await store.close()

    asyncio.run(asyncio.wait_for(main(), HANGS_SECONDS))


def test_a_network_that_swallows_everything_ends_a_read_with_the_lease(proxy: Proxy) -> None:
    async def scenario(store: PostgresStore) -> None:
        assert store.connections.repeat_seconds == LEASE_SECONDS
        store.connections.repeat_seconds = SHORT_SECONDS  # not before the store is open, which may take longer
        proxy.swallow()

        with pytest.raises(StoreError, match="cannot be reached; check the address"):
            await store.cases()

    run(proxy, scenario)


def test_libpq_notices_a_server_that_is_gone_unless_the_url_says_otherwise() -> None:
    default = place_of("postgresql://app@db.test/shop").conninfo
    own = place_of("postgresql://app@db.test/shop?tcp_user_timeout=0&schema=one").conninfo

    assert "keepalives_idle=4&" in default
    assert default.endswith("tcp_user_timeout=10000")
    assert own.endswith("tcp_user_timeout=0")
