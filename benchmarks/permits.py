"""Measure the permits of one limit on PostgreSQL: `python -m benchmarks.permits [--seconds 3]`.

Callers of some handles, in one process, take a permit and give it back, again and again; there is always room. "row" is what the store does:
the limit is one row, and the changes of a handle that wait for it share a commit. "slots" is the other way to do it, without the rate, the
breaker and the refusals of a limit: each permit is a row, which is taken with SKIP LOCKED and given back, each in a commit of its own.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.peers import postgres
from pointsman import Limit
from pointsman.kernel.limits import GivePermit, TakePermit
from pointsman.store.postgres.store import PostgresStore, open_postgres

PERMITS = 256
NOW, LATER = 10.0, 1e12
LIMIT = Limit("mail", concurrency=PERMITS)
CROWDS = ((1, 1), (4, 1), (1, 50), (4, 12))  # handles, and the callers of each
TAKE = """
UPDATE slots SET holder = %(holder)s, until = 1e12
 WHERE n = (SELECT n FROM slots WHERE until < 10 LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING n
"""
GIVE = "UPDATE slots SET holder = NULL, until = 0 WHERE n = %(n)s AND holder = %(holder)s"

Call = Callable[[PostgresStore, str], Awaitable[None]]


async def by_row(store: PostgresStore, holder: str) -> None:
    """Take a permit and give it back, as the engine does."""
    taken = await store.change_limit(TakePermit(LIMIT, holder, NOW, LATER))
    assert taken.refused_until is None
    await store.change_limit(GivePermit(LIMIT, holder, "well", NOW, 1))


async def by_slots(store: PostgresStore, holder: str) -> None:
    """Take a slot and give it back."""
    [(number,)] = await store.connections.rows(TAKE, {"holder": holder})
    await store.connections.rows(GIVE, {"n": number, "holder": holder})


async def measured(url: str, call: Call, handles: int, callers: int, seconds: float) -> float:
    """Return the permits a second of all callers."""

    async def repeated(store: PostgresStore, name: str) -> int:
        count = 0
        while time.perf_counter() < until:
            await call(store, f"{name} {count}")
            count += 1
        return count

    stores = [await open_postgres(url) for _ in range(handles)]
    try:
        await stores[0].connections.rows(
            "CREATE TABLE slots (n integer PRIMARY KEY, holder text, until float8 DEFAULT 0) WITH (fillfactor = 50)"
        )
        await stores[0].connections.rows("INSERT INTO slots (n) SELECT generate_series(1, %(permits)s)", {"permits": PERMITS})
        await asyncio.gather(*(call(store, f"{place}") for place, store in enumerate(stores)))
        began = time.perf_counter()
        until = began + seconds
        counts = await asyncio.gather(*(repeated(store, f"{place} {n}") for place, store in enumerate(stores) for n in range(callers)))
        return sum(counts) / (time.perf_counter() - began)
    finally:
        for store in stores:
            await store.close()


def main(seconds: float) -> None:
    """Print a line for each crowd: handles x callers of each."""
    for handles, callers in CROWDS:
        rates = []
        for call in (by_row, by_slots):
            with postgres.database() as url:
                rates.append(asyncio.run(measured(url, call, handles, callers, seconds)))
        row, slots = rates
        print(f"{handles} x {callers} callers: row {row:.0f}, slots {slots:.0f} permits a second", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    with postgres.server(Path(".venv-peers")) as url:
        os.environ[postgres.VARIABLE] = url
        main(given.seconds)
