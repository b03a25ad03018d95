"""Functions that run in a subprocess, and the process that they belong to."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pointsman import Context, Engine, NotSent, Process, Retry, State, finish, otherwise, when

PATIENT = 600.0  # seconds: far more than a Python takes to start on a busy machine


class Page(BaseModel):
    number: int
    text: str


class OddError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class KnownError(Exception):
    pass


class Document(State):
    what: str
    pages: tuple[Page, ...] = ()
    text: str | None = None
    told: dict[str, Any] | None = None


documents = Process("documents", Document)


@documents.node(writes=("text", "told"), timeout_seconds=PATIENT, retry=Retry(attempts_max=1), isolated=True)
def extract(what: str, pages: tuple[Page, ...], *, ctx: Context) -> tuple[str, dict[str, Any]]:
    print("printed by the function")
    kind, _, more = what.partition(" ")
    match kind:
        case "exit":
            os._exit(int(more))
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            ctypes.string_at(0)
        case "hang-with-child":
            subprocess.run(
                [sys.executable, "-c", f"import os, time; open({more!r}, 'w').write(str(os.getpid())); time.sleep(600)"], check=True
            )
        case "known":
            raise KnownError(more)
        case "odd":
            raise OddError("one", "two")
        case "not-sent":
            raise NotSent(more)
        case "system-exit":
            sys.exit(3)
        case "wrong-type":
            return 5, {}  # type: ignore[return-value]
        case "big":
            return "x" * 300_000, {}
        case "stdin":
            return sys.stdin.read(), {}
        case "thread-left":
            threading.Thread(target=time.sleep, args=(600,)).start()
    facts = {"case": ctx.case, "step": ctx.step, "attempt": ctx.attempt, "now": ctx.now, "incarnation": ctx.incarnation}
    return "".join(page.text for page in pages), {**facts, "pid": os.getpid()}


documents.rules(when("unread", lambda d: d.text is None, extract), otherwise(finish("read")))


def run_and_die(database: str, file: str) -> None:
    """Begin to extract, and when the function has begun, print the number of its subprocess and end this program without a word."""

    async def main() -> None:
        async with Engine.open(database, [documents]) as engine:
            print(await pid_of_hanging(engine, Path(file)), flush=True)
            os._exit(9)

    asyncio.run(main())


async def pid_of_hanging(engine: Engine, path: Path) -> int:
    """Begin to extract what hangs, and wait until it has written its number into a pipe with this path."""
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    written = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe, written.set)
    await engine.start(documents, Document(what=f"hang-with-child {path}"))
    await written.wait()
    asyncio.get_running_loop().remove_reader(pipe)
    pid = int(os.read(pipe, 20))
    os.close(pipe)
    return pid


def broken(what: str) -> tuple[str, dict[str, Any]]:
    raise KnownError(what)  # here: in another Python


def hang(what: str) -> str:
    time.sleep(600)
    return what


def elsewhere(what: str) -> str:
    return what.upper()


def may_die(what: str) -> str:
    if what == "dies":
        os._exit(1)
    return what
