"""Connections of a served program that send nothing, or not enough, lock nobody out."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from pointsman import Engine
from pointsman.server import connections
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.server.running import AT_ONCE_MAX, QUIET, listening
from server.serving import TOKEN, claims

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
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
                assert (await client.get("/health")).status_code == 200
            for writer in writers:
                writer.close()

    asyncio.run(asyncio.wait_for(body(), 60.0))


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"\r\n" + HEAD])
def test_a_connection_without_a_whole_request_is_closed(tmp_path: Path, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.05)
    monkeypatch.setitem(QUIET, "timeout_keep_alive", 0.05)  # uvicorn's own bound, after a first request

    async def body() -> None:
        async with address(tmp_path) as (host, port):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(sent)
            answers = await reader.read()  # until the other end closes the connection
            assert answers.count(b"HTTP/1.1 200 OK") == sent.count(b"\r\n\r\n")
            writer.close()

    asyncio.run(asyncio.wait_for(body(), 60.0))


def test_the_body_of_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, at_once = connections.BoundedConnection.connection_made, []

    def noted(self: connections.BoundedConnection, transport: asyncio.Transport) -> None:
        made(self, transport)
        at_once.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)

    monkeypatch.setattr(connections.BoundedConnection, "connection_made", noted)

    async def body() -> None:
        async with address(tmp_path) as (host, port), httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            assert (await client.get("/health")).status_code == 200

    asyncio.run(body())
    assert at_once == [True]
