"""Mails that a program submits by HTTP: a signed POST of raw MIME to /mail.

The header `Pointsman-Timestamp` has the time in Unix seconds, and `Pointsman-Signature` has "sha256=" and the hexadecimal HMAC-SHA256 (RFC
2104) of the timestamp, a full stop and the body. The answer is 202 with the case's number after the commit of the mail's case, and 200
if the mail already had a case. After any other answer, or none, the caller sends the same request again.
"""

import asyncio
import hashlib
import hmac
import math
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from pointsman import Busy, Clock, Started
from pointsman_desk.errors import ConfigInvalid, DeskError
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.tree import MAIL_MAX_BYTES

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from pointsman.server import answering
except ImportError:
    raise DeskError("accepting mails by HTTP needs Starlette and Uvicorn; install them with `pip install 'pointsman[web]'`.") from None

TOLERANCE_SECONDS = 300.0  # the largest difference of two machines' clocks and the time of a request together
BODY_SECONDS = 60.0  # the largest mail takes this long on a slow connection
TAKEN_SECONDS = 20.0  # how long the caller waits for its answer; a person's decision delays the desk for less
RETRY_SECONDS = 10.0
TIMESTAMP, SIGNATURE = "Pointsman-Timestamp", "Pointsman-Signature"
AT_ONCE_MAX = 32  # mails in memory

HandOver = Callable[[Sequence[Found]], Awaitable[Sequence[Started | None]]]


def intake(hand_over: HandOver, secret: bytes, clock: Clock) -> Starlette:
    """Return the application. `hand_over` returns after the desk has committed the mails, and raises Busy."""

    async def take(request: Request) -> JSONResponse:
        timestamp = _timestamp(request, clock.now())
        raw = await _body(request)
        if not hmac.compare_digest(request.headers.get(SIGNATURE, "").encode(), signature_of(raw, timestamp, secret).encode()):
            raise HTTPException(401, f"{SIGNATURE} does not match the mail and {TIMESTAMP}")
        if not raw:
            raise HTTPException(400, "the request contains no mail")
        try:
            async with asyncio.timeout(TAKEN_SECONDS):
                [started] = await hand_over([Found("HTTP", raw)])
        except Busy as busy:
            raise _later(busy.retry_after) from None
        except TimeoutError:
            raise _later(RETRY_SECONDS) from None
        assert started is not None, "its bytes are here"
        return JSONResponse({"case": started.case, "duplicate": started.duplicate}, 200 if started.duplicate else 202)

    return Starlette(routes=[Route("/mail", take, methods=["POST"])])


@asynccontextmanager
async def served(app: Starlette, host: str, port: int) -> AsyncIterator[None]:
    """Answer requests while the block runs, and finish the running ones at its end. Raises ConfigInvalid."""
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise ConfigInvalid(f"the desk cannot listen on {host}:{port} ({error.strerror}); name another port for [http].") from None
    with listening:
        async with answering(app, listening, at_once_max=AT_ONCE_MAX):
            yield


async def _body(request: Request) -> bytes:
    """Return the bytes of the mail; reads at most the largest size of a mail."""
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                raw += piece
                if len(raw) > MAIL_MAX_BYTES:
                    raise HTTPException(413, f"a mail has at most {MAIL_MAX_BYTES} bytes")
    except TimeoutError:
        raise HTTPException(408, f"the mail did not arrive within {BODY_SECONDS:.0f} seconds") from None
    except ClientDisconnect:
        raise HTTPException(400, "the connection closed before the mail was complete") from None
    return bytes(raw)


def _timestamp(request: Request, now: float) -> str:
    """Return the timestamp as text if it is recent: a signed request can be repeated, but not for ever."""
    written = request.headers.get(TIMESTAMP, "")
    if not re.fullmatch(r"[0-9]{1,12}", written) or abs(now - int(written)) > TOLERANCE_SECONDS:
        raise HTTPException(401, f"{TIMESTAMP} is not within {TOLERANCE_SECONDS:.0f} seconds of the desk's time")
    return written


def signature_of(raw: bytes, timestamp: str, secret: bytes) -> str:
    """Return the value of `Pointsman-Signature` for a mail."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + raw, hashlib.sha256).hexdigest()


def _later(seconds: float) -> HTTPException:
    return HTTPException(503, "the desk is busy; send the same request again later", headers={"Retry-After": str(math.ceil(seconds))})
