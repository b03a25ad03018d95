"""An engine with very many cases, in a process of its own so that what it costs can be read off the process.

Run as a program with a folder and what to do there: `fill WAITING HERD` starts cases that wait for a person and cases that
wait for the time; `herd` opens the engine on them, lets the herd fall due at once, and prints what that took as JSON. With
`herd parked-reader` somebody else looks at one moment of the database all the while, and `herd unbounded` takes all cases in hand.
"""

import asyncio
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pointsman import Context, Engine, Process, Retry, State, finish, otherwise, when
from pointsman.testing.clock import ManualClock

NOON = 1_795_000_000.0  # any moment will do
HOUR = 3_600.0
SAMPLE_SECONDS = 0.005
BATCH = 500
CONCURRENCY = 64
WORDS_BYTES = 8_000  # of what an alarm writes: two pages of the log and more
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Ticket(State):
    number: int
    answer: str | None = None


class Alarm(State):
    number: int
    rung: str | None = None


def tickets() -> Process[Ticket]:
    """Waits for a person from its start."""
    process = Process("tickets", Ticket)
    ask = process.pause(writes="answer", answer=str, shows=("number",))
    process.rules(when("open", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    return process


def alarms() -> Process[Alarm]:
    """Fails once and waits for an hour, all of them for the same one."""
    process = Process("alarms", Alarm)

    @process.node(writes="rung", retry=Retry(attempts_max=2, first_seconds=HOUR, max_seconds=HOUR, jitter=0.0))
    async def ring(number: int, *, ctx: Context) -> str:
        if ctx.attempt == 1:
            raise RuntimeError("not yet")
        return f"{number} rang" + "." * WORDS_BYTES

    process.rules(when("silent", lambda c: c.rung is None, ring), otherwise(finish("rung")))
    return process


async def fill(database: Path, waiting: int, herd: int) -> dict[str, Any]:
    """Start what is to wait."""
    async with Engine.open(database, [tickets(), alarms()], clock=ManualClock(NOON), concurrency=256) as engine:
        begun = time.perf_counter()
        for process, count in (("tickets", waiting), ("alarms", herd)):
            for first in range(0, count, BATCH):
                numbers = range(first, min(first + BATCH, count))
                await asyncio.gather(*(engine.start(process, {"number": number}, key=str(number)) for number in numbers))
        await engine.idle(horizon_seconds=HOUR / 2)
        return {"seconds": time.perf_counter() - begun}


class Meter:
    """What the process takes of the machine: now, and at most since it began to be watched."""

    def __init__(self, database: Path) -> None:
        self.wal = database.with_name(database.name + "-wal")
        self.most: dict[str, int] = {}

    def now(self) -> dict[str, int]:
        """Bytes in memory, threads, open files, and the bytes of the database's log."""
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
        files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a path object for each would be memory of its own
        log = self.wal.stat().st_size if self.wal.exists() else 0
        return {"memory": resident, "threads": threading.active_count(), "files": files, "log": log}

    @contextmanager
    def watched(self) -> Iterator[dict[str, int]]:
        """Look again and again, in a thread, and keep the most of each."""
        over = threading.Event()
        self.most = self.now()

        def watch() -> None:
            while not over.wait(SAMPLE_SECONDS):
                for name, value in self.now().items():
                    self.most[name] = max(self.most[name], value)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield self.most
        finally:
            over.set()
            thread.join()


def bytes_read() -> int:
    """What this process has read of any file."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])


async def fall_due(database: Path, how: str) -> dict[str, Any]:
    """Open the engine, let the herd fall due, and work it off."""
    clock, meter = ManualClock(NOON), Meter(database)
    before, begun = bytes_read(), time.perf_counter()
    concurrency = 1_000_000 if how == "unbounded" else CONCURRENCY
    async with Engine.open(database, [tickets(), alarms()], clock=clock, concurrency=concurrency) as engine:
        opened = time.perf_counter() - begun
        await engine.idle(horizon_seconds=HOUR / 2)
        read, rest = bytes_read() - before, meter.now()
        with meter.watched() as most:
            counting = asyncio.create_task(count_tasks(most))
            parked = parked_reader(database) if how == "parked-reader" else None
            clock.advance(HOUR)
            begun = time.perf_counter()
            await engine.idle(horizon_seconds=HOUR / 2)
            seconds = time.perf_counter() - begun
            counting.cancel()
        if parked is not None:
            parked.close()
        counts = await engine.reader.counts()
        for number in range(3):  # the first commit moves the log into the file, the next one begins it anew
            await engine.start("tickets", {"number": number})
        left = meter.now()
    return {"open_ms": 1e3 * opened, "read": read, "rest": rest, "most": most, "seconds": seconds, "left": left,
            "counts": {str(status): count for status, count in counts.items()}}  # fmt: skip


async def count_tasks(most: dict[str, int]) -> None:
    """Note how many tasks there are at most."""
    most["tasks"] = 0
    while True:
        most["tasks"] = max(most["tasks"], len(asyncio.all_tasks()))
        await asyncio.sleep(SAMPLE_SECONDS)


def parked_reader(database: Path) -> sqlite3.Connection:
    """Somebody else's reader in the middle of looking, who keeps SQLite from using its log again from the start."""
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    connection.execute("SELECT * FROM events").fetchone()
    connection.execute("BEGIN")
    connection.execute("SELECT * FROM events LIMIT 1").fetchone()
    return connection


if __name__ == "__main__":
    folder, what = Path(sys.argv[1]), sys.argv[2]
    if what == "fill":
        print(json.dumps(asyncio.run(fill(folder / "cases.db", int(sys.argv[3]), int(sys.argv[4])))))
    else:
        print(json.dumps(asyncio.run(fall_due(folder / "cases.db", sys.argv[3]))))
