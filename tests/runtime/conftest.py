"""The two places in which the engine keeps every promise."""

from pathlib import Path

import pytest
from places import Place

from pointsman.store.memory import MemoryStore


@pytest.fixture(params=["sqlite", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path / "cases.db", MemoryStore() if request.param == "memory" else None)


@pytest.fixture
def on_disk(tmp_path: Path) -> Place:
    return Place(tmp_path / "cases.db")
