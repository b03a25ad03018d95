"""The floor on PostgreSQL: the least that an asyncio loop and psycopg can do for the same rows and the same durability."""

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from benchmarks.peers import postgres
from benchmarks.systems.trial import Figures, repeated, run
from benchmarks.workload import STEPS, payload

BATCH_MAX = 512  # as on SQLite
CONNECTIONS = 2  # one batch is written while the next one is made
APART = "\x1f"  # between the values of a column: JSON never has this character, and the server splits a text faster than it reads JSON

TABLES = """
CREATE TABLE process (id bigint PRIMARY KEY, status text, at integer, input text) WITH (fillfactor = 70);
CREATE TABLE step (process bigint, seq integer, name text, result text, PRIMARY KEY (process, seq));
"""


def _column(kind: str) -> str:
    return f"string_to_array(%s, E'\\x1f')::{kind}[]"


# A batch is one statement in a transaction of its own.
STATEMENT = f"""
WITH started AS (INSERT INTO process SELECT * FROM unnest({_column("bigint")}, {_column("text")}, {_column("integer")}, {_column("text")})),
     moved AS (UPDATE process SET status = t.status, at = t.at
                 FROM unnest({_column("bigint")}, {_column("text")}, {_column("integer")}) AS t (id, status, at) WHERE process.id = t.id)
INSERT INTO step SELECT * FROM unnest({_column("bigint")}, {_column("integer")}, {_column("text")}, {_column("text")})
"""
# The plan for a batch of any size: PostgreSQL would read a table that it believes to be empty.
SESSION = ("SET enable_seqscan = off", "SET enable_hashjoin = off", "SET enable_mergejoin = off", "SET jit = off")


class Step(NamedTuple):
    case: int
    seq: int
    name: str
    status: str
    result: str
    input: str = ""  # of the step that starts the case


class FloorStore:
    """Rows that one of two connections writes in groups; no rules, no checks, no events, no recovery."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Step, asyncio.Future[None]]] = []
        self._work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self, url: str) -> None:
        for _ in range(CONNECTIONS):
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=0)
            for setting in SESSION:
                await connection.execute(setting)
            self._tasks.append(asyncio.create_task(self._write(connection)))

    async def commit(self, step: Step) -> None:
        """Return when the step is on the disk."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((step, answer))
        self._work.set()
        await answer

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _write(self, connection: psycopg.AsyncConnection[Any]) -> None:
        async with connection, connection.cursor() as cursor:
            while True:
                await self._work.wait()
                batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
                if not batch:
                    self._work.clear()
                    continue
                await cursor.execute(STATEMENT, _columns([step for step, _ in batch]))
                for _, answer in batch:
                    answer.set_result(None)


def _columns(batch: list[Step]) -> list[str]:
    new = [step for step in batch if step.input]
    old = [step for step in batch if not step.input]
    columns: list[list[object]] = [
        [step.case for step in new], [step.status for step in new], [step.seq + 1 for step in new], [step.input for step in new],
        [step.case for step in old], [step.status for step in old], [step.seq + 1 for step in old],
        [step.case for step in batch], [step.seq for step in batch], [step.name for step in batch], [step.result for step in batch],
    ]  # fmt: skip
    return [APART.join(map(str, column)) for column in columns]


def w1(_folder: Path, *, concurrency: int, seconds: float) -> Figures:
    """Six steps a case; the start shares the commit of the first."""
    used: list[float] = []

    async def main(url: str) -> Figures:
        store = FloorStore()
        await store.open(url)

        async def once(case: int) -> None:
            for seq, name in enumerate(STEPS):
                status = "done" if seq == len(STEPS) - 1 else "running"
                beginning = json.dumps({"case": case}) if seq == 0 else ""
                await store.commit(Step(case, seq, name, status, json.dumps(payload(name, case)), beginning))

        await asyncio.gather(*(once(case) for case in range(-concurrency, 0)))  # what is slow only once is over
        with postgres.watched(used):
            cases, wall = await repeated(once, concurrency=concurrency, seconds=seconds)
        store.close()
        steps = cases * len(STEPS)
        own, servers = used
        return {"steps": steps, "seconds": wall, **postgres.costs(own, servers, steps=steps, wall=wall)}

    with postgres.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(TABLES)
        return asyncio.run(main(url))


if __name__ == "__main__":
    run({"W1": w1})
