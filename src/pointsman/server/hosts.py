"""ASGI middleware: refuse a request for a host that is not this program's, so that no name of another site can point here (DNS rebinding)."""

from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pointsman.server.problems import refusal

Hosts = Callable[[], Collection[str] | None]
"""The hosts that are this program's, in lower case; None if every host is."""


class KnownHosts:
    """Answer 400 to a request whose header Host names none of these hosts (RFC 9110, 7.2). A port in the header is ignored."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, or refuse the request."""
        known = self._hosts() if scope["type"] == "http" else None
        if known is None or host_of(Headers(scope=scope).get("host", "")) in known:
            await self._app(scope, receive, send)
            return
        detail = f"the address names another host than this program's; open it as {' or '.join(sorted(known))}."
        await refusal(scope, 400, "Unknown host", detail)(scope, receive, send)


def host_of(header: str) -> str:
    """Return the host of a header Host, without its port. An address of IPv6 keeps its brackets (RFC 3986, 3.2.2)."""
    host, bracket, _ = header.partition("]")
    return (f"{host}]" if bracket else header.partition(":")[0]).lower()
