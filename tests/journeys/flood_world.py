"""An engine that is asked to start far more than it can do, in a process of its own that dies in the middle of it.

Run as a program with a folder and what to do there: `flood STARTS BOUND SECONDS` asks and notes each answer, prints what it
found as JSON and kills itself; `drain` opens the engine again, works off what was accepted, and prints what there is.
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from load_world import SAMPLE_SECONDS, Meter

from pointsman import Busy, Engine, Intake, Process, State, finish, otherwise, when

CLIENTS = 200
AGAIN = 10  # each client asks every so many times for what it has had accepted already


class Mail(State):
    number: int
    answer: str | None = None


def mails(bound: int | None, seconds: float) -> Process[Mail]:
    """One step a case, which takes its time."""
    process = Process("mails", Mail, intake=Intake(backlog_max=bound))

    @process.node(writes="answer")
    async def answer(number: int) -> str:
        await asyncio.sleep(seconds)
        return f"{number} answered"

    process.rules(when("open", lambda c: c.answer is None, answer), otherwise(finish("answered")))
    return process


async def flood(folder: Path, starts: int, bound: int | None, seconds: float) -> dict[str, Any]:
    """Ask for `starts` starts, as many clients at a time as there are, and note what is accepted once it is."""
    database, answers = folder / "cases.db", Counter[str]()
    async with Engine.open(database, [mails(bound, seconds)]) as engine:
        meter = Meter(database)
        rest = meter.now()
        numbers = iter(range(starts))
        with meter.watched() as most, (folder / "accepted").open("w", buffering=1) as accepted:
            looking = asyncio.create_task(look_at_backlog(engine, most))
            await asyncio.gather(*(client(engine, numbers, answers, accepted) for _ in range(CLIENTS)))
            looking.cancel()
            most["backlog"] = max(most["backlog"], await engine.reader.backlog("mails", None, most=1 << 30))
        print(json.dumps({"answers": answers, "rest": rest, "most": most}), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it is dead")


async def client(engine: Engine, numbers: Iterator[int], answers: Counter[str], accepted: TextIO) -> None:
    """Ask for one start after the other; who is told to come again later does not."""
    last: str | None = None
    for number in numbers:
        key = last if last is not None and number % AGAIN == 0 else str(number)
        try:
            started = await engine.start("mails", {"number": number}, key=key)
        except Busy as busy:
            answers["busy" if busy.retry_after > 0 else "busy, and not told for how long"] += 1
            await asyncio.sleep(0)
            continue
        answers["duplicate" if started.duplicate else "accepted"] += 1
        if not started.duplicate:
            last = key
            accepted.write(f"{key}\n")


async def look_at_backlog(engine: Engine, most: dict[str, int]) -> None:
    """Note the longest backlog."""
    most["backlog"] = 0
    while True:
        most["backlog"] = max(most["backlog"], await engine.reader.backlog("mails", None, most=1 << 30))
        await asyncio.sleep(SAMPLE_SECONDS)


async def drain(folder: Path) -> dict[str, Any]:
    """Work off what was accepted, at once."""
    async with Engine.open(folder / "cases.db", [mails(None, 0.0)]) as engine:
        await engine.idle()
        rows = await engine.reader.cases(limit=1 << 30)
        return {"kept": [row.key for row in rows], "ends": Counter(str(row.outcome) for row in rows)}


if __name__ == "__main__":
    where = Path(sys.argv[1])
    if sys.argv[2] == "drain":
        print(json.dumps(asyncio.run(drain(where))))
    else:
        backlog_max = None if sys.argv[4] == "none" else int(sys.argv[4])
        asyncio.run(flood(where, int(sys.argv[3]), backlog_max, float(sys.argv[5])))
