"""The running program: it holds the engine open, and serves it on one address. A file beside the database says where, and with which token."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette

from pointsman.client.running import address_file
from pointsman.runtime.listening import bound
from pointsman.server.connections import BoundedConnection

GRACE_SECONDS = 5  # for running requests when the program stops
AT_ONCE_MAX = 200  # connections
QUIET: Mapping[str, Any] = {
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "http": BoundedConnection,
    "ws": "none",
    "proxy_headers": False,  # they would let a header name the other end of the connection; see `forwarded`
}


@asynccontextmanager
async def listening(app: FastAPI, database: Path | str, token: str, host: str, port: int) -> AsyncIterator[str]:
    """Serve `app` while the block runs, and yield its address. Port 0 is any free port. Raises CannotListen.

    Commands on a file find the address in a file beside it; those on a URL need none.
    """
    with bound(host, port, "name another one with --host and --port") as (opened, url):
        async with answering(app, opened, at_once_max=AT_ONCE_MAX):
            try:
                # No command is told an address that does not answer, and none is told of a server that is about to stop.
                where: dict[str, str | int] = {"url": url, "token": token, "pid": os.getpid()}
                with _announced(address_file(database), where) if isinstance(database, Path) else nullcontext():
                    yield url
            finally:
                app.state.closing.set()  # streams end now; other requests have GRACE_SECONDS


@asynccontextmanager
async def answering(app: Starlette, opened: socket.socket, *, at_once_max: int) -> AsyncIterator[None]:
    """Answer requests on an open socket while the block runs, `at_once_max` at a time, and finish the running ones at its end."""
    server = _Server(uvicorn.Config(app, limit_concurrency=at_once_max, timeout_graceful_shutdown=GRACE_SECONDS, lifespan="off", **QUIET))
    task = asyncio.create_task(server.serve(sockets=[opened]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """A server whose program handles the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the program."""
        yield


@contextmanager
def _announced(file: Path, where: dict[str, str | int]) -> Iterator[None]:
    written = file.with_name(f"{file.name}.new")
    written.unlink(missing_ok=True)  # a dead program may have left it
    handle = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as text:
        json.dump(where, text)
    written.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # the engine still has the database's lock, so this is not the file of the next program
