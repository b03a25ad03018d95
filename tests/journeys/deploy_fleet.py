"""Workers with old and new code on one PostgreSQL, as during a rolling deploy. `main` is a worker.

Its kind may be "claims any version", or "does not end": then the second steps of half of its letters last until it leaves.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from pointsman import Engine, Process, State, finish, otherwise, when
from pointsman.store.postgres.store import PostgresStore, open_postgres

CONCURRENCY = 2  # so that most cases are rows that any worker may claim
OLD, NEW = 1, 2
LONG_SECONDS = 3_600.0


class Letter(State):
    number: int
    drafted: int | None = None
    sent: int | None = None


def letters(version: int, *, accepts: Mapping[int, None], ends: bool = True) -> Process[Letter]:
    """A letter of two steps, each of which writes which version of the code ran it."""
    process = Process("letters", Letter, version=version, accepts=accepts)

    @process.node(writes="drafted")
    async def draft(number: int) -> int:
        await asyncio.sleep(0.005)
        return version

    @process.node(writes="sent")
    async def send(number: int, drafted: int) -> int:
        await asyncio.sleep(0.0 if ends or is_even(number) else LONG_SECONDS)
        return version

    process.rules(
        when("it is not drafted", lambda c: c.drafted is None, draft),
        when("it is not sent", lambda c: c.sent is None, send),
        otherwise(finish("sent")),
    )
    return process


def is_even(number: int) -> bool:
    return number % 2 == 0


class ClaimsAny(PostgresStore):
    """The control: an engine that claims whatever is due."""

    async def announced(self) -> set[tuple[str, int]]:
        return set()

    async def announce(self, accepts: Any) -> None:
        await super().announce({})
        self._claims.accepts = None


async def main(url: str, version: int, older: list[int], first: int, count: int, kind: str) -> None:
    store: Any = await open_postgres(url)
    if kind == "claims any version":
        store.__class__ = ClaimsAny
    process = letters(version, accepts=dict.fromkeys(older), ends=kind != "does not end")
    async with Engine.open(url, [process], store=store, concurrency=CONCURRENCY, grace_seconds=0.0) as engine:
        serving = asyncio.create_task(engine.serve())
        numbers = range(first, first + count)
        await asyncio.gather(*(engine.start(process, Letter(number=number), key=str(number)) for number in numbers))
        await serving
