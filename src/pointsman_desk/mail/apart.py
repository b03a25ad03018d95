"""Read a large mail in a subprocess, which is killed when its time is over."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import TypeAdapter

from pointsman_desk.case import Mail
from pointsman_desk.mail.message import Identity, identify, read_mail, unidentified, unreadable

APART_BYTES = 256 * 1024  # up to here the worst mail that the caps let through takes a second; starting a subprocess takes half a second
APART_SECONDS = 30.0  # the worst mail of 25 MB takes five
_START = "from pointsman_desk.mail.apart import answer; answer()"

_IDENTITY = TypeAdapter(Identity)
_What = Literal["identify", "read"]


async def first_look(raw: bytes, *, seconds: float = APART_SECONDS) -> Identity:
    """Identify a mail, in a thread, a large one apart; one that took too long is known by its bytes."""
    if len(raw) <= APART_BYTES:
        return await asyncio.to_thread(identify, raw)
    said = await _asked("identify", raw, (), seconds)
    return unidentified(raw) if said is None else _IDENTITY.validate_json(said)


async def read(raw: bytes, authserv: str, own: str, known: Sequence[str] = (), *, seconds: float = APART_SECONDS) -> Mail:
    """Read a mail, in a thread, a large one apart; one that took too long is unreadable, with the note `took-too-long`."""
    if len(raw) <= APART_BYTES:
        return await asyncio.to_thread(read_mail, raw, authserv, own, known)
    said = await _asked("read", raw, (authserv, own, list(known)), seconds)
    return unreadable(raw, {"took-too-long"}) if said is None else Mail.model_validate_json(said)


async def _asked(what: _What, raw: bytes, arguments: tuple[Any, ...], seconds: float) -> bytes | None:
    """Return what another Python answers, None where it was killed or ended without an answer.

    The arguments go in as one line of JSON before the mail: a command line has no room for the texts of a conversation.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _START, what, str(seconds),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdin is not None
    try:
        said, _ = await asyncio.wait_for(process.communicate(json.dumps(arguments).encode() + b"\n" + raw), seconds)
    except TimeoutError:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        process.stdin.close()
    return said if process.returncode == 0 else None


def answer() -> None:
    """Be the other Python: read a mail from standard input, and write what it is to standard output, as JSON."""
    what, seconds = sys.argv[1:]
    _end_after(float(seconds))
    arguments = json.loads(sys.stdin.buffer.readline())
    raw = sys.stdin.buffer.read()
    said: dict[str, Callable[[], Any]] = {
        "identify": lambda: _IDENTITY.dump_json(identify(raw)).decode(),
        "read": lambda: read_mail(raw, *arguments).model_dump_json(),
    }
    sys.stdout.buffer.write(said[what]().encode())


def _end_after(seconds: float) -> None:
    """Let the system end this Python even where its parent has gone and cannot."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - only some systems have it

        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
