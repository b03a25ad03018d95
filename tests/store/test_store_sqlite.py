"""The SQLite store keeps the contract."""

from functools import partial
from pathlib import Path

import pytest

from pointsman.store.sqlite import open_sqlite
from pointsman.testing.conformance import OpenStore, StoreConformance


class TestSqliteStore(StoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return partial(open_sqlite, tmp_path / "cases.db", now=10.0)
