"""A downstream that counts its calls and answers when it is told to; run as a program, it dies with calls under way."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from places import Place

import interpreter
from pointsman import Context, Failure, Idempotent, Item, Limit, Process, State, each, finish, otherwise, parallel, when
from pointsman.testing.clock import ManualClock

DIED = 9  # the exit code of a death on purpose
TIMEOUT_SECONDS = 30.0
BEGUN_AT = 1_000.0  # the clock of those who die


class Ask(State):
    question: str
    answer: str | Failure | None = None


class AskTwice(Ask):
    second: str | Failure | None = None


class AskEach(State):
    questions: list[str]
    answers: list[str] | None = None


class Downstream:
    """What becomes of each call, in order (the last one stays); without an open gate, calls stay under way until it opens;
    and each waits until so many are under way `together`."""

    def __init__(self, *endings: Any, gate: bool = False, together: int = 1) -> None:
        self.barrier = asyncio.Barrier(together)
        self.endings = list(endings) or ["yes"]
        self.gate = asyncio.Event()
        if gate:
            self.gate.set()
        self.under_way = 0
        self.most = 0
        self.questions: list[str] = []
        self.times: list[float] = []
        self.clock = ManualClock()

    async def ask(self, question: str) -> str:
        self.questions.append(question)
        self.times.append(self.clock.now())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
            await self.barrier.wait()
        finally:
            self.under_way -= 1
        ending = self.endings.pop(0) if len(self.endings) > 1 else self.endings[0]
        if isinstance(ending, BaseException):
            raise ending
        return str(ending)

    async def begun(self, count: int) -> None:
        """Return when so many calls have begun."""
        while len(self.questions) < count:  # noqa: ASYNC110 - it is counted, not told
            await asyncio.sleep(0)


def asking(limit: Limit, **settings: Any) -> Process[Ask]:
    """One limited step."""
    process = Process("ask", Ask)
    more = {"timeout_seconds": TIMEOUT_SECONDS, **settings}

    @process.node(writes="answer", limit=limit, **more)
    async def ask(question: str, *, world: Downstream) -> str:
        return await world.ask(question)

    process.rules(when("open", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    return process


def telling(limit: Limit, **settings: Any) -> Process[Ask]:
    """One limited effect."""
    process = Process("tell", Ask)
    more = {"safety": Idempotent(), "timeout_seconds": TIMEOUT_SECONDS, **settings}

    @process.effect(writes="answer", limit=limit, **more)
    async def tell(question: str, *, ctx: Context, world: Downstream) -> str:
        return await world.ask(question)

    process.rules(when("open", lambda c: c.answer is None, tell), otherwise(finish("answered")))
    return process


def asking_twice(limit: Limit, **settings: Any) -> Process[AskTwice]:
    """Two limited branches."""
    process = Process("twice", AskTwice)
    more = {"timeout_seconds": TIMEOUT_SECONDS, **settings}

    @process.node(writes="answer", limit=limit, **more)
    async def ask(question: str, *, world: Downstream) -> str:
        return await world.ask(question)

    @process.node(writes="second", limit=limit, **more)
    async def ask_again(question: str, *, world: Downstream) -> str:
        return await world.ask(question)

    process.rules(when("open", lambda c: c.answer is None, parallel(ask, ask_again)), otherwise(finish("answered")))
    return process


def asking_each(limit: Limit, **settings: Any) -> Process[AskEach]:
    """A limited branch for each question."""
    process = Process("each", AskEach)
    more = {"timeout_seconds": TIMEOUT_SECONDS, **settings}

    @process.node(writes="answers", limit=limit, **more)
    async def ask(question: Item[str], *, world: Downstream) -> str:
        return await world.ask(question)

    process.rules(when("open", lambda c: c.answers is None, each(ask, over="questions")), otherwise(finish("answered")))
    return process


def hinting() -> Process[Ask]:
    """A step without a limit."""
    process = Process("hint", Ask)

    @process.node(writes="answer")
    async def hint(question: str) -> str:
        return "look it up"

    process.rules(when("open", lambda c: c.answer is None, hint), otherwise(finish("answered")))
    return process


async def ask_and_die(database: Path, kind: str) -> None:
    world, limit = Downstream(), Limit("llm", concurrency=2)
    process = {"ask": asking, "tell": telling}[kind](limit)
    async with Place(database).open(process, resources={"world": world}, clock=ManualClock(BEGUN_AT)) as engine:
        for number in range(4):
            await engine.start(process, {"question": str(number)})
        await world.begun(2)
        os._exit(DIED)


def die(database: Path, kind: str) -> int:
    """Run this file as a program of its own and answer its exit code."""
    return interpreter.run(__file__, database, kind).returncode


if __name__ == "__main__":
    asyncio.run(ask_and_die(Path(sys.argv[1]), sys.argv[2]))
