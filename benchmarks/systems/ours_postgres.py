"""Pointsman on the run's PostgreSQL server, with everything on, in one process or in several that share the database."""

import asyncio
from pathlib import Path

from benchmarks.peers import postgres
from benchmarks.peers.crowd import Ready, together
from benchmarks.systems.processes import Mail, six_steps
from benchmarks.systems.trial import Figures, repeated, run
from benchmarks.workload import STEPS
from pointsman import Engine


def w1(_folder: Path, *, concurrency: int, seconds: float, processes: int = 1) -> Figures:
    """Six steps a case, `concurrency` cases at a time in all processes together. Each process has run as many before it is measured."""
    each = concurrency // processes
    process = six_steps()

    async def main(url: str, ready: Ready) -> tuple[float, ...]:
        used: list[float] = []
        async with Engine.open(url, [process], concurrency=each) as engine:

            async def once(number: int) -> None:
                started = await engine.start(process, Mail(case=number))
                await engine.wait_until_resting(started.case)

            await once(0)
            await asyncio.gather(*(once(number) for number in range(-each, 0)))  # what is slow only once is over
            await asyncio.to_thread(ready)  # the engine goes on renewing its lease
            with postgres.watched(used):
                done = await repeated(once, concurrency=each, seconds=seconds)
            await asyncio.to_thread(ready)  # no connection ends before all have looked at the server
            own, servers = used
            return *done, own, servers / processes  # each process watches the whole server

    with postgres.database() as url:
        cases, wall, own, servers = together(lambda _, ready: asyncio.run(main(url, ready)), processes)
    steps = cases * len(STEPS)
    return {"steps": steps, "seconds": wall, **postgres.costs(own, servers, steps=steps, wall=wall)}


if __name__ == "__main__":
    run({"W1": w1})
