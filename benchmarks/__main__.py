"""Measure: `python -m benchmarks [--quick] [--only W1|W4] [--json FILE] [--profile]`."""

import argparse
import asyncio
import cProfile
import itertools
import json
import pstats
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.floor import FloorStore, run_case
from benchmarks.workload import STEPS, Mail, Waiting, six_steps, waiting
from pointsman import Engine

CONCURRENCIES: tuple[int, ...] = (1, 16, 64, 256)


async def measure(run: Callable[[int], Awaitable[object]], concurrency: int, seconds: float) -> tuple[int, float]:
    """Run cases, `concurrency` at a time, for `seconds`; answer how many ended and the seconds that it took."""
    numbers = itertools.count()
    begun = time.perf_counter()

    async def worker() -> int:
        done = 0
        while time.perf_counter() - begun < seconds:
            await run(next(numbers))
            done += 1
        return done

    cases = sum(await asyncio.gather(*(worker() for _ in range(concurrency))))
    return cases, time.perf_counter() - begun


async def pointsman_sqlite(folder: Path, concurrency: int, seconds: float) -> tuple[int, float]:
    """Our engine, with everything on."""
    process = six_steps()
    async with Engine.open(folder / "cases.db", [process], concurrency=concurrency) as engine:

        async def run(number: int) -> None:
            started = await engine.start(process, Mail(case=number))
            await engine.wait_until_resting(started.case)

        return await measure(run, concurrency, seconds)


async def floor_asyncio(folder: Path, concurrency: int, seconds: float) -> tuple[int, float]:
    """The floor."""
    store = FloorStore(folder / "floor.db")
    try:
        return await measure(lambda number: run_case(store, number), concurrency, seconds)
    finally:
        store.close()


SYSTEMS: dict[str, Callable[[Path, int, float], Any]] = {
    "pointsman-sqlite": pointsman_sqlite,
    "floor-asyncio": floor_asyncio,
}


def w1(*, seconds: float, rounds: int, concurrencies: tuple[int, ...]) -> list[dict[str, Any]]:
    """Six durable steps a case; the systems take turns, and the median of the rounds counts."""
    rates: dict[tuple[str, int], list[float]] = {}
    for concurrency, _, (name, system) in itertools.product(concurrencies, range(rounds), SYSTEMS.items()):
        folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-"))  # a real disk: /tmp may be memory
        try:
            cases, wall = asyncio.run(system(folder, concurrency, seconds))
        finally:
            shutil.rmtree(folder)
        rates.setdefault((name, concurrency), []).append(cases * len(STEPS) / wall)
    rows = []
    for (name, concurrency), found in rates.items():
        rate = statistics.median(found)
        floor = statistics.median(rates["floor-asyncio", concurrency])
        rows.append({"workload": "W1", "system": name, "store": "sqlite", "concurrency": concurrency, "steps_per_s": round(rate, 1),
                     "durable_each_step": True, "of_floor": round(rate / floor, 3)})  # fmt: skip
    return rows


def w4(*, cases: int) -> list[dict[str, Any]]:
    """Reopen a database in which `cases` cases wait: how long until the engine is usable, and what they cost it."""
    process = waiting()

    async def fill(folder: Path) -> None:
        async with Engine.open(folder / "cases.db", [process], concurrency=256) as engine:
            for first in range(0, cases, 500):
                await asyncio.gather(*(engine.start(process, Waiting(number=number)) for number in range(first, first + 500)))

    async def reopen(folder: Path) -> dict[str, Any]:
        begun = time.perf_counter()
        async with Engine.open(folder / "cases.db", [process]) as engine:
            opened = time.perf_counter() - begun
            await engine.idle()
            usable = time.perf_counter() - begun
            return {"workload": "W4", "system": "pointsman-sqlite", "store": "sqlite", "waiting": cases, "open_ms": round(1e3 * opened, 1),
                    "usable_ms": round(1e3 * usable, 1), "threads": threading.active_count(), "tasks": len(asyncio.all_tasks())}  # fmt: skip

    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-"))
    try:
        asyncio.run(fill(folder))
        return [asyncio.run(reopen(folder))]
    finally:
        shutil.rmtree(folder)


def profile(seconds: float, concurrency: int) -> None:
    """Where the event loop's thread spends its time."""
    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-"))
    profiler = cProfile.Profile()
    try:
        profiler.runcall(asyncio.run, pointsman_sqlite(folder, concurrency, seconds))
    finally:
        shutil.rmtree(folder)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


def main() -> None:
    """Measure what was asked for and print a line a row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two rounds of two seconds, at concurrency 1 and 256 only")
    parser.add_argument("--only", choices=["W1", "W4"], help="one workload")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--profile", action="store_true", help="profile our engine at concurrency 256 instead")
    arguments = parser.parse_args()
    if arguments.profile:
        profile(5.0, 256)
        return
    rows: list[dict[str, Any]] = []
    if arguments.only in {None, "W1"}:
        seconds, rounds, concurrencies = (2.0, 2, (1, 256)) if arguments.quick else (4.0, 3, CONCURRENCIES)
        rows += w1(seconds=seconds, rounds=rounds, concurrencies=concurrencies)
    if arguments.only in {None, "W4"}:
        rows += w4(cases=10_000 if arguments.quick else 100_000)
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
