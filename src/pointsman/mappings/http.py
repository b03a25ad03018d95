"""What an HTTP request says of an effect (RFC 9110): which answers and errors of httpx prove that nothing happened.

Only what is proved is mapped; everything else stays the exception that it is, and an effect that ends with it is in
doubt. The choices that are not plain from the standard:

- 408 and 409 stay in doubt. Gateways say 408 when a server behind them was slow, which may have done its work; and 409 is
  what servers say when the same idempotency key is at work just now, or when an earlier call has made the thing already.
- 503 proves something only with a Retry-After: proxies say it without one, also when a connection broke amid the request.
- 401 and 407 are about the client's credentials and not about the request: not sent, and again with better ones.
- 307, 308, 421 and 425 say that this server has not acted on the request (RFC 9110 15.4.8, 15.4.9, 15.5.20; RFC 8470 5.2).
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from traceback import walk_tb
from typing import TYPE_CHECKING

from pointsman.errors import NotSent, Rejected

if TYPE_CHECKING:
    import httpx

RETRY_AFTER_MAX = 86_400.0  # seconds: a server that names a longer wait is asked again after a day

_NOT_ACTED_ON = frozenset({307, 308, 401, 407, 421, 425, 429})
_OPEN_REFUSALS = frozenset({408, 409})


def raise_for_outcome(response: "httpx.Response", *, rejects: Collection[int] = (), now: float | None = None) -> None:
    """Return where an `httpx.Response` is a success (2xx); otherwise raise what it says of the effect.

    Raises NotSent, with the server's Retry-After, where the server has not acted on the request, Rejected where it has
    refused it, and otherwise what `response.raise_for_status()` raises: in doubt. `rejects` are further statuses by which
    this API refuses and has changed nothing. `now` (Unix seconds) serves a Retry-After that is a date in an answer
    without a Date of its own.
    """
    if 200 <= response.status_code < 300:
        return
    verdict = _verdict(response, rejects, now)
    if verdict is not None:
        raise verdict
    response.raise_for_status()


@contextmanager
def http_outcome(*, rejects: Collection[int] = (), now: float | None = None) -> Iterator[None]:
    """Map what httpx raises in this block, in plain and in async code; put exactly one request into it.

    Raises NotSent where no byte of the request can have left (no connection, no TLS, no place in the pool), and what
    `raise_for_outcome` says for the HTTPStatusError of `response.raise_for_status()`. Every other exception passes as it
    is: in doubt. `rejects` and `now` are those of `raise_for_outcome`. Needs the extra `http`.
    """
    import httpx  # noqa: PLC0415 - the library works without it

    unsent = (
        httpx.ConnectError,  # refused, unreachable, no such name, no TLS
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,  # raised while the way through the proxy is made
        httpx.UnsupportedProtocol,
        httpx.InvalidURL,
    )
    try:
        yield
    except httpx.HTTPStatusError as error:
        verdict = _verdict(error.response, rejects, now)
        if verdict is None:
            raise
        raise verdict from error
    except unsent as error:
        if _was_redirected(error):
            raise
        raise NotSent(f"the request could not be sent: {str(error) or type(error).__name__}") from error


def retry_after_seconds(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds that a Retry-After asks to wait (RFC 9110 10.2.3), at most a day; None without a readable one.

    A date counts from the answer's own Date, which the clocks of two machines cannot falsify, or else from `now`.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_MAX)
    until = _date(value)
    begin = _date(headers.get("Date", ""))
    if begin is not None:
        now = begin
    if until is None or now is None:
        return None
    return min(max(until - now, 0.0), RETRY_AFTER_MAX)


def _verdict(response: "httpx.Response", rejects: Collection[int], now: float | None) -> NotSent | Rejected | None:
    """What an answer proves; None where it leaves the outcome open."""
    status = response.status_code
    if response.history:
        return None  # an earlier server has answered with a redirect, and may have acted before it did
    if status in rejects:
        return Rejected(_told(response))
    wait = retry_after_seconds(response.headers, now)
    if status in _NOT_ACTED_ON or (status == 503 and wait is not None):
        return NotSent(_told(response), retry_after=wait)
    if 400 <= status < 500 and status not in _OPEN_REFUSALS:
        return Rejected(_told(response))
    return None


def _told(response: "httpx.Response") -> str:
    """Who answered what; no path and no query, which may hold a secret."""
    request = response.request
    return f"{request.url.host} answered {request.method} with {response.status_code} {response.reason_phrase}".rstrip()


def _was_redirected(error: BaseException) -> bool:
    """Whether a redirect was followed before: httpx's errors do not tell, but its frames hold the answers so far."""
    return any(
        frame.f_globals.get("__name__", "").startswith("httpx.") and frame.f_locals.get("history")
        for frame, _ in walk_tb(error.__traceback__)
    )


def _date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()  # the old form names no zone
