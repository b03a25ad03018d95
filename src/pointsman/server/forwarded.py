"""ASGI middleware for a program behind a proxy: how and from where the proxy was called."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

HERE = ("127.0.0.1", "::1")  # a proxy on this machine; whoever else can connect from here sees the machine's files, too
SCHEMES = ("http", "https")


class Forwarded:
    """Take the scheme and the caller's address from the headers of a proxy (X-Forwarded-Proto, X-Forwarded-For).

    `proxies` are the addresses of the proxies; the headers of others are ignored. `scope["client"]` stays the other end of the connection, because
    a header must not decide who is a proxy. Each proxy appends to a header, so the last value is the one that ours has seen itself.
    """

    def __init__(self, app: ASGIApp, *, proxies: Collection[str]) -> None:
        self._app = app
        self._proxies = frozenset(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application with what the proxy says."""
        client = scope.get("client")
        if scope["type"] == "http" and client is not None and client[0] in self._proxies:
            headers = Headers(scope=scope)
            scheme, address = _last(headers, "x-forwarded-proto"), _last(headers, "x-forwarded-for")
            if scheme in SCHEMES:
                scope["scheme"] = scheme
            if address:
                scope.setdefault("state", {})["address"] = address
        await self._app(scope, receive, send)


def address_of(request: HTTPConnection) -> str:
    """Return the address of the caller, or of the proxy where that does not tell it; "" if nobody knows."""
    address: str | None = getattr(request.state, "address", None)
    return address if address is not None else request.client.host if request.client is not None else ""


def _last(headers: Headers, name: str) -> str:
    values = headers.getlist(name)
    return values[-1].rpartition(",")[2].strip() if values else ""
