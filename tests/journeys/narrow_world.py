"""Engines that call a slow downstream under a limit, one after the other: each is killed when the downstream has all its hands full.

Run as a program it is such an engine: with the database, the downstream's port, how many cases to start, and whether its
store keeps permits. It says how many have ended when nothing moves any more, and stays until it is told to end.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from narrow_downstream import TIMEOUT_SECONDS, ask

from pointsman import Engine, Limit, Process, Retry, State, Status, finish, otherwise, when
from pointsman.kernel.limits import LimitChange, LimitChanged, LimitState, changed
from pointsman.store.sqlite import open_sqlite

HERE = Path(__file__).parent
SLOW_SECONDS = (1.0, 2.0)  # longer than a dead engine needs to be back, on a machine that has time for it
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


async def work(database: Path, port: int, cases: int, kind: str) -> None:
    """Start the cases, all at once, and work them off."""
    store = ForgetsPermits(await open_sqlite(database, now=time.time())) if kind == "forgets permits" else None
    settings: dict[str, Any] = {"store": store}
    async with Engine.open(database, [questions(port)], **settings) as engine:
        await asyncio.gather(*(engine.start("questions", {"number": number}, key=str(number)) for number in range(cases)))
        await engine.idle()
        ended = (await engine.reader.counts())[Status.DONE]
        print(ended, flush=True)
        await engine.serve()


async def squeeze(
    folder: Path, *, cases: int, kills: int, seed: int, kind: str, slow_seconds: tuple[float, float] = SLOW_SECONDS
) -> dict[str, Any]:
    """Kill engines while the downstream is busy, let the last one work all off, and answer what the downstream counted.

    It is over as soon as the downstream has more calls than hands.
    """
    downstream = await program("narrow_downstream.py", seed, *slow_seconds)
    living = [downstream]
    try:
        assert downstream.stdout is not None
        port = int(await downstream.stdout.readline())
        for _ in range(kills):
            before = (await ask(port, "count"))["calls"]
            living.append(await program("narrow_world.py", folder / "cases.db", port, cases, kind))
            while (seen := await ask(port, "count"))["calls"] < before + HANDS or seen["current"] < HANDS:  # noqa: ASYNC110 - it does not tell
                await asyncio.sleep(LOOK_SECONDS)
            living[-1].kill()
            await living[-1].communicate()
        living.append(last := await program("narrow_world.py", folder / "cases.db", port, cases, kind))
        assert last.stdout is not None
        ended = asyncio.ensure_future(last.stdout.readline())
        while (seen := await ask(port, "count"))["most"] <= HANDS and not ended.done():  # noqa: ASYNC110 - it does not tell
            await asyncio.sleep(LOOK_SECONDS)
        last.kill()
        return {"ended": int(await ended or 0), **seen}
    finally:
        for process in living:
            if process.returncode is None:
                process.kill()
                await process.communicate()


async def program(name: str, *arguments: object) -> asyncio.subprocess.Process:
    """Begin a program of this folder."""
    return await asyncio.create_subprocess_exec(sys.executable, HERE / name, *map(str, arguments), stdout=asyncio.subprocess.PIPE)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
