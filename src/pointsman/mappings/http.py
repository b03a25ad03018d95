"""Maps the responses and exceptions of httpx to the outcome of an effect (RFC 9110).

It maps only what is proved. Every other exception passes unchanged, and leaves the effect in doubt. The standard does not
decide these cases:

- 408 and 409 leave the effect in doubt. A gateway answers 408 when the server behind it was slow, and that server may have done
  the work. Servers answer 409 while a call with the same idempotency key is in progress, or after an earlier call succeeded.
- 503 proves something only with a Retry-After. Proxies answer 503 without one even when a connection broke during the request.
- 401 and 407 concern the credentials of the client and not the request, so the request was not sent.
- 307, 308, 421 and 425 say that this server did not act on the request (RFC 9110 15.4.8, 15.4.9, 15.5.20; RFC 8470 5.2).
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

RETRY_AFTER_MAX = 86_400.0  # seconds: after a day, a call is worth another try

_NOT_ACTED_ON = frozenset({307, 308, 401, 407, 421, 425, 429})
_OPEN_REFUSALS = frozenset({408, 409})


def raise_for_outcome(response: "httpx.Response", *, rejects: Collection[int] = (), now: float | None = None) -> None:
    """Return if an `httpx.Response` is a success (2xx); otherwise raise the exception for the effect.

    Raises NotSent, with the server's Retry-After, if the server did not act on the request; Rejected if it refused the
    request; and otherwise the exception of `response.raise_for_status()`, which leaves the effect in doubt. `rejects` are
    further statuses with which this API refuses a request and changes nothing. `now` (Unix seconds) is the reference for a
    Retry-After that is a date, if the response has no Date.
    """
    if 200 <= response.status_code < 300:
        return
    verdict = _verdict(response, rejects, now)
    if verdict is not None:
        raise verdict
    response.raise_for_status()


@contextmanager
def http_outcome(*, rejects: Collection[int] = (), now: float | None = None) -> Iterator[None]:
    """Map the exceptions of httpx in this block, in sync or async code. Make exactly one request in it.

    Raises NotSent if no byte of the request was sent (no connection, no TLS, no place in the pool). Maps the HTTPStatusError
    of `response.raise_for_status()` like `raise_for_outcome`, with the same `rejects` and `now`. Every other exception passes
    unchanged and leaves the effect in doubt. Needs the extra `http`.
    """
    import httpx  # noqa: PLC0415 - the library works without it

    unsent = (
        httpx.ConnectError,  # refused, unreachable, unknown host name, no TLS
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,  # raised while httpx connects through the proxy
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
    """The seconds that a Retry-After asks to wait (RFC 9110 10.2.3), at most a day; None if it is missing or unreadable.

    A date counts from the Date of the response, so that the clocks of the two machines do not matter, or else from `now`.
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
    """The exception that a response proves; None if it leaves the effect in doubt."""
    status = response.status_code
    if response.history:
        return None  # an earlier server answered with a redirect, and may have acted on the request
    if status in rejects:
        return Rejected(_described(response))
    wait = retry_after_seconds(response.headers, now)
    if status in _NOT_ACTED_ON or (status == 503 and wait is not None):
        return NotSent(_described(response), retry_after=wait)
    if 400 <= status < 500 and status not in _OPEN_REFUSALS:
        return Rejected(_described(response))
    return None


def _described(response: "httpx.Response") -> str:
    """The host, the method and the status, without the path and the query, which may contain a secret."""
    request = response.request
    return f"{request.url.host} answered {request.method} with {response.status_code} {response.reason_phrase}".rstrip()


def _was_redirected(error: BaseException) -> bool:
    """Whether httpx followed a redirect. Its exceptions do not say so, but its frames have the earlier responses."""
    return any(
        frame.f_globals.get("__name__", "").startswith("httpx.") and frame.f_locals.get("history")
        for frame, _ in walk_tb(error.__traceback__)
    )


def _date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()  # the obsolete format has no zone
