"""What keeps a case in the line of a limit is told: who has the permits, a rest that was asked for, an open breaker."""

import asyncio
from pathlib import Path
from typing import Any

from pointsman import (
    CircuitBreaker,
    Context,
    Engine,
    Explanation,
    Idempotent,
    Limit,
    Process,
    Retry,
    State,
    finish,
    format_time,
    history_of,
    otherwise,
    when,
)
from pointsman.operations.explain import explain
from pointsman.testing.clock import ManualClock

HANG_SECONDS = 600  # far longer than any test here


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
    async with asyncio.timeout(HANG_SECONDS):
        async for event in engine.events():
            if event.kind == kind:
                return


def test_the_holders_of_the_permits_are_shown(tmp_path: Path) -> None:
    async def main() -> tuple[str, ...]:
        begun, gate = asyncio.Event(), asyncio.Event()

        async def ask(question: str) -> str:
            begun.set()
            await gate.wait()
            return "yes"

        process = asking(Limit("llm", concurrency=1), ask)
        async with Engine.open(tmp_path / "cases.db", [process], clock=ManualClock(), grace_seconds=0) as engine:
            first = (await engine.start(process, {"question": "a"})).case
            await begun.wait()
            second = (await engine.start(process, {"question": "b"})).case
            await seen(engine, "permit.waited")
            found = await told(engine, process, second)
            lines = explain(process, await history_of(engine.reader, second)).lines(ManualClock().now() + 60)
            assert f"  in the backlog since {format_time(ManualClock().now())}" in list(lines)
            assert await told(engine, process, first) == ()
            return found

    assert asyncio.run(main()) == ("it waits for a permit of 'llm'; running calls: case 1 at 'ask'",)


def test_an_effect_in_doubt_that_waits_for_a_permit_says_so_and_what_a_message_may_change(tmp_path: Path) -> None:
    bank = Limit("bank", breaker=CircuitBreaker(failures=1, cooldown_seconds=60))
    process = Process("ask", Ask)

    def pay(question: str, *, ctx: Context) -> str:
        raise OSError("down")

    pays = process.effect(pay, writes="answer", limit=bank, safety=Idempotent(), timeout_seconds=5, retry=Retry(first_seconds=0))
    process.accept(str, writes="question", correlate=lambda question: "one")
    process.rules(when("unpaid", lambda c: c.answer is None, pays), otherwise(finish("paid")))

    async def main() -> tuple[Explanation, Explanation]:
        async with Engine.open(tmp_path / "cases.db", [process], clock=ManualClock(), grace_seconds=0) as engine:
            case = (await engine.start(process, {"question": "a"}, correlation="one")).case
            await seen(engine, "effect.in_doubt")
            async with asyncio.timeout(HANG_SECONDS):
                async for event in engine.events():
                    if event.kind == "permit.waited" and event.revision > 3:
                        break
            alone = explain(process, await history_of(engine.reader, case))
            await engine.send(process, "b")
            return alone, explain(process, await history_of(engine.reader, case))

    alone, with_message = asyncio.run(main())

    again = "in doubt (down); it will be called again under the same key when 'bank' has a permit"
    assert alone.effects["pay"].startswith(f"{again} (key ")
    assert with_message.effects["pay"].startswith(f"{again}, unless a message in the inbox changes what it reads (key ")
    assert "in its inbox: 1 message, which may change what comes next" in with_message.obstacles


def test_a_held_limit_and_an_open_breaker_are_shown(tmp_path: Path) -> None:
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
