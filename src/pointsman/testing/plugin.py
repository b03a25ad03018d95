"""The pytest plugin: fixtures for an author's tests. pytest loads it automatically if pointsman is installed."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pointsman.testing.everywhere import CrashReport
    from pointsman.testing.world import World


@pytest.fixture
def pointsman_world() -> "type[World]":
    """The class `World`: `pointsman_world(process, resources=..., people=...)` creates one."""
    from pointsman.testing.world import World  # noqa: PLC0415 - keeps the start of other projects' tests fast

    return World


@pytest.fixture
def crash_everywhere() -> "Callable[..., CrashReport]":
    """The function `crash_everywhere(process, inputs, ...)`."""
    from pointsman.testing.everywhere import crash_everywhere as run  # noqa: PLC0415

    return run
