"""Tell open pages that something was committed, as server-sent events (HTML Standard, 9.2). The page then fetches itself again."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pointsman.errors import EngineStopped
from pointsman.runtime.engine import Engine
from pointsman.server.access import Scope, permit

REST_SECONDS = 1.0  # between two messages: a person sees no difference, and a busy engine does not render pages all the time
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # a proxy passes each message on at once


async def live(request: Request) -> Response:
    """Send "changed" when something was committed, at most once in REST_SECONDS; nothing while nothing happens."""
    await permit(request, Scope.READ)
    engine: Engine = request.app.state.engine
    return StreamingResponse(_changes(engine), media_type="text/event-stream", headers=HEADERS)


async def _changes(engine: Engine) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    try:
        async for _ in engine.changes():
            yield "data: changed\n\n"
            await asyncio.sleep(REST_SECONDS)
    except EngineStopped:
        return
