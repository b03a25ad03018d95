"""Server-sent events: a response that goes on while the client listens (HTML Standard, 9.2)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import TypeVar

from starlette.requests import Request

from pointsman.errors import EngineStopped
from pointsman.runtime.engine import Engine
from pointsman.server.views import event_view

T = TypeVar("T")

QUIET_SECONDS = 15.0  # proxies close a connection that is silent for longer; a comment keeps it open
NOT_KEPT: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
"""The headers of a stream: no cache and no proxy (nginx) keeps a part of it."""


class Quiet(Enum):
    """What a stream yields when nothing has happened for a while."""

    QUIET = "quiet"


async def while_open(request: Request, source: AsyncGenerator[T, None]) -> AsyncIterator[T | Quiet]:
    """Yield what `source` yields, and QUIET when it has yielded nothing for QUIET_SECONDS. End when the program or the engine stops."""
    closing = asyncio.ensure_future(request.app.state.closing.wait())
    following = asyncio.ensure_future(anext(source))
    try:
        while not closing.done():
            await asyncio.wait({following, closing}, timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
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


async def event_stream(request: Request, after: str) -> AsyncIterator[str]:
    """Yield the events behind the cursor `after`, until the client leaves or the engine stops."""
    engine: Engine = request.app.state.engine
    async for row in while_open(request, engine.events(after=after)):
        if row is Quiet.QUIET:
            yield ": nothing new\n\n"
        else:
            event = event_view(row)
            yield f"id: {event.cursor}\ndata: {event.model_dump_json()}\n\n"
