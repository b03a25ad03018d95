"""Serve processes to a Restate server, and register them with it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
import restate
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from pointsman.definition.process import AnyProcess
from pointsman.errors import StoreAway
from pointsman.restate.objects import objects
from pointsman.restate.work import THREADS, Work

LOOK_SECONDS = 0.02  # between two tries to connect to the port that was just opened
REGISTERING_SECONDS = 30.0  # the server asks this program what it serves before it answers


def restate_app(processes: Sequence[AnyProcess], resources: Mapping[str, Any] | None = None, *, threads: int = THREADS) -> Any:
    """The ASGI application that a Restate server calls, for a server with HTTP/2 such as granian.

    `resources` are what the functions name, `threads` how many plain functions run at once. `/health` answers while it is served. Raises
    DefinitionError if a process uses what is not offered on Restate, or lacks a resource.
    """
    return restate.app(services=objects(Work(processes, resources, threads=threads)))


async def serve(app: Any, host: str, port: int, stop: asyncio.Event, ready: Callable[[], Awaitable[None]]) -> None:
    """Serve the application over HTTP/2 without TLS, as a Restate server calls it, until `stop` is set; call `ready` when it listens.

    Raises OSError if it cannot listen there, and what `ready` raises.
    """
    # Of the servers for ASGI, granian is the fastest here: benchmarks/peers/restate.py uses it too.
    server = Server(app, host, port, interface=Interfaces.ASGINL, http=HTTPModes.auto, websockets=False, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await _listens(host, port, serving)
        await ready()
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if not serving.done():
            server.stop()  # type: ignore[no-untyped-call]
        await serving


async def _listens(host: str, port: int, serving: "asyncio.Task[None]") -> None:
    """Return when the port takes connections, or the server has failed."""
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(LOOK_SECONDS)
        else:
            writer.close()
            return


async def register(admin: str, address: str) -> None:
    """Register the program at `address` with the server whose admin API is at `admin`. Raises StoreAway.

    It may be registered again after its code has changed: a journal has the same shape under every version of the code.
    """
    async with httpx.AsyncClient(base_url=admin, timeout=REGISTERING_SECONDS, trust_env=False) as http:
        try:
            response = await http.post("/deployments", json={"uri": address, "force": True})
        except httpx.HTTPError as error:
            raise StoreAway(
                f"the Restate server at {admin} does not answer ({type(error).__name__}); start it, or correct --admin."
            ) from None
        if not response.is_success:
            raise StoreAway(f"the Restate server at {admin} refused {address}: {response.text}")
