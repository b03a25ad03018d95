"""The routes of the pages."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from pointsman.kernel.snapshot import Status
from pointsman.runtime.engine import Engine
from pointsman.server.access import Scope, permit
from pointsman.web.render import page

ROWS_MAX = 100  # of one page of a list


async def work_list(request: Request) -> Response:
    """Show what waits for a person."""
    who = await permit(request, Scope.READ)
    engine: Engine = request.app.state.engine
    rows = await engine.reader.cases(status=Status.WAITING, limit=ROWS_MAX)
    return page(request, "work_list.html", who=who, rows=rows)


def pages() -> Sequence[BaseRoute]:
    """Return the routes of all pages."""
    return [
        Route("/", work_list, name="work_list"),
        Mount("/static", StaticFiles(packages=[("pointsman.web", "static")]), name="static"),
    ]
