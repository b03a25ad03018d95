"""What an engine hears of the commits of others."""

import asyncio
from contextlib import suppress

import psycopg
import pytest

from pointsman import StoreError
from pointsman.store.postgres.store import open_postgres

pytestmark = pytest.mark.usefixtures("patient")

HANG_SECONDS = 600
LEASE_SECONDS = 3_600.0  # nothing here renews it
SENT = 1_000


def test_notifications_that_nobody_has_read_merge(postgres_url: str) -> None:
    async def main() -> int:
        store = await open_postgres(postgres_url, lease_seconds=LEASE_SECONDS)
        notifications = store.notifications()
        try:
            async with await psycopg.AsyncConnection.connect(postgres_url.partition("?")[0], autocommit=True) as other:
                channel = f"{store.connections.place.schema}_committed"
                first = asyncio.ensure_future(anext(notifications))
                while not first.done():  # until it listens
                    await other.execute("SELECT pg_notify(%s, 'another')", (channel,))
                    await asyncio.wait([first], timeout=0.1)
                await other.execute("SELECT pg_notify(%s, i::text || ' another') FROM generate_series(1, %s) i", (channel, SENT))
                await anext(notifications)
                heard = 1
                await other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = %s", (f'LISTEN "{channel}"',)
                )  # then it has heard everything
                with suppress(StoreError):
                    async for _ in notifications:
                        heard += 1
        finally:
            await store.close()
        return heard

    heard = asyncio.run(asyncio.wait_for(main(), HANG_SECONDS))

    assert heard < SENT / 10
