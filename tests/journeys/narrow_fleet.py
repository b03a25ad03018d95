"""A fleet whose workers call one downstream under one limit, while some of them are killed in the middle of a call.

`main` is a worker. The downstream counts the concurrent calls; it finishes a call whose caller has died.
"""

import asyncio
import os
from contextlib import suppress
from typing import Any

from forks import Forks, forks
from narrow_downstream import ask
from narrow_world import LOOK_SECONDS, program

from pointsman import Engine, EngineStopped, Limit, Process, Retry, State, StoreError, finish, otherwise, when
from pointsman.store.postgres.store import open_postgres
from postgres_server import Server

LEASE_SECONDS = 4.0  # short, so that a dead worker's cases are soon taken over, and long enough for a dozen workers that begin at once
SLOW_SECONDS = (0.02, 0.1)
TIMEOUT_SECONDS = 30.0  # far beyond a call on a busy machine: one that is given up is still under way, beside the next one
HANGS_SECONDS = 300  # and a call's timeout for each kill, which keeps a permit so long: far beyond what it takes


class Question(State):
    number: int
    answer: str | None = None


def questions(port: int, hands: int | None) -> Process[Question]:
    """One call of the downstream a case, under its limit if it has one."""
    process = Process("questions", Question)
    limit = Limit("narrow", concurrency=hands) if hands else None

    @process.node(writes="answer", limit=limit, timeout_seconds=TIMEOUT_SECONDS, retry=Retry(attempts_max=1_000))
    async def put(number: int) -> str:
        await ask(port, str(os.getpid()))
        return f"{number} answered"

    process.rules(when("open", lambda c: c.answer is None, put), otherwise(finish("answered")))
    return process


async def main(url: str, port: int, hands: int | None) -> None:
    while True:
        with suppress(EngineStopped, StoreError):  # on a machine that stands still, a short lease ends: what it calls goes on
            store: Any = await open_postgres(url, lease_seconds=LEASE_SECONDS)
            async with Engine.open(url, [questions(port, hands)], store=store) as engine:
                await engine.serve()
                return


async def crowd(
    server: Server, url: str, *, workers: int, cases: int, kills: int, seed: int, hands: int | None, together: int
) -> dict[str, Any]:
    """Have the cases worked off, kill callers meanwhile, and return what the downstream counted. No call ends before so many are under way `together`."""
    downstream = await program("narrow_downstream.py", seed, *SLOW_SECONDS, together)
    try:
        assert downstream.stdout is not None
        port = int(await downstream.stdout.readline())
        async with asyncio.timeout(HANGS_SECONDS + TIMEOUT_SECONDS * kills), forks("narrow_fleet") as fleet:
            async with Engine.open(url, [questions(port, hands)], grace_seconds=0.0) as engine:
                starts = (engine.start("questions", {"number": number}, key=str(number)) for number in range(cases))
                await asyncio.gather(*starts)
            for _ in range(workers):
                await fleet.hire(url, port, hands)
            for _ in range(kills):
                fleet.kill(await _caller(port, fleet))
                await fleet.hire(url, port, hands)
            ended = f"SELECT count(*) FROM {url.rpartition('=')[2]}.cases WHERE status = 'done'"
            while server.execute(ended) != [(cases,)]:  # noqa: ASYNC110 - it does not tell
                await asyncio.sleep(LOOK_SECONDS)
        return await ask(port, "count")
    finally:
        downstream.kill()
        await downstream.communicate()


async def _caller(port: int, fleet: Forks) -> int:
    """A worker that is calling."""
    while True:
        for caller in (await ask(port, "count"))["callers"]:
            if int(caller) in fleet.living:
                return int(caller)
        await asyncio.sleep(LOOK_SECONDS)
