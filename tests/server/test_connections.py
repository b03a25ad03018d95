"""Connections of a served program that send nothing, or not enough, lock nobody out."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from pointsman import Engine
from pointsman.server import connections
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.server.running import AT_ONCE_MAX, QUIET, listening
from server.serving import HANG_SECONDS, TOKEN, claims

HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@asynccontextmanager
async def address(folder: Path) -> AsyncIterator[tuple[str, int]]:
    async with Engine.open(folder / "cases.db", [claims]) as engine:
        app = create_app(engine, LocalAccess("ada", TOKEN))
        async with listening(app, folder / "cases.db", TOKEN, "127.0.0.1", 0) as url:
            yield "127.0.0.1", int(url.rpartition(":")[2])


@pytest.mark.parametrize("sent", [b"", HEAD, b"POST /api/v1/cases HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{"])
def test_many_connections_without_a_whole_request_lock_nobody_out(tmp_path: Path, sent: bytes) -> None:
    async def body() -> None:
        async with address(tmp_path) as (host, port):
            writers = []
            for _ in range(AT_ONCE_MAX + 20):
                _, writer = await asyncio.open_connection(host, port)
                writer.write(sent)
                writers.append(writer)
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=HANG_SECONDS) as client:
                assert (await client.get("/health")).status_code == 200
            for writer in writers:
                writer.close()

    asyncio.run(asyncio.wait_for(body(), HANG_SECONDS))


@pytest.mark.parametrize("first", [b"", HEAD + b"\r\n"], ids=["no request", "after a request"])
@pytest.mark.parametrize("sent", [b"", HEAD], ids=["nothing", "a part of one"])
def test_a_connection_without_a_whole_request_is_closed(
    tmp_path: Path, first: bytes, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setitem(QUIET, "timeout_keep_alive", HANG_SECONDS if sent else 0.05)  # uvicorn's own bound, after a first request

    async def body() -> None:
        async with address(tmp_path) as (host, port):
            if not first:
                monkeypatch.setattr(connections, "HEAD_SECONDS", 0.05)
            reader, writer = await asyncio.open_connection(host, port)
            if first:
                writer.write(first)
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 OK")
                monkeypatch.setattr(connections, "HEAD_SECONDS", 0.05)
            with suppress(ConnectionResetError):  # it was closed before this came
                writer.write(sent)
                assert await reader.read() == b""  # until the other end closes the connection
            writer.close()

    asyncio.run(asyncio.wait_for(body(), HANG_SECONDS))


def test_the_body_of_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, at_once = connections.BoundedConnection.connection_made, []

    def noted(self: connections.BoundedConnection, transport: asyncio.Transport) -> None:
        made(self, transport)
        at_once.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)

    monkeypatch.setattr(connections.BoundedConnection, "connection_made", noted)

    async def body() -> None:
        async with address(tmp_path) as (host, port), httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=HANG_SECONDS) as client:
            assert (await client.get("/health")).status_code == 200

    asyncio.run(body())
    assert at_once == [True]
