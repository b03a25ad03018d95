"""DBOS Transact: workflows of steps in threads, on SQLite, or on PostgreSQL where the run has a server.

Each step is a transaction of its own, so each is durable (https://docs.dbos.dev/python/tutorials/workflow-tutorial). Its SQLite journal is the
rollback journal; a `system_database_engine` with journal_mode=WAL and synchronous=FULL makes it faster, and is a documented setting
(https://docs.dbos.dev/python/reference/configuration), as is the shorter `notification_listener_polling_interval_sec`, without which an
answer on SQLite takes up to a second. On PostgreSQL it listens for notifications.
"""

import asyncio
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSConfig, SetWorkflowID

from benchmarks.peers import postgres
from benchmarks.peers.crowd import Ready, in_another, together
from benchmarks.systems.trial import Figures, repeated, rss_bytes, run
from benchmarks.workload import BEFORE_PAUSE, STEPS, payload

POLLING_SECONDS = 0.001  # its minimum; it wakes a waiting workflow on SQLite
IDLE_POLLING_SECONDS = 0.01  # with 1,000 waiting the minimum leaves no time for anything else
WAITS_SECONDS = 30 * 86_400.0  # for an answer
SETTLING_SECONDS = 0.01  # from the last statement before the pause until the workflow waits; no figure contains it
WATCHED_SECONDS = 2.0
RESUMED = 100
TOPIC = "approve"

_paused: dict[int, threading.Event] = {}  # of the cases whose pause somebody waits for
_waiting: list[int] = []  # cases that have come to their pause in this process


def _step(name: str) -> Callable[[int], dict[str, Any]]:
    def step(case: int) -> dict[str, Any]:
        return payload(name, case)

    durable: Callable[[int], dict[str, Any]] = DBOS.step(name=name)(step)
    return durable


_steps = {name: _step(name) for name in STEPS}


@DBOS.workflow()
def six_steps(case: int) -> None:
    for name in STEPS:
        _steps[name](case)


@DBOS.workflow()
def approved_steps(case: int) -> None:
    for name in BEFORE_PAUSE:
        _steps[name](case)
    _waiting.append(case)
    if case in _paused:
        _paused[case].set()
    assert DBOS.recv(TOPIC, timeout_seconds=WAITS_SECONDS) == "yes"
    _steps[STEPS[-1]](case)


@DBOS.step()
async def part(case: int, number: int) -> dict[str, Any]:
    return payload("part", case, number)


@DBOS.step()
async def join(parts: list[dict[str, Any]]) -> int:
    return len(parts)


@DBOS.workflow()
async def fan_out(case: int, branches: int) -> int:
    parts = await asyncio.gather(*(part(case, number) for number in range(branches)))
    total: int = await join(parts)
    return total


@DBOS.step()
def add(number: int) -> dict[str, Any]:
    return payload("grow", number)


@DBOS.workflow()
def growing(items: int) -> int:
    """A list in a variable of the workflow: the journal holds an item a step."""
    return len(json.dumps([add(number) for number in range(items)]))


def launch(place: str, executor: int = 0, *, polling_seconds: float = POLLING_SECONDS) -> None:
    """Start DBOS on a database's URL or on a SQLite file."""
    config: DBOSConfig = {
        "name": "bench", "executor_id": str(executor), "application_version": "1", "log_level": "ERROR",
    }  # fmt: skip
    if place.startswith("postgresql:"):
        config["system_database_url"] = place.replace("postgresql:", "postgresql+psycopg:")
    else:
        config["system_database_url"] = f"sqlite:///{place}"
        config["notification_listener_polling_interval_sec"] = polling_seconds
        engine = sqlalchemy.create_engine(config["system_database_url"])

        @sqlalchemy.event.listens_for(engine, "connect")
        def set_up(connection: Any, _record: object) -> None:
            connection.isolation_level = "IMMEDIATE"  # as in the engine that DBOS makes itself
            for pragma in ("busy_timeout=30000", "foreign_keys=ON", "journal_mode=WAL", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}")

        config["system_database_engine"] = engine
    DBOS(config=config)
    DBOS.launch()


def placed(work: Callable[[str], Figures], folder: Path) -> Figures:
    """Call `work` with the place of a store that has its tables and nothing else: a database's URL, or a file."""

    def with_tables(place: str) -> Figures:
        in_another(lambda: launch(place))
        return work(place)

    if postgres.VARIABLE in os.environ:
        with postgres.database() as url:
            return with_tables(url)
    return with_tables(str(folder / "cases.db"))


