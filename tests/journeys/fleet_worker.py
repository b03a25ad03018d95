"""A worker of the fleet: a process of its own with an engine on a PostgreSQL database, which does what it is told on its standard input.

Run as a program with the URL, the provider's port, its lease (seconds) and the file until which its first steps last, if any;
its lines are those of `soak_worker.py`. It ends in order at SIGTERM. Where its store gives up, it says so and how many commits were unknown.
"""

import asyncio
import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from soak_worker import Client, effects_of_each_policy, listen, obey

from pointsman import (
    Context,
    Database,
    Engine,
    PointsmanError,
    Process,
    Retry,
    State,
    finish,
    otherwise,
    when,
)
from pointsman.store.postgres.store import PostgresStore, open_postgres

CONCURRENCY = 10  # so that none waits for a place: what is measured is how long an engine's cases wait for another one

LOOK_SECONDS = 0.02


class Order(State):
    number: int
    asked: int | None = None
    place: int | None = None
    total: str | None = None
    charge: str | None = None
    ship: str | None = None
    tell: str | None = None
    note: str | None = None


def _lasts(until: Path | None) -> bool:
    return until is not None and not until.exists()


def orders(until: Path | None = None) -> Process[Order]:
    """An order: a step that says who asked, a row of the author's own, and an effect under each policy."""
    process = Process("orders", Order)
    quick = Retry(attempts_max=4, first_seconds=0.02)

    @process.node(writes="asked", retry=quick)
    async def ask(number: int, *, ctx: Context, client: Client) -> int:
        await client.do("ask", number, replace(ctx, key=f"ask {number} {os.getpid()}"))
        await asyncio.sleep(LOOK_SECONDS)
        while _lasts(until):  # noqa: ASYNC110 - the test ends it
            await asyncio.sleep(LOOK_SECONDS)
        return os.getpid()

    @process.transaction(writes="place", retry=quick)
    def reserve(number: int, *, db: Database) -> int:
        return int(db.execute("INSERT INTO public.fleet_places (number) VALUES (?) RETURNING place", (number,))[0][0])

    @process.node(writes="total", retry=quick)
    def add_up(number: int, place: int) -> str:
        return f"{number} at {place}"

    charge, ship, tell, note = effects_of_each_policy(process)
    process.rules(
        when("not asked", lambda c: c.asked is None, ask),
        when("not reserved", lambda c: c.place is None, reserve),
        when("not added up", lambda c: c.total is None, add_up),
        when("not charged", lambda c: c.charge is None, charge),
        when("not shipped", lambda c: c.ship is None, ship),
        when("not told", lambda c: c.tell is None, tell),
        when("not noted", lambda c: c.note is None, note),
        otherwise(finish("delivered")),
    )
    return process


async def answer(store: PostgresStore, engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
    """Say which engine this is, or do one thing for the driver."""
    return {"engine": store._writing.engine} if asked["do"] == "who" else await obey(engine, asked)


async def main(url: str, port: int, lease_seconds: float, until: Path | None) -> None:
    store = None
    try:
        store = await open_postgres(url, lease_seconds=lease_seconds)
        process = orders(until)
        settings: dict[str, Any] = {"store": store, "concurrency": CONCURRENCY, "grace_seconds": 1.0}
        async with Engine.open(url, [process], resources={"client": Client(port)}, **settings) as engine:
            listening, serving = asyncio.create_task(listen(engine, partial(answer, store))), asyncio.create_task(engine.serve())
            await asyncio.sleep(0)  # a signal now ends it in order
            print("ready", flush=True)
            await serving
            listening.cancel()
        end = "closed"
    except PointsmanError as error:
        end = f"gave up: {type(error).__name__}: {str(error).replace(url.partition('?')[0], 'the database')}"
    fates = store and store._writer.fates
    print(json.dumps([end, *([fates.unknown, fates.found_committed, fates.found_absent] if fates else [0, 0, 0])]), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]) if sys.argv[4:] else None))
