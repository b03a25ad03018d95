"""The memory store keeps the contract."""

import pytest

from pointsman.store.memory import MemoryStore
from pointsman.testing.conformance import OpenStore, StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        async def open_store() -> MemoryStore:
            return MemoryStore()

        return open_store
