"""The memory store keeps the contract."""

import pytest

from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock
from pointsman.testing.conformance import LeaseConformance, OpenHandles, OpenStore, StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        async def open_store() -> MemoryStore:
            return MemoryStore()

        return open_store


class SharedMemory:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(lease_seconds=30.0, now=self.clock.now)

    async def another(self) -> MemoryStore:
        return self.store.beside()

    async def pass_seconds(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def close(self) -> None:
        await self.store.close()


class TestSharedMemoryStore(StoreConformance, LeaseConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        async def open_store() -> MemoryStore:
            return await SharedMemory().another()

        return open_store

    @pytest.fixture
    def open_handles(self) -> OpenHandles:
        async def open_handles() -> SharedMemory:
            return SharedMemory()

        return open_handles
