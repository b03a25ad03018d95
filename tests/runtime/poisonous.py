"""A case that kills every engine that claims it. Run as a program with the database, the kind of poison and a file of calls."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from places import Place

from pointsman import AtMostOnce, Process, Retry, State, finish, otherwise, when

ATTEMPTS = 2
SLOW = 0.3  # seconds that an innocent case takes: longer than poison needs, so that it is in hand when the engine dies
CALLS = Path()  # a line for each time that the poison was taken; none is taken where it is no file
"""Set by whoever wants to be poisoned."""


class Job(State):
    name: str
    result: str | None = None


def swallow(deadly: Callable[[], object]) -> None:
    if CALLS.is_file():
        with CALLS.open("a") as calls:
            calls.write("call\n")
        deadly()


DEATHS: dict[str, Callable[[], object]] = {
    "exit": lambda: os._exit(1),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
}


def poisoned(kind: str) -> Process[Job]:
    """The poison is in a node, in the thread of a plain one, in an effect, in a transaction's function or in a condition."""
    where, _, how = kind.partition(" ")
    process, retry = Process("poisoned", Job), Retry(attempts_max=ATTEMPTS)
    deadly = DEATHS[how]

    async def in_node(name: str) -> str:
        await neighbour(name)
        return "survived"

    def in_thread(name: str) -> str:
        swallow(deadly)
        return "survived"

    async def neighbour(name: str) -> None:
        if name == "poison":
            swallow(deadly)
        elif CALLS.is_file():
            await asyncio.sleep(SLOW)

    step: Any
    if where == "effect":
        step = process.effect(in_thread, writes="result", safety=AtMostOnce(), retry=retry)
    else:
        step = process.node(in_thread if where == "thread" else in_node, writes="result", retry=retry)

    def is_open(job: Job) -> bool:
        if where == "condition" and job.name == "poison":
            swallow(deadly)
        return job.result is None

    process.rules(when("open", is_open, step), otherwise(finish("survived")))
    return process


async def main(place: Place, kind: str) -> None:
    process = poisoned(kind)
    async with place.open(process) as engine:
        await engine.idle()


if __name__ == "__main__":
    database, poison, file = sys.argv[1:]
    CALLS = Path(file)
    asyncio.run(main(Place(Path(database)), poison))
