"""The two places in which the engine keeps every promise."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import HANG_SECONDS, Place

from pointsman.store.memory import MemoryStore


@pytest.fixture(params=["sqlite", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path / "cases.db", MemoryStore() if request.param == "memory" else None)


@pytest.fixture
def on_disk(tmp_path: Path) -> Place:
    return Place(tmp_path / "cases.db")


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    """Wait, after the test, for threads that were told to end: other tests count them."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("pointsman-node"):
            thread.join(HANG_SECONDS)
