"""Limits of a PostgreSQL store that several handles change at once."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import psycopg
import pytest
from postgres_handles import Handle, run

from pointsman import Limit
from pointsman.kernel.limits import GivePermit, TakePermit
from pointsman.store.postgres.connections import Connections

pytestmark = pytest.mark.usefixtures("patient")

HANDLES, PERMITS, CALLS = 12, 3, 8
# In all, so that a permit that is never free again ends the test: twice as many as if all ask once while a permit is given back.
ASKS_MAX = 2 * (HANDLES * CALLS) ** 2


def test_s17_many_handles_never_exceed_a_limit(postgres_url: str) -> None:
    """Of twelve handles that all take and return permits of one limit, at most three hold one at any moment."""
    limit = Limit("mail", concurrency=PERMITS)
    held: set[str] = set()
    most = taken = asks = 0

    async def call(handle: Handle, holder: str) -> None:
        nonlocal most, taken, asks
        while (await handle.change_limit(TakePermit(limit, holder, 10.0, 99.0))).refused_until is not None:
            asks += 1
            assert asks < ASKS_MAX
        held.add(holder)
        taken += 1
        most = max(most, len(held))
        while most < PERMITS:  # noqa: ASYNC110 - until as many hold one as may
            await asyncio.sleep(0)
        held.remove(holder)
        await handle.change_limit(GivePermit(limit, holder, "well", 10.0, 1))

    async def scenario(opened: list[Handle]) -> None:
        await asyncio.gather(*(call(handle, f"{place} {number}") for place, handle in enumerate(opened) for number in range(CALLS)))
        [(state, _)] = await opened[0].connections.rows(opened[0].connections.sql["lock_limit"], {"name": "mail"})
        assert '"permits":{}' in state
        assert f'"changes":{2 * HANDLES * CALLS}' in state

    run(postgres_url, scenario, HANDLES)
    assert taken == HANDLES * CALLS
    assert most == PERMITS


def test_s17_changes_of_one_handle_share_commits_and_still_see_each_other(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty calls ask at once: three get a permit. The first one's transaction is under way while the others wait for the second."""
    limit = Limit("mail", concurrency=PERMITS)
    transactions = 0
    connection = Connections.connection

    def counted(self: Connections) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        nonlocal transactions
        transactions += 1
        return connection(self)

    async def scenario(opened: list[Handle]) -> None:
        [handle] = opened
        monkeypatch.setattr(Connections, "connection", counted)
        takes = (TakePermit(limit, str(number), 10.0, 99.0) for number in range(50))
        taken = await asyncio.gather(*map(handle.change_limit, takes))
        assert [answer.refused_until is None for answer in taken] == [True] * PERMITS + [False] * 47
        assert transactions <= 2

    run(postgres_url, scenario, 1)
