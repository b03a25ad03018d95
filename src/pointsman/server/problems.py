"""Errors as the API answers them: one JSON object each (RFC 9457, Problem Details for HTTP APIs)."""

from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pointsman.client.schemas import Problem
from pointsman.errors import (
    AlreadyAnswered,
    AnswerInvalid,
    Busy,
    EngineStopped,
    InputInvalid,
    NotWaiting,
    PointsmanError,
    Refused,
    Stale,
    StoreError,
    UnknownCase,
    UnknownProcess,
    ValueRefused,
)
from pointsman.server.access import Forbidden, Unauthenticated

STATUS_OF: Mapping[type[PointsmanError], tuple[int, str]] = {
    UnknownCase: (404, "Unknown case"),
    UnknownProcess: (404, "Unknown process"),
    InputInvalid: (422, "Invalid input"),
    AnswerInvalid: (422, "Invalid answer"),
    ValueRefused: (422, "Invalid value"),
    Stale: (409, "Stale"),
    AlreadyAnswered: (409, "Already answered"),
    NotWaiting: (409, "Not waiting"),
    Busy: (429, "Busy"),
    Refused: (409, "Refused"),
    StoreError: (503, "Store unavailable"),
    EngineStopped: (503, "Engine stopped"),
}
"""The status and the title of each error; the first class that fits decides."""


def problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer for an error."""
    body = Problem(title=title, status=status, detail=detail).model_dump()
    return JSONResponse(body, status, dict(headers or {}), media_type="application/problem+json")


def of_error(error: PointsmanError) -> Response:
    """Return the answer for an error of the library."""
    status, title = next((found for kind, found in STATUS_OF.items() if isinstance(error, kind)), (500, "Error"))
    headers = {"Retry-After": f"{error.retry_after:.0f}"} if isinstance(error, Busy) else None
    return problem(status, title, str(error), headers)


async def on_error(_: Request, error: Exception) -> Response:
    """Answer a request that raised an error of the library."""
    assert isinstance(error, PointsmanError)
    return of_error(error)


async def on_unauthenticated(_: Request, __: Exception) -> Response:
    """Answer a caller that is not known (RFC 9110, 15.5.2)."""
    return problem(401, "Not signed in", "send a token: Authorization: Bearer TOKEN.", {"WWW-Authenticate": "Bearer"})


async def on_forbidden(_: Request, error: Exception) -> Response:
    """Answer a caller that lacks a scope."""
    return problem(403, "Forbidden", str(error))


async def on_invalid(_: Request, error: Exception) -> Response:
    """Answer a request that does not fit its schema. The answer names each member, and repeats no value."""
    assert isinstance(error, RequestValidationError)
    found = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
    return problem(422, "Invalid request", f"{found}.")


async def on_http(_: Request, error: Exception) -> Response:
    """Answer an error of the framework, such as an unknown path."""
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), f"{error.detail}.", error.headers)


HANDLERS = {
    PointsmanError: on_error,
    Unauthenticated: on_unauthenticated,
    Forbidden: on_forbidden,
    RequestValidationError: on_invalid,
    HTTPException: on_http,
}
