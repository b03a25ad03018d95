"""Run as a program, this works on a database until the process is killed without warning."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from letters import POLICIES, World, letter
from places import Place

import interpreter
from pointsman import Context, Failure, Process, Reader, Retry, State, finish, otherwise, parallel, when
from pointsman.testing.clock import ManualClock

DIED = 9  # the exit code of a death on purpose
BEGUN_AT = 1_000.0  # the clock of those who die


class FileWorld(World):
    """A world that outlives whoever calls it: a line for each call, with its key."""

    def __init__(self, path: Path) -> None:
        super().__init__("posted")
        self.path = path
        self.posted = dict.fromkeys(self.calls(), "posted")

    async def post(self, key: str) -> Any:
        with self.path.open("a") as calls:
            calls.write(key + "\n")
        return await super().post(key)

    def calls(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []


class Job(State):
    name: str
    quick: str | Failure | None = None
    result: str | Failure | None = None


class Deadly:
    """Whether the deadly step kills its process, and a line for each call of each step."""

    def __init__(self, path: Path, *, kills: bool) -> None:
        self.path = path
        self.kills = kills

    def called(self, name: str) -> None:
        with self.path.open("a") as calls:
            calls.write(name + "\n")

    def calls(self) -> list[str]:
        return self.path.read_text().split()

    def strike(self) -> None:
        if self.kills:
            os._exit(DIED)


def deadly_node(**settings: Any) -> Process[Job]:
    process = Process("deadly", Job)

    @process.node(writes="result", **settings)
    async def work(name: str, *, deadly: Deadly) -> str:
        deadly.called("work")
        deadly.strike()
        return "survived"

    @process.node(writes="quick")
    async def be_quick(name: str) -> str:
        return "quick"

    process.rules(
        when("open", lambda c: c.result is None, work),
        when("not quick", lambda c: c.quick is None, be_quick),
        otherwise(finish("survived")),
    )
    return process


def deadly_branch() -> Process[Job]:
    """One branch ends; the other waits until that is durable, and then kills the process."""
    process = Process("deadly", Job)

    @process.node(writes="quick")
    async def be_quick(name: str, *, deadly: Deadly) -> str:
        deadly.called("quick")
        return "quick"

    @process.node(writes="result")
    async def work(name: str, *, deadly: Deadly, readers: list, ctx: Context) -> str:
        deadly.called("work")
        reader: Reader
        for reader in readers:
            while not await reader.branches(ctx.case):  # noqa: ASYNC110 - nothing tells a node of another's commit
                await asyncio.sleep(0)
        deadly.strike()
        return "survived"

    process.rules(when("open", lambda c: c.result is None, parallel(be_quick, work)), otherwise(finish("survived")))
    return process


def deadly_process(kind: str) -> Process[Job]:
    retry = Retry(attempts_max=2)
    return {
        "park": lambda: deadly_node(retry=retry),
        "record": lambda: deadly_node(retry=retry, on_failure="record"),
        "branch": deadly_branch,
    }[kind]()


def dying_at(label: str) -> Callable[[str], None]:
    """Points at which the process ends when `label` is passed."""

    def point(reached: str) -> None:
        if reached == label:
            os._exit(DIED)

    return point


def die(*arguments: object) -> int:
    """Run this file as a program of its own and answer its exit code."""
    return interpreter.run(__file__, *arguments).returncode


async def post_and_die(place: Place, calls: Path, policy: str, label: str) -> None:
    process = letter(POLICIES[policy])
    settings = {"resources": {"world": FileWorld(calls)}, "clock": ManualClock(BEGUN_AT), "failpoints": dying_at(label)}
    async with place.open(process, **settings) as engine:
        started = await engine.start(process, {"message": "m"}, key="k")
        await engine.wait_until_resting(started.case)


async def work_and_die(place: Place, calls: Path, kind: str) -> None:
    process, readers = deadly_process(kind), []
    resources = {"deadly": Deadly(calls, kills=True), "readers": readers}
    async with place.open(process, resources=resources) as engine:
        readers.append(engine.reader)
        started = await engine.start(process, {"name": "m"}, key="k")
        await engine.wait_until_resting(started.case)


if __name__ == "__main__":
    what, database, file, *more = sys.argv[1:]
    work = {"post": post_and_die, "work": work_and_die}[what]
    asyncio.run(work(Place(Path(database)), Path(file), *more))
