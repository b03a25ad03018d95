"""Run as a program, this engine stops itself (SIGSTOP) when the steps of all its letters have results and none is written yet.

Its arguments are the URL, and the guards that its writes do not have. It logs what is refused.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))

from places import LEASE_SECONDS

from patience import patient
from pointsman import Engine, PointsmanError, Process, State, finish, otherwise, when
from pointsman.store.postgres.connections import place_of, schema_statements

LETTERS = ("overtaken", "finished")
GUARDS = {"fence": "c.fence = t.fence", "revision": "c.revision = t.revision"}


class Letter(State):
    name: str
    signed_by: str | None = None


def letters(engine: str, begun: Callable[[str], Awaitable[object]]) -> Process[Letter]:
    """Letters that the engine signs which runs them, after it has awaited `begun` with the letter's name."""
    process = Process("letters", Letter)

    @process.node(writes="signed_by")
    async def sign(name: str) -> str:
        await begun(name)
        return engine

    process.rules(when("it is not signed", lambda c: c.signed_by is None, sign), otherwise(finish("signed")))
    return process


def forget(guards: Collection[str], url: str) -> None:
    """Let this process write without looking at these guards."""
    statements = schema_statements(place_of(url).schema)
    assert isinstance(statements, dict)
    for guard in guards:
        for name, text in statements.items():
            statements[name] = text.replace(GUARDS[guard], "true")


async def main(url: str, guards: Collection[str]) -> None:
    everybody = asyncio.Barrier(len(LETTERS) + 1)
    called = 0

    async def begun(_: str) -> None:
        await everybody.wait()

    def stop_itself(label: str) -> None:
        nonlocal called
        called += label == "node.called"
        if label == "node.called" and called == len(LETTERS):
            os.kill(os.getpid(), signal.SIGSTOP)

    forget(guards, url)
    with suppress(PointsmanError):
        async with Engine.open(url, [letters("late", begun)], lease_seconds=LEASE_SECONDS, failpoints=stop_itself) as engine:
            for name in LETTERS:
                await engine.start("letters", {"name": name}, key=name)
            await everybody.wait()
            # An engine that notices the loss of its lease cancels its steps when it is closed: wait here until the store has answered.
            await asyncio.wait([task for task in asyncio.all_tasks() if task.get_name().startswith("pointsman-case-")])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    with patient():
        asyncio.run(main(sys.argv[1], sys.argv[2:]))
