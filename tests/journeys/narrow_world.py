"""Engines that call a slow downstream under a limit, one after the other: each is killed when the downstream has all its hands full.

Run as a program it is such an engine: with the database, the downstream's port, how many cases to start, whether its store
keeps permits, and how many seconds its clock is ahead. It says how many have ended when nothing moves any more, and stays
until it is told to end.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

from narrow_downstream import ask

from later import Ahead
from pointsman import Engine, Limit, Process, Retry, State, Status, finish, otherwise, when
from pointsman.kernel.limits import LimitChange, LimitChanged, LimitState, changed
from pointsman.store.sqlite import open_sqlite

HERE = Path(__file__).parent
SLOW_SECONDS = (0.1, 0.2)
TIMEOUT_SECONDS = 600.0  # what callers give a call: far beyond the slowest one
AHEAD_SECONDS = 2 * TIMEOUT_SECONDS  # then a call of a dead engine has ended
HANDS = 4  # the calls that the downstream can work on at a time
LOOK_SECONDS = 0.01


class Question(State):
    number: int
    answer: str | None = None


def questions(port: int) -> Process[Question]:
    """One call of the downstream a case, under its limit."""
    process = Process("questions", Question)

    limit, often = Limit("narrow", concurrency=HANDS), Retry(attempts_max=1_000)

    @process.node(writes="answer", limit=limit, timeout_seconds=TIMEOUT_SECONDS, retry=often)
    async def put(number: int) -> str:
        await ask(port, str(number))
        return f"{number} answered"

    process.rules(when("open", lambda c: c.answer is None, put), otherwise(finish("answered")))
    return process


class ForgetsPermits:
    """The control: a store whose limits end with their engine."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._limits: dict[str, LimitState] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def limits(self) -> dict[str, LimitState]:
        return self._limits

    async def change_limit(self, change: LimitChange) -> LimitChanged:
        answer = changed(self._limits.get(change.limit.name, LimitState()), change)
        self._limits[change.limit.name] = answer.state
        return answer


async def work(database: Path, port: int, cases: int, kind: str, ahead_seconds: float) -> None:
    """Start the cases, all at once, and work them off."""
    store = ForgetsPermits(await open_sqlite(database, now=time.time())) if kind == "forgets permits" else None
    settings: dict[str, Any] = {"store": store, "clock": Ahead(ahead_seconds)}
    async with Engine.open(database, [questions(port)], **settings) as engine:
        await asyncio.gather(*(engine.start("questions", {"number": number}, key=str(number)) for number in range(cases)))
        await engine.idle()
        ended = (await engine.reader.counts()).get(Status.DONE, 0)
        print(ended, flush=True)
        await engine.serve()


async def squeeze(folder: Path, *, cases: int, kills: int, seed: int, kind: str) -> dict[str, Any]:
    """Kill engines while the downstream is busy, let the last one work all off, and answer what the downstream counted.

    After each kill, another engine does what it can until it waits for permits, before the calls of the dead one end; when the clock says that
    these calls have ended, the next engine goes on. It is over as soon as the downstream has more calls than hands.
    """
    downstream = await program("narrow_downstream.py", seed, *SLOW_SECONDS)
    living = [downstream]

    async def begin(ahead: int) -> asyncio.StreamReader:
        living.append(engine := await program("narrow_world.py", folder / "cases.db", port, cases, kind, ahead * AHEAD_SECONDS))
        assert engine.stdout is not None
        return engine.stdout

    async def end() -> None:
        living[-1].kill()
        await living[-1].communicate()

    async def said(engine: asyncio.StreamReader) -> tuple[bytes, dict[str, Any]]:
        """The next line of an engine, and the count; no line if the downstream is overwhelmed before."""
        line = asyncio.ensure_future(engine.readline())
        while (seen := await ask(port, "count"))["most"] <= HANDS and not line.done():  # noqa: ASYNC110 - it does not tell
            await asyncio.sleep(LOOK_SECONDS)
        if not line.done():
            living[-1].kill()
        return await line, seen

    try:
        assert downstream.stdout is not None
        port = int(await downstream.stdout.readline())
        for kill in range(kills):
            await ask(port, "hold")
            await begin(kill)
            while (await ask(port, "count"))["current"] < HANDS:  # noqa: ASYNC110 - it does not tell
                await asyncio.sleep(LOOK_SECONDS)
            await end()
            _, seen = await said(await begin(kill))
            if seen["most"] > HANDS:
                return {"ended": 0, **seen}
            await end()
            await ask(port, "go")
            while (await ask(port, "count"))["current"]:  # noqa: ASYNC110 - it does not tell
                await asyncio.sleep(LOOK_SECONDS)
        ended, seen = await said(await begin(kills))
        await end()
        return {"ended": int(ended or 0), **seen}
    finally:
        for process in living:
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def program(name: str, *arguments: object) -> asyncio.subprocess.Process:
    """Begin a program of this folder."""
    return await asyncio.create_subprocess_exec(sys.executable, HERE / name, *map(str, arguments), stdout=asyncio.subprocess.PIPE)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], float(sys.argv[5])))