def w1(folder: Path, *, concurrency: int, seconds: float, processes: int = 1) -> Figures:
    each = concurrency // processes

    def measure(place: str) -> Figures:
        def work(number: int, ready: Ready) -> tuple[int, float]:
            async def main() -> tuple[int, float]:
                with ThreadPoolExecutor(each) as threads:
                    loop = asyncio.get_running_loop()
                    await asyncio.gather(*(loop.run_in_executor(threads, six_steps, -case) for case in range(each)))
                    ready()
                    return await repeated(lambda case: loop.run_in_executor(threads, six_steps, case), concurrency=each, seconds=seconds)

            launch(place, number)
            return asyncio.run(main())

        cases, wall = together(work, processes)
        return {"steps": cases * len(STEPS), "seconds": wall}

    return placed(measure, folder)


def _start(case: int) -> Any:
    """Start a case, and return its handle when it has come to its pause."""
    _paused[case] = threading.Event()
    with SetWorkflowID(f"case-{case}"):
        handle = DBOS.start_workflow(approved_steps, case)
    _paused[case].wait()
    return handle


def w2(folder: Path, *, cases: int) -> Figures:
    def measure(place: str) -> Figures:
        launch(place)
        paused, answered = [], []
        for case in range(-1, cases):  # the first one warms up
            begun = time.perf_counter()
            handle = _start(case)
            paused.append(time.perf_counter() - begun)
            time.sleep(SETTLING_SECONDS)
            begun = time.perf_counter()
            DBOS.send(f"case-{case}", "yes", TOPIC)
            handle.get_result()
            answered.append(time.perf_counter() - begun)
        return {"paused_ms": 1e3 * statistics.median(paused[1:]), "answered_ms": 1e3 * statistics.median(answered[1:])}

    return placed(measure, folder)


def w3(folder: Path, *, branches: int, seconds: float) -> Figures:
    def measure(place: str) -> Figures:
        async def main() -> tuple[int, float]:
            async def once(number: int) -> None:
                assert await fan_out(number, branches) == branches

            return await repeated(once, concurrency=1, seconds=seconds)

        launch(place)
        cases, wall = asyncio.run(main())
        return {"steps": cases * (branches + 1), "seconds": wall}

    return placed(measure, folder)


def w4(folder: Path, *, cases: int) -> Figures:
    """Each waiting case of DBOS runs again at the restart, up to where it waits, and holds a thread."""

    def fill(place: str) -> None:
        launch(place, polling_seconds=IDLE_POLLING_SECONDS)
        with ThreadPoolExecutor(4) as threads:
            for _ in threads.map(_start, range(cases)):
                pass
        time.sleep(1.0)  # the last ones come to wait

    def measure(place: str) -> Figures:
        empty = stored(place)
        in_another(lambda: fill(place))
        size, before = stored(place) - empty, rss_bytes()
        begun = time.perf_counter()
        launch(place, polling_seconds=IDLE_POLLING_SECONDS)
        while len(_waiting) < cases:
            time.sleep(0.005)
        opened = time.perf_counter() - begun
        time.sleep(1.0)  # the last ones come to wait
        held, threads, used = rss_bytes() - before, threading.active_count(), time.process_time()
        time.sleep(WATCHED_SECONDS)
        idle = (time.process_time() - used) / WATCHED_SECONDS
        resumed = []
        for case in range(min(RESUMED, cases)):
            begun = time.perf_counter()
            DBOS.send(f"case-{case}", "yes", TOPIC)
            DBOS.retrieve_workflow(f"case-{case}").get_result(polling_interval_sec=POLLING_SECONDS)
            resumed.append(1e3 * (time.perf_counter() - begun))
        return {
            "bytes_each": size / cases, "open_ms": 1e3 * opened, "usable_ms": 1e3 * opened + resumed[0],
            "resumed_ms": statistics.median(resumed), "memory_bytes": held, "threads": threads, "idle_load": idle,
        }  # fmt: skip

    return placed(measure, folder)


def w5_list(folder: Path, *, items: int) -> Figures:
    def measure(place: str) -> Figures:
        empty = stored(place)

        def grow() -> int:
            launch(place)
            weight: int = growing(items)
            return weight

        weight = in_another(grow)
        size = stored(place) - empty
        return {"disk_bytes": size, "list_bytes": weight, "disk_to_list": size / weight}

    return placed(measure, folder)


def stored(place: str) -> int:
    """Return the bytes of a store that no other process has open."""
    if place.startswith("postgresql:"):
        return postgres.size(place)
    engine = sqlalchemy.create_engine(f"sqlite:///{place}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return sum(file.stat().st_size for file in Path(place).parent.glob("cases.db*"))


if __name__ == "__main__":
    run({"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5-list": w5_list})
    sys.stdout.flush()
    os._exit(0)  # its threads wait for cases that nobody answers
