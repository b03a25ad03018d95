"""Errors as the API answers them: one JSON object each (RFC 9457, Problem Details for HTTP APIs)."""

from collections.abc import Mapping
from html import escape
from math import ceil
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from pointsman.client.problems import KINDS
from pointsman.client.schemas import Problem
from pointsman.errors import AlreadyAnswered, Busy, PointsmanError, UnknownCase
from pointsman.server.access import Forbidden, Unauthenticated, bearer

MEANINGS: Mapping[int, str] = {
    400: "The request cannot be read",
    401: "The token is missing or wrong",
    403: "The caller lacks the scope",
    404: "There is no such case or process",
    408: "The body did not arrive in time",
    409: "The case does not take this now: it was answered, has changed, or is in another status",
    413: "The body is too large",
    422: "The request does not fit: its schema, the inputs, or the answer",
    429: "The intake is full, or the caller has too many streams; try again after the seconds in Retry-After",
    500: "The program failed; its log says why",
    503: "The engine has stopped, or its store cannot be used",
}


def problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None, **about: int | str) -> Response:
    """Return the answer for an error. `about` is what the problem says more."""
    body = Problem.model_validate({"title": title, "status": status, "detail": detail, **about}).model_dump(exclude_none=True)
    return JSONResponse(body, status, dict(headers or {}), media_type="application/problem+json")


def refusal(scope: Scope, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to a request that is refused before any page or route sees it: a page of its own for a browser, else a problem."""
    if not wants_page(scope):
        return problem(status, title, detail, headers)
    body = f'<!doctype html><html lang="en"><title>{escape(title)}</title><h1>{escape(title)}</h1><p>{escape(detail)}</p></html>'
    return HTMLResponse(body, status, {**(headers or {}), "Content-Security-Policy": "default-src 'none'"})


def wants_page(scope: Scope) -> bool:
    """Return whether a person's browser sent this request, and not for the API."""
    inside = str(scope.get("path", "")).removeprefix(scope.get("root_path", ""))
    return not inside.startswith("/api/") and "text/html" in Headers(scope=scope).get("accept", "")


def of_error(error: PointsmanError) -> Response:
    """Return the answer for an error of the library."""
    status, title = next((found for kind, found in KINDS.items() if isinstance(error, kind)), (500, "Error"))
    if isinstance(error, Busy):
        return problem(status, title, str(error), {"Retry-After": f"{ceil(error.retry_after)}"})
    if isinstance(error, UnknownCase):
        return problem(status, title, str(error), case=error.case)
    if isinstance(error, AlreadyAnswered):
        return problem(status, title, str(error), by=error.by)
    return problem(status, title, str(error))


async def on_error(_: Request, error: Exception) -> Response:
    """Answer a request that raised an error of the library."""
    assert isinstance(error, PointsmanError)
    return of_error(error)


async def on_unauthenticated(request: Request, _: Exception) -> Response:
    """Answer a caller that is not known (RFC 9110, 15.5.2). Of a token, the answer says whether one came (RFC 6750, 3.1)."""
    if bearer(request) is None:
        return problem(401, "Not signed in", "send a token: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"})
    detail = "the token is unknown, or has expired or been removed; `pointsman tokens add NAME --scope read` makes one."
    return problem(401, "Not signed in", detail, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


async def on_forbidden(_: Request, error: Exception) -> Response:
    """Answer a caller that lacks a scope."""
    return problem(403, "Forbidden", str(error))


async def on_invalid(request: Request, error: Exception) -> Response:
    """Answer a request that does not fit its schema. The answer names each member, and repeats no value."""
    assert isinstance(error, RequestValidationError)
    if not request.headers.get("content-type", "application/json").partition(";")[0].strip().lower().endswith("json"):
        return problem(415, "Not JSON", "send the body as JSON, with the header Content-Type: application/json.")
    found = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
    return problem(422, "Invalid request", f"{found}.")


async def on_http(_: Request, error: Exception) -> Response:
    """Answer an error of the framework, such as an unknown path."""
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), f"{error.detail}.", error.headers)


async def on_failure(_: Request, __: Exception) -> Response:
    """Answer a request whose handler failed. What went wrong is in the program's log, and in no answer."""
    return problem(500, "Error", "the program failed; its log says why.")


_SCHEMA = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
DOCUMENTED: dict[int | str, dict[str, Any]] = {status: {"description": what, "content": _SCHEMA} for status, what in MEANINGS.items()}
"""The OpenAPI responses that every route may answer with."""

HANDLERS = {
    PointsmanError: on_error,
    Unauthenticated: on_unauthenticated,
    Forbidden: on_forbidden,
    RequestValidationError: on_invalid,
    HTTPException: on_http,
    Exception: on_failure,
}
