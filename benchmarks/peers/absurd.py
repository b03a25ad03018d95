"""Absurd: tasks whose steps are checkpoints in PostgreSQL, each a stored procedure and durable when it returns.

Several worker processes with a connection each are its way to more throughput (https://earendil-works.github.io/absurd/). A worker polls;
here each process spawns a task and works it off at once (`work_batch`), which spends no time on polling. A task runs its steps one after the
other, so a fan-out is a task with that many steps.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from absurd_sdk import Absurd
from absurdctl import BUNDLED_SCHEMA_SQL

from benchmarks.peers import postgres
from benchmarks.peers.crowd import Ready, in_another, together
from benchmarks.systems.trial import Figures, repeated, rss_bytes, run
from benchmarks.workload import BEFORE_PAUSE, STEPS, payload

QUEUE = "bench"
CLAIM_SECONDS = 600  # longer than any task takes
WATCHED_SECONDS = 2.0
RESUMED = 100


def opened(url: str) -> Any:
    """Open a client that knows the tasks."""
    app = Absurd(url, queue_name=QUEUE)

    @app.register_task(name="six_steps")
    def six_steps(parameters: dict[str, Any], context: Any) -> None:
        for name in STEPS:
            context.step(name, lambda name=name: payload(name, parameters["case"]))

    @app.register_task(name="approved_steps")
    def approved_steps(parameters: dict[str, Any], context: Any) -> None:
        case = parameters["case"]
        for name in BEFORE_PAUSE:
            context.step(name, lambda name=name: payload(name, case))
        assert context.await_event(f"approve:{case}") == "yes"
        context.step(STEPS[-1], lambda: payload(STEPS[-1], case))

    @app.register_task(name="fan_out")
    def fan_out(parameters: dict[str, Any], context: Any) -> None:
        case, branches = parameters["case"], parameters["branches"]
        parts = [context.step(f"part-{number}", lambda number=number: payload("part", case, number)) for number in range(branches)]
        assert context.step("join", lambda: len(parts)) == branches

    @app.register_task(name="growing")
    def growing(parameters: dict[str, Any], context: Any) -> None:
        for number in range(parameters["items"]):
            context.step(f"add-{number}", lambda number=number: payload("grow", number))

    return app


def work_off(app: Any, task: str, parameters: dict[str, Any]) -> None:
    """Spawn a task, and run one."""
    app.spawn(task, parameters)
    app.work_batch(claim_timeout=CLAIM_SECONDS)


def placed(work: Callable[[str], Figures]) -> Figures:
    """Call `work` with the URL of a database that has the tables and an empty queue."""
    with postgres.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(BUNDLED_SCHEMA_SQL)
        app = Absurd(url, queue_name=QUEUE)
        app.create_queue(QUEUE)
        app.close()
        return work(url)


def states(url: str) -> dict[str, int]:
    """Return how many tasks are in each state."""
    with psycopg.connect(url) as connection:
        return dict(connection.execute(f"SELECT state, count(*) FROM absurd.t_{QUEUE} GROUP BY 1").fetchall())


def w1(_folder: Path, *, concurrency: int, seconds: float, processes: int = 1) -> Figures:
    """A connection does one thing at a time: `concurrency` is the number of processes."""

    def measure(url: str) -> Figures:
        def work(number: int, ready: Ready) -> tuple[int, float]:
            async def once(case: int) -> None:
                work_off(app, "six_steps", {"case": case})

            app = opened(url)
            work_off(app, "six_steps", {"case": number})
            ready()
            return asyncio.run(repeated(once, concurrency=1, seconds=seconds))

        spawned, wall = together(work, processes)
        cases = states(url)["completed"] - processes
        assert spawned - processes <= cases <= spawned  # who claims while another one does may get nothing
        return {"steps": cases * len(STEPS), "seconds": wall}

    assert concurrency == processes
    return placed(measure)


def w2(_folder: Path, *, cases: int) -> Figures:
    def measure(url: str) -> Figures:
        app = opened(url)
        paused, answered = [], []
        for case in range(-1, cases):  # the first one warms up
            begun = time.perf_counter()
            work_off(app, "approved_steps", {"case": case})
            paused.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            app.emit_event(f"approve:{case}", "yes")
            app.work_batch(claim_timeout=CLAIM_SECONDS)
            answered.append(time.perf_counter() - begun)
        assert states(url) == {"completed": cases + 1}
        return {"paused_ms": 1e3 * statistics.median(paused[1:]), "answered_ms": 1e3 * statistics.median(answered[1:])}

    return placed(measure)


def w3(_folder: Path, *, branches: int, seconds: float) -> Figures:
    def measure(url: str) -> Figures:
        async def once(case: int) -> None:
            work_off(app, "fan_out", {"case": case, "branches": branches})

        app = opened(url)
        cases, wall = asyncio.run(repeated(once, concurrency=1, seconds=seconds))
        assert states(url) == {"completed": cases}
        return {"steps": cases * (branches + 1), "seconds": wall}

    return placed(measure)


def w4(_folder: Path, *, cases: int) -> Figures:
    def fill(url: str) -> None:
        app = opened(url)
        for case in range(cases):
            work_off(app, "approved_steps", {"case": case})

    def measure(url: str) -> Figures:
        empty = postgres.size(url)
        in_another(lambda: fill(url))
        assert states(url) == {"sleeping": cases}
        size, before = postgres.size(url) - empty, rss_bytes()
        begun = time.perf_counter()
        app = opened(url)
        app.claim_tasks()
        open_ms = 1e3 * (time.perf_counter() - begun)
        used = time.process_time()
        time.sleep(WATCHED_SECONDS)
        idle = (time.process_time() - used) / WATCHED_SECONDS
        resumed = []
        for case in range(min(RESUMED, cases)):
            begun = time.perf_counter()
            app.emit_event(f"approve:{case}", "yes")
            app.work_batch(claim_timeout=CLAIM_SECONDS)
            resumed.append(1e3 * (time.perf_counter() - begun))
        return {
            "bytes_each": size / cases, "open_ms": open_ms, "usable_ms": open_ms + resumed[0], "resumed_ms": statistics.median(resumed),
            "memory_bytes": rss_bytes() - before, "idle_load": idle,
        }  # fmt: skip

    return placed(measure)


def w5_list(_folder: Path, *, items: int) -> Figures:
    def measure(url: str) -> Figures:
        empty = postgres.size(url)
        work_off(opened(url), "growing", {"items": items})
        size, weight = postgres.size(url) - empty, len(json.dumps([payload("grow", number) for number in range(items)]))
        return {"disk_bytes": size, "list_bytes": weight, "disk_to_list": size / weight}

    return placed(measure)


if __name__ == "__main__":
    run({"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5-list": w5_list})
