"""Tell open pages that something was committed, as server-sent events (HTML Standard, 9.2). The page then fetches itself again."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from pointsman.runtime.engine import Engine
from pointsman.server.access import Scope, permit
from pointsman.server.streams import EventStream, Quiet, while_open

DIGITS_MAX = 20  # more than an engine commits in its life
REST_SECONDS = 1.0  # between two messages: a person sees no difference, and a busy engine does not render pages all the time


async def live(request: Request) -> Response:
    """Send "changed" when something was committed, at most once in REST_SECONDS; nothing while nothing happens.

    The page says in `since` what it has seen, so that it is told of a commit that came before it began to listen.
    """
    who = await permit(request, Scope.READ)
    return EventStream(request, who, _changes(request))


async def _changes(request: Request) -> AsyncIterator[str]:
    engine: Engine = request.app.state.engine
    since = request.query_params.get("since", "")
    seen = int(since) if since.isascii() and since.isdigit() and len(since) < DIGITS_MAX else None
    yield "retry: 2000\n\n"
    async for change in while_open(request, engine.changes(since=seen)):
        if change is Quiet.QUIET:
            yield ": nothing new\n\n"
        else:
            yield "data: changed\n\n"
            await asyncio.sleep(REST_SECONDS)
