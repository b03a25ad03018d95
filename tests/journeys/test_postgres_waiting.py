"""Cases that wait in a PostgreSQL database cost a claim nothing."""

import asyncio
import time
from statistics import median
from typing import Any, NamedTuple

import pytest

from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.scenarios import new_case
from postgres_server import Server
from tiers import figure

FEW = 100
NOW, LATER = 20.0, 1e9
CLAIMED = 10
TRIALS = 15
INDEX = "cases_due"


class Cost(NamedTuple):
    """What it costs to claim ten due cases and to find the next wake-up, in pages of the server; and the seconds of a claim of one case."""

    pages: int
    seconds: float


async def fill(store: PostgresStore, waiting: int) -> None:
    """Insert cases of which a third waits for a person, a third for a time, and a third for a limit without room."""
    first = (await store.reserve(waiting))[0]
    schema = store.connections.place.schema
    await store.connections.rows(f"""
        INSERT INTO {schema}.cases (id, process, version, status, revision, fence, wake_at, needs, attempts, steps, created_at, updated_at)
        SELECT {first} + n, 'p', 1, CASE n % 3 WHEN 2 THEN 'ready' ELSE 'waiting' END, 1, 0,
               CASE n % 3 WHEN 1 THEN {LATER} + n WHEN 2 THEN 1.0 END, CASE n % 3 WHEN 2 THEN 'llm' END, 0, 1, 0, 0
          FROM generate_series(0, {waiting} - 1) AS n""")
    await store.connections.rows(f"VACUUM ANALYZE {schema}.cases")


async def pages(store: PostgresStore) -> int:
    """The pages that the statements of a claim touch. What they write is rolled back."""
    due = [await new_case(store, wake_at=1.0) for _ in range(CLAIMED)]
    sql, closed = store.connections.sql, ["llm"]
    asked: dict[str, Any] = {"processes": ["p"], "now": NOW, "closed": closed, "accepts": ["p 1"], "tried": []}
    statements = {
        "take_over": {"skew": 0.0, "now": NOW}, "select_due": {**asked, "few": CLAIMED},
        "claim_cases": {"cases": due, "now": NOW, "engine": store._writing.engine}, "next_wake": asked,
    }  # fmt: skip
    touched = 0
    async with store.connections.connection() as connection:
        for name, values in statements.items():
            async with connection.transaction(force_rollback=True):
                cursor = await connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql[name]}".rstrip("; \n").encode(), values)
                plan = (await cursor.fetchall())[0][0][0]["Plan"]
                touched += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    await store.claim(["p"], now=NOW, limit=CLAIMED, room={"llm": 0})
    return int(touched)


async def seconds(store: PostgresStore) -> float:
    """How long it takes to claim one case."""
    taken = []
    for _ in range(TRIALS):
        await new_case(store, wake_at=1.0)
        begun = time.perf_counter()
        [_] = await store.claim(["p"], now=NOW, limit=CLAIMED, room={"llm": 0})
        taken.append(time.perf_counter() - begun)
    return median(taken)


def cost(server: Server, waiting: int, *, without: str | None = None) -> Cost:
    """The cost of claims beside so many waiting cases, perhaps without an index."""

    async def run(url: str) -> Cost:
        store = await open_postgres(url)
        try:
            await store.announce({"p": {1}})
            await fill(store, waiting)
            if without is not None:
                await store.connections.rows(f"DROP INDEX {store.connections.place.schema}.{without}")
            return Cost(await pages(store), await seconds(store))
        finally:
            await store.close()

    with server.schema() as url:
        return asyncio.run(run(url))


def test_a_claim_costs_the_same_beside_very_many_waiting_cases(postgres: Server, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = figure("CLAIM_WAITING", 5_000)

    few, many = cost(postgres, FEW), cost(postgres, waiting)

    with capsys.disabled():
        print(
            f"\nclaims beside {waiting} waiting cases: {many.pages} pages, {1e3 * many.seconds:.1f} ms; beside {FEW}: {few.pages} pages, ",
            end="",
        )
        print(f"{1e3 * few.seconds:.1f} ms; ratio of pages {many.pages / few.pages:.2f}, of times {many.seconds / few.seconds:.2f}")
    assert many.pages <= 2 * few.pages


def test_without_its_index_it_does_not(postgres: Server, capsys: pytest.CaptureFixture[str]) -> None:
    few, many = cost(postgres, FEW), cost(postgres, 5_000, without=INDEX)

    with capsys.disabled():
        print(f"\nwithout {INDEX}: {many.pages} pages beside 5000 waiting cases")
    assert many.pages > 2 * few.pages
