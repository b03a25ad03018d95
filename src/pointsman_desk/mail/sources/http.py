"""Mails that a program hands in by HTTP: raw MIME in the body of a POST to /mail, signed.

The request carries `Pointsman-Timestamp`, Unix seconds, and `Pointsman-Signature`, "sha256=" and the HMAC-SHA256 (RFC 2104) of the
timestamp, a full stop and the body, in hexadecimal digits. The answer is 202 with the case's number when the mail has its case for
good, and 200 when it had one already: any other answer, or none, means to send the same again.
"""

import asyncio
import hashlib
import hmac
import math
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from pointsman import Busy, Clock, Started
from pointsman_desk.errors import ConfigInvalid, DeskError
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.tree import MAIL_MAX_BYTES

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route
except ImportError:
    raise DeskError("accepting mails by HTTP needs Starlette and Uvicorn; install them with `pip install 'pointsman[web]'`.") from None

TOLERANCE_SECONDS = 300.0  # how far two machines' clocks may differ, and how long a request may be on its way
BODY_SECONDS = 60.0  # the longest that a mail of the largest size takes on a slow line
TAKEN_SECONDS = 20.0  # what the caller waits for its answer; a person's decision holds the desk up for less
RETRY_SECONDS = 10.0
GRACE_SECONDS = 5  # for requests under way when the desk stops
TIMESTAMP, SIGNATURE = "Pointsman-Timestamp", "Pointsman-Signature"
AT_ONCE_MAX = 32  # mails in memory

HandOver = Callable[[Sequence[Found]], Awaitable[Sequence[Started | None]]]


def intake(hand_over: HandOver, secret: bytes, clock: Clock) -> Starlette:
    """The application. `hand_over` returns when the desk has taken mails in for good, and raises Busy."""

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
    """Answer requests while the block runs; leaving it, those under way are answered first. Raises ConfigInvalid."""
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise ConfigInvalid(f"the desk cannot listen on {host}:{port} ({error.strerror}); name another port for [http].") from None
    with listening:
        server = _Server(
            uvicorn.Config(
                app, limit_concurrency=AT_ONCE_MAX, timeout_graceful_shutdown=GRACE_SECONDS, lifespan="off",
                log_config=None, access_log=False, server_header=False,
            )
        )  # fmt: skip
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield
        finally:
            server.should_exit = True
            await task


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the desk."""
        yield


async def _body(request: Request) -> bytes:
    """The bytes of the mail, no more of them read than a mail may have."""
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
    """When the mail was signed, as it stands there: what is signed may be sent again, but not for ever."""
    written = request.headers.get(TIMESTAMP, "")
    if not re.fullmatch(r"[0-9]{1,12}", written) or abs(now - int(written)) > TOLERANCE_SECONDS:
        raise HTTPException(401, f"{TIMESTAMP} is not within {TOLERANCE_SECONDS:.0f} seconds of the desk's time")
    return written


def signature_of(raw: bytes, timestamp: str, secret: bytes) -> str:
    """What a sender writes into `Pointsman-Signature`."""
    return "sha256=" + hmac.new(secret, timestamp.encode() + b"." + raw, hashlib.sha256).hexdigest()


def _later(seconds: float) -> HTTPException:
    return HTTPException(503, "there is no room now; send the same again", headers={"Retry-After": str(math.ceil(seconds))})
