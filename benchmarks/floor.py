"""The floor: the least that an asyncio loop and a writing thread can do for the same rows and the same durability."""

import asyncio
import json
import queue
import sqlite3
import threading
from pathlib import Path

from benchmarks.workload import STEPS, payload

BATCH_MAX = 512  # as in the engine's writer


class FloorStore:
    """Rows handed to one thread that commits them in groups; no rules, no checks, no events, no recovery."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE process (id INTEGER PRIMARY KEY, status TEXT, at INTEGER, input TEXT);"
            "CREATE TABLE step (process INTEGER, seq INTEGER, name TEXT, result TEXT, PRIMARY KEY (process, seq)) WITHOUT ROWID;"
        )
        self._jobs: queue.SimpleQueue[tuple[list[tuple[str, tuple[object, ...]]], asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    async def commit(self, statements: list[tuple[str, tuple[object, ...]]]) -> None:
        """Return when the statements are on the disk."""
        answer: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((statements, answer))
        await answer

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


async def run_case(store: FloorStore, case: int) -> None:
    """One case of six steps, each durable before the next."""
    for seq, step in enumerate(STEPS):
        result = json.dumps(payload(step, case))
        statements: list[tuple[str, tuple[object, ...]]] = []
        if seq == 0:
            statements.append(("INSERT INTO process VALUES (?, 'running', 0, ?)", (case, json.dumps({"case": case}))))
        statements.append(("INSERT INTO step VALUES (?, ?, ?, ?)", (case, seq, step, result)))
        status = "done" if seq == len(STEPS) - 1 else "running"
        statements.append(("UPDATE process SET status = ?, at = ? WHERE id = ?", (status, seq + 1, case)))
        await store.commit(statements)


def _answer(answers: list[asyncio.Future[None]]) -> None:
    for answer in answers:
        answer.set_result(None)
