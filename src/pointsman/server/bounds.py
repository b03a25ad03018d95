"""ASGI middleware: bound the size and the time of a request's body, keep a record of what changed something, and let nobody keep an answer."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pointsman.server.access import SAFE_METHODS
from pointsman.server.audit import action_of
from pointsman.server.problems import refusal

BODY_BYTES_MAX = 2 * 1024 * 1024  # a state with a long mail and its attachments' references; larger values are blobs
BODY_SECONDS = 30.0  # for the whole body, so that a slow sender does not hold a connection for ever

PATH_MAX = 300  # characters of a path in the audit log: ours are shorter, and anybody can send one of 64 KiB
METHOD_MAX = 20

Recorder = Callable[[str, str, dict[str, Any]], None]
"""Keeps who did what, and about what."""


class BoundedBody:
    """Answer 413 to a body of more than `bytes_max` bytes, and 408 to one that does not arrive within `seconds`."""

    def __init__(self, app: ASGIApp, *, bytes_max: int = BODY_BYTES_MAX, seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._bytes_max = bytes_max
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body within the bounds, then call the application with it."""
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")  # RFC 9110, 8.6; h11 has checked that it is a number
        if length.isdecimal() and int(length) > self._bytes_max:
            await _refuse(413, f"the body is larger than {self._bytes_max:,} bytes.", scope, receive, send)
            return
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    body += message.get("body", b"")
                    if len(body) > self._bytes_max:
                        await _refuse(413, f"the body is larger than {self._bytes_max:,} bytes.", scope, receive, send)
                        return
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            await _refuse(408, f"the body did not arrive within {self._seconds:g} seconds.", scope, receive, send)
            return
        await self._app(scope, _replayed(bytes(body), receive), send)


class Recorded:
    """Record each request that may change something: who sent it, the name of the action, and the status of the answer.

    A handler says more with `tell_audit`: `operation` is another name of the action, and what is None changes nothing and is not recorded.
    """

    def __init__(self, app: ASGIApp, *, record: Recorder) -> None:
        self._app = app
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and record the request before the answer leaves."""
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        recorded = False

        async def record(status: int) -> None:
            nonlocal recorded
            recorded, principal, more = True, state.get("principal"), state.get("about", {})
            if more is None:
                return
            path = scope["path"][:PATH_MAX]
            action, found = action_of(path.removeprefix(scope.get("root_path", "")))
            about = {"method": scope["method"][:METHOD_MAX], "path": path, "status": status, **found, **more}
            if "acting_for" in state:
                about["by"] = state["acting_for"]
            who = principal.name if principal is not None else ""
            await asyncio.to_thread(self._record, who, about.pop("operation", action), about)

        async def recording(message: Message) -> None:
            if message["type"] == "http.response.start":
                await record(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, recording)
        except Exception:  # what the request has changed before its handler failed is recorded, too
            if not recorded:
                await record(500)
            raise


class NotKept:
    """Let no cache keep an answer, and no browser guess its type. The files of the pages are no secret."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and add the headers that an answer does not have."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                if "etag" not in headers:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, sending)


def _replayed(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(status: int, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
    title = "Body too large" if status == 413 else "Body too slow"
    await refusal(scope, status, title, detail, {"Connection": "close"})(scope, receive, send)
