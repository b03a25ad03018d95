"""Patience with a PostgreSQL server of the tests: it is there, and only a machine that is busy or stands still delays a connection."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from pointsman.store.postgres import connections

SECONDS = 600.0


@contextmanager
def patient() -> Iterator[None]:
    """Let engines wait long for their connections."""
    with (
        patch.object(connections, "CONNECT_SECONDS", SECONDS),
        patch.dict(connections.POOL, timeout=SECONDS),
        patch.dict(connections.NETWORK, connect_timeout=f"{SECONDS:.0f}"),
    ):
        yield
