"""Read a large mail in a subprocess, which is killed after a time limit."""

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

APART_BYTES = 256 * 1024  # the worst mail of this size takes a second; starting a subprocess takes half a second
IN_PLACE_BYTES = 8 * 1024  # the worst mail of this size takes 75 ms, most take less than handing them to a thread
APART_SECONDS = 30.0  # the worst mail of 25 MB takes five
_START = "from pointsman_desk.mail.apart import answer; answer()"

_IDENTITY = TypeAdapter(Identity)
_What = Literal["identify", "read"]


async def first_look(raw: bytes, *, seconds: float = APART_SECONDS) -> Identity:
    """Identify a small mail at once, another in a thread, or a large one in a subprocess; after the time limit, by its bytes."""
    if len(raw) <= IN_PLACE_BYTES:
        return identify(raw)
    if len(raw) <= APART_BYTES:
        return await asyncio.to_thread(identify, raw)
    said = await _asked("identify", raw, (), seconds)
    return unidentified(raw) if said is None else _IDENTITY.validate_json(said)


async def read(raw: bytes, authserv: str, own: str, known: Sequence[str] = (), *, seconds: float = APART_SECONDS) -> Mail:
    """Read a mail and compare it with the `known` texts: at once if all are small, otherwise in a thread, or a large one in a subprocess.

    After the time limit it is unreadable, with the note `took-too-long`.
    """
    if len(raw) + sum(map(len, known)) <= IN_PLACE_BYTES:
        return read_mail(raw, authserv, own, known)
    if len(raw) <= APART_BYTES:
        return await asyncio.to_thread(read_mail, raw, authserv, own, known)
    said = await _asked("read", raw, (authserv, own, list(known)), seconds)
    return unreadable(raw, {"took-too-long"}) if said is None else Mail.model_validate_json(said)


async def _asked(what: _What, raw: bytes, arguments: tuple[Any, ...], seconds: float) -> bytes | None:
    """Return the answer of a subprocess; None if it was killed or gave no answer.

    The arguments are one line of JSON before the mail, because a command line is too short for the texts of a conversation.
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
    """Run in the subprocess: read a mail from standard input, and write the result to standard output as JSON."""
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
    """Let the system end this process, because its parent may no longer be there to do it."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - only some systems have it

        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
