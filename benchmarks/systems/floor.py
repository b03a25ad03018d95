"""The floor: the least that an asyncio loop and a writing thread can do for the same rows and the same durability."""

import asyncio
import json
import queue
import sqlite3
import statistics
import threading
import time
from pathlib import Path

from benchmarks.systems.trial import Figures, repeated, run
from benchmarks.workload import BEFORE_PAUSE, STEPS, payload

BATCH_MAX = 512  # as in the engine's writer

Statement = tuple[str, tuple[object, ...]]


class FloorStore:
    """Rows handed to one thread that commits them in groups; no rules, no checks, no events, no recovery."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE process (id INTEGER PRIMARY KEY, status TEXT, at INTEGER, input TEXT);"
            "CREATE TABLE step (process INTEGER, seq INTEGER, name TEXT, result TEXT, PRIMARY KEY (process, seq)) WITHOUT ROWID;"
        )
        self._jobs: queue.SimpleQueue[tuple[list[Statement], asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    async def commit(self, statements: list[Statement]) -> None:
        """Return when the statements are on the disk."""
        answer: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((statements, answer))
        await answer

    async def step(self, case: int, seq: int, name: str, status: str) -> None:
        """Make a result durable, and where the case stands."""
        result = json.dumps(payload(name, case, seq))
        await self.commit([
            ("INSERT INTO step VALUES (?, ?, ?, ?)", (case, seq, name, result)),
            ("UPDATE process SET status = ?, at = ? WHERE id = ?", (status, seq + 1, case)),
        ])  # fmt: skip

    async def start(self, case: int) -> None:
        """Make a case durable."""
        await self.commit([("INSERT INTO process VALUES (?, 'running', 0, ?)", (case, json.dumps({"case": case})))])

    def close(self) -> None:
        """End the thread."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            while len(batch) < BATCH_MAX and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    self._jobs.put(None)
                    break
                batch.append(following)
            self._connection.execute("BEGIN IMMEDIATE")
            for statements, _ in batch:
                for sql, parameters in statements:
                    self._connection.execute(sql, parameters)
            self._connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_answer, [answer for _, answer in batch])


def _answer(answers: list[asyncio.Future[None]]) -> None:
    for answer in answers:
        answer.set_result(None)


def w1(folder: Path, *, concurrency: int, seconds: float) -> Figures:
    """Six steps a case; the start shares the commit of the first."""

    async def main() -> tuple[int, float]:
        store = FloorStore(folder / "floor.db")

        async def once(case: int) -> None:
            for seq, name in enumerate(STEPS):
                result = json.dumps(payload(name, case))
                statements: list[Statement] = []
                if seq == 0:
                    statements.append(("INSERT INTO process VALUES (?, 'running', 0, ?)", (case, json.dumps({"case": case}))))
                statements.append(("INSERT INTO step VALUES (?, ?, ?, ?)", (case, seq, name, result)))
                status = "done" if seq == len(STEPS) - 1 else "running"
                statements.append(("UPDATE process SET status = ?, at = ? WHERE id = ?", (status, seq + 1, case)))
                await store.commit(statements)

        try:
            return await repeated(once, concurrency=concurrency, seconds=seconds)
        finally:
            store.close()

    cases, wall = asyncio.run(main())
    return {"steps": cases * len(STEPS), "seconds": wall, "cpu_s": time.process_time()}


def w2(folder: Path, *, cases: int) -> Figures:
    """The commits of a case with an approval: the start, five steps and the pause; then the answer and the last step."""

    async def main() -> Figures:
        store, paused, answered = FloorStore(folder / "floor.db"), [], []
        try:
            for case in range(cases):
                begun = time.perf_counter()
                await store.start(case)
                for seq, name in enumerate(BEFORE_PAUSE):
                    await store.step(case, seq, name, "running" if name != BEFORE_PAUSE[-1] else "waiting")
                paused.append(time.perf_counter() - begun)
                begun = time.perf_counter()
                await store.step(case, len(BEFORE_PAUSE), "approve", "running")
                await store.step(case, len(STEPS), STEPS[-1], "done")
                answered.append(time.perf_counter() - begun)
        finally:
            store.close()
        return {"paused_ms": 1e3 * statistics.median(paused), "answered_ms": 1e3 * statistics.median(answered)}

    return asyncio.run(main())


def w3(folder: Path, *, branches: int, seconds: float) -> Figures:
    """The commits of a fan-out: each branch by itself, grouped as they come."""

    async def main() -> tuple[int, float]:
        store = FloorStore(folder / "floor.db")

        async def once(case: int) -> None:
            await store.start(case)
            await asyncio.gather(*(store.step(case, branch, "part", "running") for branch in range(branches)))
            await store.step(case, branches, "join", "done")

        try:
            return await repeated(once, concurrency=1, seconds=seconds)
        finally:
            store.close()

    cases, wall = asyncio.run(main())
    return {"steps": cases * (branches + 1), "seconds": wall}


if __name__ == "__main__":
    run({"W1": w1, "W2": w2, "W3": w3})
