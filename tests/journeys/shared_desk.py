"""Desks on a database that they share, as `serve` is one; each names the mails of its folder when it begins to take them in.

Run as a program with a lease in seconds, the number of cases that the mails make, and a desk.toml for each desk. Each desk is a process of its
own, forked when what they need has been imported. A line is the name of a desk and what it says: first its process, at last "ended". A
desk says "done" when all cases rest. A desk that begins with its mail `HELD` waits until there is a file `go` beside its desk.toml.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg_pool  # noqa: F401 - imported before the fork, as are the next ones

from pointsman import EngineStopped, Status, StoreError
from pointsman_desk import desk as at_desk
from pointsman_desk import shared  # noqa: F401
from pointsman_desk.config import load_config
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.running import Round
from pointsman_desk.wiring import Desk, open_desk

HELD = 4
MOVES = {Status.READY, Status.RUNNING}


def say(name: str, line: object) -> None:
    os.write(1, f"{name} {line}\n".encode())  # in one piece, whoever else writes


class Naming(at_desk.Reception):
    """A reception that names each mail of the folder."""

    def __init__(self, file: Path, desk: Desk) -> None:
        super().__init__(desk)
        self.name, self.go = file.stem, file.with_name("go")

    async def take_all(self, mails: Iterable[Found], *arguments: Any) -> None:
        await super().take_all(self._named(mails), *arguments)

    def _named(self, mails: Iterable[Found]) -> Iterator[Found]:
        for number, mail in enumerate(mails, 1):
            say(self.name, f"takes {mail.name}")
            while number == HELD and not self.go.exists():
                time.sleep(0.01)
            yield mail


async def all_rest(desk: Desk, cases: int) -> None:
    async for _ in desk.engine.changes(since=-1):
        rows = await desk.engine.reader.cases()
        if len(rows) == cases and not any(row.status in MOVES for row in rows):
            return


async def serve(file: Path, lease_seconds: float, cases: int) -> None:
    config, name = load_config(file), file.stem

    async def tell(_: Desk, run: at_desk.Run) -> None:
        for problem in run.problems:
            say(name, f"problem {problem}")

    async def life() -> None:
        async with open_desk(config, lease_seconds=lease_seconds) as desk:
            takes = Round(desk, Naming(file, desk), Arrivals(), tell, lambda error: error and say(name, f"problem {error}"))
            await at_desk.either(takes.work(asyncio.Event()), desk.engine.serve(asyncio.Event()), all_rest(desk, cases))
        say(name, "done")

    while True:
        try:
            return await life()
        except (EngineStopped, StoreError) as error:  # on a busy machine, a short lease may end
            say(name, f"again {error}")


def main(lease_seconds: float, cases: int, files: list[Path]) -> None:
    names = {}
    for file in files:
        if (child := os.fork()) == 0:
            try:
                asyncio.run(serve(file, lease_seconds, cases))
            finally:
                os._exit(0)
        names[child] = file.stem
        say(file.stem, child)
    while names:
        child, _ = os.wait()
        say(names.pop(child), "ended")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), [Path(file) for file in sys.argv[3:]])
