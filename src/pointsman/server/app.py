"""The web application of an engine: the API, the pages, and what both need."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute

from pointsman.runtime.engine import Engine
from pointsman.server.access import Access
from pointsman.server.api import router
from pointsman.server.problems import HANDLERS


def create_app(engine: Engine, access: Access, pages: Sequence[BaseRoute] = ()) -> FastAPI:
    """Return the application that serves an open engine. `pages` are the routes of the pages; `access` finds out who calls."""
    app = FastAPI(title="Pointsman", version="1", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None)
    app.state.engine = engine
    app.state.access = access
    app.include_router(router)
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_api_route("/health", health, include_in_schema=False)
    app.router.routes.extend(pages)
    return app


async def health(_: Request) -> JSONResponse:
    """Answer that the program runs."""
    return JSONResponse({"status": "ok"})
