"""Run as a program with a database: a plain node hangs forever, and the program ends all the same."""

import asyncio
import sys
import threading
from pathlib import Path

from places import Place

from pointsman import Process, Retry, State, finish, otherwise, when


class Job(State):
    name: str
    result: str | None = None


def hanging() -> Process[Job]:
    process = Process("hanging", Job)

    @process.node(writes="result", timeout_seconds=0.05, retry=Retry(attempts_max=1))
    def hang(name: str) -> str:
        threading.Event().wait()
        return name

    process.rules(when("open", lambda c: c.result is None, hang), otherwise(finish("ended")))
    return process


async def main(place: Place) -> None:
    process = hanging()
    async with place.open(process) as engine:
        row = await engine.wait_until_resting((await engine.start(process, {"name": "m"})).case)
        print(row.status, engine.abandoned_calls, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Place(Path(sys.argv[1]))))
