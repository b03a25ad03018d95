"""Streams of a served program: who may have one, how many, and until when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from pointsman import Engine
from pointsman.runtime.clock import SystemClock
from pointsman.server import streams
from pointsman.server.access import Role, Scope
from pointsman.server.accounts import Accounts
from pointsman.server.program import Serving, served
from pointsman.server.streams import STREAMS_EACH_MAX, STREAMS_MAX
from pointsman.web import pages
from server.serving import HANG_SECONDS, claims
from server.test_program import accounts_of

STREAMS = ["/live", "/api/v1/events/stream"]
LIMITS = httpx.Limits(
    max_connections=None, max_keepalive_connections=0
)  # or a request may come on a connection that the program just closes


@asynccontextmanager
async def program(folder: Path) -> AsyncIterator[tuple[Engine, Accounts, httpx.AsyncClient]]:
    """A program for people who sign in, and a client without a bound on its connections."""
    database = folder / "cases.db"
    accounts = accounts_of(database)
    accounts.put_user("ada", Role.APPROVER, "correct horse battery", 1.0)
    async with (
        Engine.open(database, [claims]) as engine,
        served(engine, database, pages(), Serving(port=0)) as url,
        httpx.AsyncClient(base_url=url, limits=LIMITS, timeout=HANG_SECONDS) as client,
    ):
        yield engine, accounts, client
    accounts.close()


def session_of(accounts: Accounts) -> dict[str, str]:
    secret = accounts.begin_session("ada", Role.APPROVER, SystemClock().now())
    return {"Cookie": f"pointsman_session={secret}"}


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("end", ["removed", "another role", "signed out"])
def test_a_stream_ends_with_the_session(tmp_path: Path, path: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUIET_SECONDS", 0.05)

    async def body() -> None:
        async with program(tmp_path) as (engine, accounts, client):
            headers = session_of(accounts)
            async with client.stream("GET", path, headers=headers) as response:
                assert response.status_code == 200
                if end == "removed":
                    accounts.remove_user("ada")
                elif end == "another role":
                    accounts.put_user("ada", Role.VIEWER, None, 2.0)
                else:
                    accounts.end_session(headers["Cookie"].partition("=")[2])
                await engine.start(claims, {"text": "a secret"})

                assert "data:" not in "".join([text async for text in response.aiter_text()])

    asyncio.run(asyncio.wait_for(body(), HANG_SECONDS))


def test_a_stream_ends_with_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUIET_SECONDS", 0.05)

    async def body() -> None:
        async with program(tmp_path) as (_, accounts, client):
            token = accounts.add_token("shop", [Scope.READ], 1.0)
            async with client.stream("GET", STREAMS[1], headers={"Authorization": f"Bearer {token}"}) as response:
                accounts.remove_token("shop")

                assert [text async for text in response.aiter_text() if "data:" in text] == []

    asyncio.run(asyncio.wait_for(body(), HANG_SECONDS))


@pytest.mark.parametrize("path", STREAMS)
def test_one_caller_with_many_streams_locks_nobody_out(tmp_path: Path, path: str) -> None:
    async def body() -> None:
        async with program(tmp_path) as (_, accounts, client), AsyncExitStack() as stack:
            mine, other = session_of(accounts), session_of(accounts)
            refused = 0
            for _ in range(STREAMS_EACH_MAX + 5):
                refused += (await stack.enter_async_context(client.stream("GET", path, headers=mine))).status_code == 429

            assert refused == 5
            assert (await client.get("/api/v1/counts", headers=mine)).status_code == 200
            assert (await stack.enter_async_context(client.stream("GET", path, headers=other))).status_code == 200

    asyncio.run(asyncio.wait_for(body(), HANG_SECONDS))


def test_streams_leave_room_for_requests_and_give_it_back(tmp_path: Path) -> None:
    async def body() -> None:
        async with program(tmp_path) as (_, accounts, client):
            mine = session_of(accounts)
            async with AsyncExitStack() as stack:
                granted = 0
                for number in range(STREAMS_MAX + 2):
                    mine = session_of(accounts) if number % STREAMS_EACH_MAX == 0 else mine
                    granted += (await stack.enter_async_context(client.stream("GET", "/live", headers=mine))).status_code == 200
                assert granted == STREAMS_MAX
                assert (await client.get("/api/v1/counts", headers=mine)).status_code == 200
            while True:  # the program sees that the streams are closed
                async with client.stream("GET", "/live", headers=mine) as response:
                    if response.status_code == 200:
                        return

    asyncio.run(asyncio.wait_for(body(), HANG_SECONDS))
