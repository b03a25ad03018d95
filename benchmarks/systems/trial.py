"""The frame of a trial's program: `python -m benchmarks.systems.NAME WORKLOAD PARAMETERS`, where the parameters are JSON."""

import asyncio
import gc
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
Trial = Callable[..., Figures]


def run(trials: Mapping[str, Trial]) -> None:
    """Run the trial that the command line names in an empty folder on the disk of the current folder, and print its figures."""
    _, workload, parameters = sys.argv
    set_collector()
    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-"))  # a real disk: /tmp may be memory
    try:
        figures = trials[workload](folder, **json.loads(parameters))
    finally:
        shutil.rmtree(folder)
    print(json.dumps(figures))


def set_collector() -> None:
    """Set the garbage collector as a program that only serves would, in Python of every system alike; docs/performance.md says why."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


async def repeated(once: Callable[[int], Awaitable[object]], *, concurrency: int, seconds: float) -> tuple[int, float]:
    """Call `once` with a new number again and again, `concurrency` at a time, for `seconds`, and at least so often.

    Return how often, and the seconds it took.
    """
    numbers, begun = count(1), time.perf_counter()

    async def worker() -> int:
        for done in count(1):
            await once(next(numbers))
            if time.perf_counter() - begun >= seconds:
                return done
        raise AssertionError

    times = sum(await asyncio.gather(*(worker() for _ in range(concurrency))))
    return times, time.perf_counter() - begun


def rss_bytes() -> int:
    """Return the memory that this process holds now, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
