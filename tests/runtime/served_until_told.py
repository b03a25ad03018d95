"""An engine that serves until it is told to stop: run as a program with the database, and how much grace it gives."""

import asyncio
import sys
from pathlib import Path

from places import Place

from pointsman import Process, Retry, State, finish, otherwise, when


class Job(State):
    name: str
    result: str | None = None


def endless(gate: asyncio.Event | None) -> Process[Job]:
    """One step with one attempt, which says that it has begun and waits until its gate is opened."""
    process = Process("endless", Job)

    @process.node(writes="result", retry=Retry(attempts_max=1))
    async def wait(name: str) -> str:
        print("begun", flush=True)
        if gate is not None:
            await gate.wait()
        return name

    process.rules(when("open", lambda c: c.result is None, wait), otherwise(finish("ended")))
    return process


async def serve(place: Place) -> None:
    process = endless(asyncio.Event())
    async with place.open(process) as engine:
        await engine.start(process, {"name": "m"}, key="k")
        await engine.serve()
    print("closed", flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Place(Path(sys.argv[1]))))
