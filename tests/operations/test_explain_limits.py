"""What keeps a case in the line of a limit is told: who has the permits, a rest that was asked for, an open breaker."""

import asyncio
from pathlib import Path
from typing import Any

from pointsman import CircuitBreaker, Engine, Limit, Process, Retry, State, finish, format_time, history_of, otherwise, when
from pointsman.operations.explain import explain
from pointsman.testing.clock import ManualClock


class Ask(State):
    question: str
    answer: str | None = None


class Busy(Exception):
    retry_after = 60.0


def asking(limit: Limit, ask: Any) -> Process[Ask]:
    process = Process("ask", Ask)
    node = process.node(ask, writes="answer", name="ask", limit=limit, retry=Retry(first_seconds=0))
    process.rules(when("open", lambda c: c.answer is None, node), otherwise(finish("answered")))
    return process


async def told(engine: Engine, process: Process[Ask], case: int) -> tuple[str, ...]:
    return explain(process, await history_of(engine.reader, case)).obstacles


async def seen(engine: Engine, kind: str) -> None:
    """Return when an event of this kind has been committed."""
    async with asyncio.timeout(5):
        async for event in engine.events():
            if event.kind == kind:
                return


def test_who_has_the_permits_is_told(tmp_path: Path) -> None:
    async def main() -> tuple[str, ...]:
        gate = asyncio.Event()

        async def ask(question: str) -> str:
            await gate.wait()
            return "yes"

        process = asking(Limit("llm", concurrency=1), ask)
        async with Engine.open(tmp_path / "cases.db", [process], clock=ManualClock(), grace_seconds=0) as engine:
            first = (await engine.start(process, {"question": "a"})).case
            second = (await engine.start(process, {"question": "b"})).case
            await seen(engine, "permit.waited")
            found = await told(engine, process, second)
            lines = explain(process, await history_of(engine.reader, second)).lines(ManualClock().now() + 60)
            assert f"  in line since {format_time(ManualClock().now())}" in list(lines)
            assert await told(engine, process, first) == ()
            return found

    assert asyncio.run(main()) == ("it waits for a permit of 'llm'; running calls: case 1 at 'ask'",)


def test_a_rest_and_an_open_breaker_are_told(tmp_path: Path) -> None:
    async def obstacles(error: Exception, path: Path) -> tuple[str, ...]:
        async def ask(question: str) -> str:
            raise error

        process = asking(Limit("llm", breaker=CircuitBreaker(failures=1, cooldown_seconds=60)), ask)
        async with Engine.open(path, [process], clock=ManualClock(), grace_seconds=0) as engine:
            case = (await engine.start(process, {"question": "a"})).case
            await seen(engine, "node.failed")
            return await told(engine, process, case)

    rest = asyncio.run(obstacles(Busy(), tmp_path / "rest.db"))
    breaker = asyncio.run(obstacles(OSError("down"), tmp_path / "breaker.db"))

    assert rest[1] == f"'llm' asked callers to wait until {format_time(1_000_060.0)}"
    assert breaker[1] == f"'llm' failed 1 time in a row; no call is made until {format_time(1_000_060.0)}, and then one is tried"
