"""The web application of an engine: the API, the pages, and what both need."""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from pointsman.client.schemas import Problem
from pointsman.errors import PointsmanError
from pointsman.runtime.engine import Engine
from pointsman.server.access import Access
from pointsman.server.api import router
from pointsman.server.bounds import BoundedBody, NotKept, Recorded, Recorder
from pointsman.server.forwarded import Forwarded
from pointsman.server.hosts import Hosts, KnownHosts
from pointsman.server.metrics import metrics
from pointsman.server.problems import HANDLERS, of_error

FORM_KEY_BYTES = 32  # as many as SHA-256 has, so that nobody guesses it


def create_app(
    engine: Engine | None, access: Access, pages: Sequence[BaseRoute] = (), *, record: Recorder | None = None,
    hosts: Hosts | None = None, proxies: Collection[str] = (),
) -> FastAPI:  # fmt: skip
    """Return the application that serves an open engine. `pages` are the routes of the pages; `access` finds out who calls.

    A program that opens the engine later passes None, and sets `app.state.engine` before the first request. `record` keeps an audit
    log of what changed something. A request for a host that is not in what `hosts` returns is refused; None allows every host. `proxies` are the addresses of proxies, whose headers say how they were called.
    """
    app = FastAPI(title="Pointsman", version="1", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None)
    app.state.engine = engine
    app.state.access = access
    app.state.closing = asyncio.Event()  # set when the program stops, so that streams end
    app.state.streams = Counter[str]()  # open streams by whose they are
    app.state.form_key = random.SystemRandom().randbytes(FORM_KEY_BYTES)
    app.include_router(router)
    app.openapi = partial(_openapi, app)  # type: ignore[method-assign]
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    if record is not None:
        app.add_middleware(Recorded, record=record)
    app.add_middleware(BoundedBody)
    app.add_middleware(NotKept)
    if hosts is not None:
        app.add_middleware(KnownHosts, hosts=hosts)
    if proxies:
        app.add_middleware(Forwarded, proxies=proxies)
    app.add_route("/health", health)
    app.add_route("/ready", ready)
    app.add_route("/metrics", metrics)
    app.router.routes.extend(pages)
    return app


async def health(_: Request) -> Response:
    """Answer that the program runs. A supervisor restarts a program that does not answer."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """Answer 200 if the engine runs and its store can be read, else 503. A load balancer sends work only to a program that is ready."""
    engine: Engine = request.app.state.engine
    try:
        await engine.check_ready()
    except PointsmanError as error:
        return of_error(error)
    return JSONResponse({"status": "ready"})


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the schema of the problems, which every route may answer with."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes, openapi_version=app.openapi_version)
        document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        app.openapi_schema = document
    return app.openapi_schema
