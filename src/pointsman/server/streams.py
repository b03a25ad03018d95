"""Server-sent events: a response that goes on while the client listens (HTML Standard, 9.2)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

from pointsman.errors import EngineStopped
from pointsman.runtime.engine import Engine
from pointsman.server.views import event_view

QUIET_SECONDS = 15.0  # proxies close a connection that is silent for longer; a comment keeps it open
NOT_KEPT: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
"""The headers of a stream: no cache and no proxy (nginx) keeps a part of it."""


async def event_stream(engine: Engine, after: str) -> AsyncIterator[str]:
    """Yield the events behind the cursor `after`, until the client leaves or the engine stops."""
    events = engine.events(after=after)
    following = asyncio.ensure_future(anext(events))
    try:
        while True:
            arrived, _ = await asyncio.wait({following}, timeout=QUIET_SECONDS)
            if not arrived:
                yield ": nothing new\n\n"
                continue
            event = event_view(following.result())
            yield f"id: {event.cursor}\ndata: {event.model_dump_json()}\n\n"
            following = asyncio.ensure_future(anext(events))
    except EngineStopped:
        return
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await events.aclose()
