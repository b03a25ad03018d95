"""The running program: it holds the engine open, and serves it on one address. A file beside the database says where, and with which token."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from pointsman.errors import PointsmanError

GRACE_SECONDS = 5  # for running requests when the program stops
AT_ONCE_MAX = 200  # connections


class CannotListen(PointsmanError):
    """The address is taken, or is not one of this machine."""


def address_file(database: Path) -> Path:
    """Return the file that says where the program that runs `database` listens. Only its owner can read it."""
    return database.with_name(f"{database.name}.server")


@asynccontextmanager
async def listening(app: FastAPI, database: Path, token: str, host: str, port: int) -> AsyncIterator[str]:
    """Serve `app` while the block runs, and yield its address. Port 0 is any free port. Raises CannotListen."""
    try:
        opened = socket.create_server((host, port))
    except OSError as error:
        raise CannotListen(f"{host}:{port} cannot be used ({error.strerror}); name another one with --host and --port.") from None
    with opened:
        url = f"http://{host}:{opened.getsockname()[1]}"
        server = _Server(
            uvicorn.Config(
                app, limit_concurrency=AT_ONCE_MAX, timeout_graceful_shutdown=GRACE_SECONDS, lifespan="off",
                log_config=None, access_log=False, server_header=False,
            )
        )  # fmt: skip
        task = asyncio.create_task(server.serve(sockets=[opened]))
        with _announced(address_file(database), {"url": url, "token": token, "pid": os.getpid()}):
            try:
                yield url
            finally:
                app.state.closing.set()  # streams end now; other requests have GRACE_SECONDS
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
    handle = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as text:
        json.dump(where, text)
    written.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
