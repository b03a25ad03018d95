"""Errors that come back over HTTP. The library's errors come back as themselves."""

from collections.abc import Mapping
from typing import Self

import httpx
from pydantic import ValidationError

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

RETRY_SECONDS = 5.0  # after a busy answer that names no time

KINDS: Mapping[type[PointsmanError], tuple[int, str]] = {
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
"""The status and the title of each error of the library; the first class that fits decides."""


class CallRefused(PointsmanError):
    """The server refused a call: `status` is its HTTP status, and the message is its problem's detail."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(PointsmanError):
    """The server gave no answer. If `unknown`, the call may have happened; look before you repeat it."""

    def __init__(self, message: str, *, unknown: bool) -> None:
        super().__init__(message)
        self.unknown = unknown

    @classmethod
    def after(cls, error: httpx.HTTPError, *, safe: bool) -> Self:
        """Return the error for a failed request; `safe` says that repeating it changes nothing more."""
        unknown = not (safe or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout))
        what = "; the call may have happened: look before you repeat it" if unknown else "; try again"
        return cls(f"the server gave no answer ({str(error) or type(error).__name__}){what}.", unknown=unknown)


def error_of(response: httpx.Response) -> PointsmanError:
    """Return the error that an answer reports."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return CallRefused(f"the server answered {response.status_code} {response.reason_phrase}.", status=response.status_code)
    kind = next((kind for kind, named in KINDS.items() if named == (problem.status, problem.title)), None)
    if kind is None:
        return CallRefused(problem.detail, status=problem.status)
    return _made(kind, problem, response)


def _made(kind: type[PointsmanError], problem: Problem, response: httpx.Response) -> PointsmanError:
    if kind is UnknownCase:
        return UnknownCase(problem.case or 0)
    if kind is Busy:
        return Busy(problem.detail, retry_after=float(response.headers.get("Retry-After", RETRY_SECONDS)))
    return made(kind, problem.detail, by=problem.by)


def made(kind: type[PointsmanError], message: str, *, by: str | None) -> PointsmanError:
    """Return an error of the library that came as its class and its message. `by` is who answered, if somebody did."""
    if kind is Stale:
        return Stale(message, current=None)
    if kind is AlreadyAnswered:
        return AlreadyAnswered(message, by=by or "")
    return kind(message)
