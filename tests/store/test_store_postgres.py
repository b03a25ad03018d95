"""The PostgreSQL store keeps the contract, also with several engines on one database."""

import asyncio
from functools import partial

import pytest

from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.conformance import LeaseConformance, OpenHandles, OpenStore, StoreConformance

pytestmark = pytest.mark.usefixtures("patient")

LEASE_SECONDS = 3_600.0  # far longer than a machine stands still: the tests move the clock by parts of it


class SharedPostgres:
    """Handles of several engines on one database, whose clock the test advances."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._passed = 0.0
        self._opened: list[PostgresStore] = []

    async def another(self) -> PostgresStore:
        self._opened.append(await open_postgres(self._url, lease_seconds=LEASE_SECONDS, skew=lambda: self._passed))
        return self._opened[-1]

    async def pass_seconds(self, seconds: float) -> None:
        self._passed += seconds

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


class TestPostgresStore(StoreConformance, LeaseConformance):
    @pytest.fixture
    def open_store(self, postgres_url: str) -> OpenStore:
        return partial(open_postgres, postgres_url, lease_seconds=LEASE_SECONDS)

    @pytest.fixture
    def open_handles(self, postgres_url: str) -> OpenHandles:
        async def open_handles() -> SharedPostgres:
            await asyncio.sleep(0)
            return SharedPostgres(postgres_url)

        return open_handles
