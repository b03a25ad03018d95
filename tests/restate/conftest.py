"""Ends the threads of what a test has served."""

from collections.abc import Iterator

import pytest
from objects_in_memory import SERVED


@pytest.fixture(autouse=True)
def no_work_left() -> Iterator[None]:
    """Close, after the test, what it has served: tests of the engine wait for the end of all threads of nodes."""
    yield
    while SERVED:
        SERVED.pop().close()
