"""Queues, branches, rates and breakers at the same time, in seeded random order: all cases end, and no limit is exceeded."""

import asyncio
from random import Random
from typing import Any

import pytest
from downstream import Ask, AskEach
from places import run

from pointsman import CircuitBreaker, Engine, Item, Limit, Process, Retry, each, finish, otherwise, when
from pointsman.store.memory import MemoryStore

CASES = 60
RETRY = Retry(attempts_max=100, first_seconds=0.001, max_seconds=0.01)


class TooMany(Exception):
    retry_after = 0.02


class Confusion:
    """A downstream that takes a moment, and now and then fails or asks for rest."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.under_way: dict[str, int] = {}
        self.most: dict[str, int] = {}

    async def ask(self, name: str) -> str:
        self.under_way[name] = self.under_way.get(name, 0) + 1
        self.most[name] = max(self.most.get(name, 0), self.under_way[name])
        try:
            await asyncio.sleep(self.random.random() / 200)
            match self.random.random():
                case low if low < 0.05:
                    raise OSError("down")
                case low if low < 0.1:
                    raise TooMany
                case _:
                    return "yes"
        finally:
            self.under_way[name] -= 1


def single(name: str, limit: Limit) -> Process[Ask]:
    process = Process(name, Ask)

    @process.node(writes="answer", limit=limit, timeout_seconds=5, retry=RETRY)
    async def ask(question: str, *, world: Confusion) -> str:
        return await world.ask(limit.name)

    process.rules(when("open", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    return process


def several(name: str, limit: Limit) -> Process[AskEach]:
    process = Process(name, AskEach)

    @process.node(writes="answers", limit=limit, timeout_seconds=5, retry=RETRY)
    async def ask(question: Item[str], *, world: Confusion) -> str:
        return await world.ask(limit.name)

    process.rules(when("open", lambda c: c.answers is None, each(ask, over="questions")), otherwise(finish("answered")))
    return process


@pytest.mark.parametrize("seed", range(6))
def test_all_cases_end_and_no_limit_is_exceeded(seed: int) -> None:
    async def main() -> tuple[set[str | None], dict[str, int], dict[str, Any]]:
        random = Random(seed)
        limits = Limit("a", random.choice([1, 3]), breaker=CircuitBreaker(3, 0.02)), Limit("b", 2, per_second=random.choice([None, 500]))
        processes = [single("one", limits[0]), single("two", limits[1]), several("each", random.choice(limits))]
        world, store = Confusion(random), MemoryStore()
        settings = {"resources": {"world": world}, "store": store, "random": random, "concurrency": random.choice([2, 5, 64])}
        async with Engine.open("", processes, **settings) as engine:

            async def start(number: int) -> int:
                await asyncio.sleep(random.random() / 10)
                process = random.choice(processes)
                inputs: dict[str, Any] = {"question": str(number)}
                if process.name == "each":
                    inputs = {"questions": [str(item) for item in range(random.randint(1, 6))]}
                started = await engine.start(process, inputs, tenant=random.choice("abc"), priority=random.choice([0, 0, 1]))
                return started.case

            cases = await asyncio.gather(*map(start, range(CASES)))
            outcomes = {(await engine.wait_until_resting(case)).outcome for case in cases}
            return outcomes, world.most, {limit.name: limit.concurrency for limit in limits}

    outcomes, most, bounds = run(main())

    assert outcomes == {"answered"}
    assert all(most[name] <= bounds[name] for name in most)
