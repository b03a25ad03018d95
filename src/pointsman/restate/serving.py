"""Serve processes to a Restate server."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import restate
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from pointsman.definition.process import AnyProcess
from pointsman.restate.objects import objects
from pointsman.restate.work import Work
from pointsman.runtime.listening import bound
from pointsman.runtime.one_case import THREADS
from pointsman.store.blob_folder import Blobs

DRAIN_SECONDS = 20.0  # as `pointsman worker` has it
LOOK_SECONDS = 0.02  # between two tries to connect to the port that was just opened, or to end a call


class Application:
    """The ASGI application that a Restate server calls. It knows the invocations under way, so that a program can let them end."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._asgi: Any = restate.app(services=objects(work))
        self._under_way: set[asyncio.Task[Any]] = set()
        self._refuses: tuple[str, ...] = ()  # how the paths of invocations end that are refused

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request. While the program stops, a step of a case is refused, and Restate tries it again later or elsewhere."""
        if "/invoke/" in scope["path"] and scope["path"].endswith(self._refuses):
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        request = cast("asyncio.Task[Any]", asyncio.current_task())
        self._under_way.add(request)
        request.add_done_callback(self._under_way.discard)
        await self._asgi(scope, receive, send)

    async def begin(self) -> None:
        """Make the first request, at which the SDK takes SIGTERM. Take it afterwards, or that is not heard."""

        async def nothing(_: object = None) -> None:
            """Take the answer."""

        await self._asgi({"type": "http", "path": "/health", "headers": []}, nothing, nothing)

    async def drain(self, seconds: float) -> None:
        """Begin no more steps, but take the short invocations that those under way may wait for.

        Let those under way end, and cancel those that have not ended after so many `seconds`.
        """
        self._refuses = ("/step",)
        while self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
            for request in self._under_way:
                request.cancel()  # the SDK takes the first for one of its own, and then waits for the server to hang up
            self._refuses, seconds = ("",), LOOK_SECONDS

    def close(self) -> None:
        """End the threads of plain functions: each with its call."""
        self._work.close()


def restate_app(
    processes: Sequence[AnyProcess], resources: Mapping[str, Any] | None = None, *, threads: int = THREADS, blobs: Blobs | None = None
) -> Application:  # fmt: skip
    """The ASGI application that a Restate server calls, for a server with HTTP/2 such as granian.

    `resources` are what the functions name, `threads` how many plain functions run at once. `blobs` keep large values,
    such as a BlobFolder does. `/health` answers while it is served. Raises
    DefinitionError if there is no process, or one uses what is not offered on Restate, or lacks a resource.
    """
    return Application(Work(processes, resources, threads=threads, blobs=blobs))


async def serve(app: Application, host: str, port: int, stop: asyncio.Event, ready: Callable[[], Awaitable[None]]) -> None:
    """Serve the application over HTTP/2 without TLS, as a Restate server calls it, until `stop` is set; call `ready` when it listens.

    Then invocations under way may go on for `DRAIN_SECONDS`. Raises CannotListen, and what `ready` raises.
    """
    with bound(host, port, "name another one with --host and --port"):
        pass  # granian would share the port with another program that it serves
    # Of the servers for ASGI, granian is the fastest here: benchmarks/peers/restate.py uses it too.
    server = Server(app, host, port, interface=Interfaces.ASGINL, http=HTTPModes.auto, websockets=False, log_enabled=False)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await _listens(host, port, serving)
        await ready()
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        await app.drain(DRAIN_SECONDS)
    finally:
        stopping.cancel()
        app.close()
        if not serving.done():
            serving.cancel()  # granian itself would wait until the Restate server closes its connections, which it does not
    with suppress(asyncio.CancelledError):
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
