"""Server-sent events: a response that goes on while the client listens (HTML Standard, 9.2)."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from pointsman.errors import EngineStopped
from pointsman.runtime.engine import Engine
from pointsman.server.access import Access, Principal, Scope
from pointsman.server.problems import problem
from pointsman.server.views import event_view

T = TypeVar("T")

QUIET_SECONDS = 15.0  # proxies close a connection that is silent for longer; a comment keeps it open
STREAMS_EACH_MAX = 20  # of one session or token: a person has a few pages in sight
STREAMS_MAX = 100  # half of the connections (running.AT_ONCE_MAX), so that streams leave room for requests
RETRY_AFTER_SECONDS = 10
NOT_KEPT: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
"""The headers of a stream: no cache and no proxy (nginx) keeps a part of it."""


class Quiet(Enum):
    """What a stream yields when nothing has happened for a while."""

    QUIET = "quiet"


class EventStream(StreamingResponse):
    """Server-sent events for one caller. Answers 429 if the caller, or all callers, have too many streams."""

    def __init__(self, request: Request, who: Principal, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=dict(NOT_KEPT))
        self._open: Counter[str] = request.app.state.streams
        self._whose = who.session or who.name

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Send the events."""
        if self._open[self._whose] >= STREAMS_EACH_MAX or self._open.total() >= STREAMS_MAX:
            detail = "too many streams are open; close some, or try again later."
            await problem(429, "Too many streams", detail, {"Retry-After": f"{RETRY_AFTER_SECONDS}"})(scope, receive, send)
            return
        self._open[self._whose] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._open[self._whose] -= 1
            if not self._open[self._whose]:
                del self._open[self._whose]


async def while_open(request: Request, source: AsyncGenerator[T, None]) -> AsyncIterator[T | Quiet]:
    """Yield what `source` yields, and QUIET when it has yielded nothing for QUIET_SECONDS.

    End when the program or the engine stops, and when the caller may no longer read: the session or the token may have ended since.
    """
    closing = asyncio.ensure_future(request.app.state.closing.wait())
    following = asyncio.ensure_future(anext(source))
    try:
        while not closing.done():
            await asyncio.wait({following, closing}, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not await _may_read(request):
                return
            if not following.done():
                if not closing.done():
                    yield Quiet.QUIET
                continue
            yield following.result()
            following = asyncio.ensure_future(anext(source))
    except (EngineStopped, StopAsyncIteration):
        return
    finally:
        closing.cancel()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await source.aclose()


async def _may_read(request: Request) -> bool:
    access: Access = request.app.state.access
    who = await access.principal(request)
    return who is not None and Scope.READ in who.scopes


async def event_stream(request: Request, engine: Engine, after: str) -> AsyncIterator[str]:
    """Yield the events of the engine behind the cursor `after`, until the client leaves or the engine stops."""
    async for row in while_open(request, engine.events(after=after)):
        if row is Quiet.QUIET:
            yield ": nothing new\n\n"
        else:
            event = event_view(row)
            yield f"id: {event.cursor}\ndata: {event.model_dump_json()}\n\n"
