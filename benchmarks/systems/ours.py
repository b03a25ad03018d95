"""Pointsman on one SQLite file, with everything on: checks, events, retries, recovery."""

import asyncio
import sqlite3
import statistics
import threading
import time
from pathlib import Path

from benchmarks.systems.processes import Growing, Loop, Mail, Parts, Waiting, fan_out, growing, loop, six_steps, waiting
from benchmarks.systems.trial import Figures, repeated, rss_bytes, run
from benchmarks.workload import STEPS
from pointsman import Engine

AT_ONCE = 500  # cases that are started together where a file is filled
WATCHED_SECONDS = 2.0  # of an idle engine


def w1(folder: Path, *, concurrency: int, seconds: float, waiting: int = 0) -> Figures:
    """Six steps a case, `concurrency` cases at a time; with so many cases `waiting` in the same file."""
    file, process = folder / "cases.db", six_steps()
    if waiting:
        asyncio.run(_fill(file, waiting))

    async def main() -> tuple[int, float]:
        async with Engine.open(file, [process], concurrency=concurrency) as engine:

            async def once(number: int) -> None:
                started = await engine.start(process, Mail(case=number))
                await engine.wait_until_resting(started.case)

            return await repeated(once, concurrency=concurrency, seconds=seconds)

    cases, wall = asyncio.run(main())
    figures = {"steps": cases * len(STEPS), "seconds": wall, "cpu_s": time.process_time()}
    return figures if waiting else figures | _weighed(file, cases * len(STEPS))


def w2(folder: Path, *, cases: int) -> Figures:
    """From the start to the pause, and from the answer to the end, one case after the other."""
    process = six_steps(approved=True)

    async def main() -> Figures:
        paused, answered = [], []
        async with Engine.open(folder / "cases.db", [process]) as engine:
            for number in range(cases):
                begun = time.perf_counter()
                case = (await engine.start(process, Mail(case=number))).case
                await engine.wait_until_resting(case)
                paused.append(time.perf_counter() - begun)
                pending = await engine.pending(case)
                begun = time.perf_counter()
                await engine.resume(pending.token, "yes", by="Ada")
                await engine.wait_until_resting(case)
                answered.append(time.perf_counter() - begun)
        return {"paused_ms": 1e3 * statistics.median(paused), "answered_ms": 1e3 * statistics.median(answered)}

    return asyncio.run(main())


def w3(folder: Path, *, branches: int, seconds: float) -> Figures:
    """One case after the other, each with so many branches and a node that joins them."""
    process = fan_out()

    async def main() -> tuple[int, float]:
        async with Engine.open(folder / "cases.db", [process]) as engine:

            async def once(number: int) -> None:
                started = await engine.start(process, Parts(case=number, numbers=list(range(branches))))
                await engine.wait_until_resting(started.case)

            return await repeated(once, concurrency=1, seconds=seconds)

    cases, wall = asyncio.run(main())
    return {"steps": cases * (branches + 1), "seconds": wall}


def w4(folder: Path, *, cases: int) -> Figures:
    """Open a file in which so many cases wait: what each costs, and what they cost the engine."""
    file = folder / "cases.db"
    asyncio.run(_fill(file, cases))
    process = waiting()

    async def main() -> Figures:
        before = rss_bytes()
        begun = time.perf_counter()
        async with Engine.open(file, [process]) as engine:
            opened = time.perf_counter() - begun
            await engine.idle()
            held = rss_bytes() - before
            threads, tasks = threading.active_count(), len(asyncio.all_tasks())
            used = time.process_time()
            await asyncio.sleep(WATCHED_SECONDS)
            idle = (time.process_time() - used) / WATCHED_SECONDS
            resumed = []
            for case in range(1, 101):
                pending = await engine.pending(case)
                begun = time.perf_counter()
                await engine.resume(pending.token, "yes", by="Ada")
                await engine.wait_until_resting(case)
                resumed.append(time.perf_counter() - begun)
        return {
            "open_ms": 1e3 * opened, "usable_ms": 1e3 * (opened + resumed[0]), "resumed_ms": 1e3 * statistics.median(resumed), "memory_bytes": held, "threads": threads, "tasks": tasks,
            "idle_load": idle,
        }  # fmt: skip

    size = file.stat().st_size
    return {"bytes_each": size / cases, **asyncio.run(main())}


def w5(folder: Path, *, steps: int) -> Figures:
    """One case of so many steps: the last thousand against the first."""
    times: list[float] = []
    process = loop(times, time.perf_counter)

    async def main() -> None:
        async with Engine.open(folder / "cases.db", [process]) as engine:
            await engine.wait_until_resting((await engine.start(process, Loop(steps=steps))).case)

    asyncio.run(main())
    part = min(1_000, steps // 2)
    return {"steps": steps, "seconds": times[-1] - times[0], "last_to_first": (times[-1] - times[-part]) / (times[part - 1] - times[0])}


def w5_list(folder: Path, *, items: int) -> Figures:
    """One case with a list that grows by an item a step: the bytes on disk against those of the list."""
    file, process = folder / "cases.db", growing()

    async def main(items: int) -> int:
        async with Engine.open(file, [process]) as engine:
            await engine.wait_until_resting((await engine.start(process, Growing(items=items))).case)
        return file.stat().st_size

    without = asyncio.run(main(0))
    size = asyncio.run(main(items)) - without
    with sqlite3.connect(file) as connection:
        [weight] = connection.execute("SELECT sum(length(value)) FROM fields WHERE field = 'entries'").fetchone()
    return {"disk_bytes": size, "list_bytes": weight, "disk_to_list": size / weight}


async def _fill(file: Path, cases: int) -> None:
    process = waiting()
    async with Engine.open(file, [process], concurrency=256) as engine:
        for first in range(0, cases, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, cases))
            await asyncio.gather(*(engine.start(process, Waiting(number=number)) for number in numbers))


def _weighed(file: Path, steps: int) -> Figures:
    """Weigh the file of an engine that has closed it: bytes a step, and against what its fields and events weigh."""
    with sqlite3.connect(file) as connection:
        [fields] = connection.execute("SELECT sum(length(field) + length(value) + length(writer)) FROM fields").fetchone()
        [events] = connection.execute("SELECT sum(length(kind) + length(coalesce(step, '')) + length(facts)) FROM events").fetchone()
    size = file.stat().st_size
    return {"bytes_a_step": size / steps, "disk_to_content": size / (fields + events)}


if __name__ == "__main__":
    run({"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5": w5, "W5-list": w5_list})
