"""A pause of a body belongs to its case: what it asks, who answers and when it ends are found by running the body, also after a restart."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pointsman import AnswerInvalid, Engine, Status, answer_with, reassign
from pointsman.functional import Entrypoint, entrypoint, pause
from pointsman.testing.clock import ManualClock


def asking(more: str = "") -> Entrypoint[str, Any]:
    @entrypoint(name="asking")
    def asking(given: str) -> Any:
        shown = given + more
        if given == "number":
            return pause(shown, answer=int, name="ask")
        return pause(shown, answer=bool, name="ask", assignee="ann", ladder=(reassign("1h", "bob"), answer_with(False)), deadline="2h")

    return asking


def opened(path: Path, declared: Entrypoint[str, Any], work: Callable[[Engine], Awaitable[None]], clock: ManualClock | None = None) -> None:
    async def main() -> None:
        async with Engine.open(path, [declared.process], clock=clock or ManualClock(1_000_000.0)) as engine:
            await work(engine)

    asyncio.run(main())


async def ask(engine: Engine, *given: str) -> None:
    [process] = engine.processes
    for one in given:
        started = await engine.start(process, {"invocation": {"input": one, "thread": one}})
        await engine.wait_until_resting(started.case)


def test_two_pauses_of_one_name_keep_their_own_answers(tmp_path: Path) -> None:
    async def work(engine: Engine) -> None:
        await ask(engine, "number", "truth")
        number, truth = await engine.pending(1), await engine.pending(2)
        assert (number.answer, truth.answer) == (int, bool)
        with pytest.raises(AnswerInvalid):
            await engine.resume(number.token, "many", by="ann")
        await engine.resume(number.token, 7, by="ann")
        await engine.wait_until_resting(1)
        assert (await engine.state(1)).result.value == 7

    opened(tmp_path / "cases.db", asking(), work)


def test_a_pause_is_looked_at_and_answered_right_after_a_restart(tmp_path: Path) -> None:
    async def first(engine: Engine) -> None:
        await ask(engine, "truth")

    async def second(engine: Engine) -> None:
        before = await engine.case(1)
        pending = await engine.pending(1)
        assert (pending.pause, pending.answer, pending.assignee, pending.escalates_to) == ("ask", bool, "ann", "bob")
        assert (pending.expires_at or 0) - pending.since == 7200
        assert await engine.case(1) == before  # to look changes nothing
        await engine.resume(pending.token, True, by="ann")
        assert (await engine.wait_until_resting(1)).status is Status.DONE
        assert "ask" not in asked.process.steps

    asked = asking()
    opened(tmp_path / "cases.db", asking(), first)
    opened(tmp_path / "cases.db", asked, second)


def test_the_ladder_of_a_pause_is_climbed_after_a_restart(tmp_path: Path) -> None:
    async def first(engine: Engine) -> None:
        await ask(engine, "truth")

    async def an_hour_later(engine: Engine) -> None:
        await engine.idle(horizon_seconds=0.0)
        assert [task.assignee for task in (await engine.tasks()).rows] == ["bob"]
        assert (await engine.pending(1)).escalates_to == ""

    async def two_hours_later(engine: Engine) -> None:
        await engine.idle(horizon_seconds=0.0)
        assert (await engine.case(1)).status is Status.DONE
        assert (await engine.state(1)).result.value is False

    opened(tmp_path / "cases.db", asking(), first)
    opened(tmp_path / "cases.db", asking(), an_hour_later, ManualClock(1_003_601.0))
    opened(tmp_path / "cases.db", asking(), two_hours_later, ManualClock(1_007_201.0))


def test_a_pause_that_shows_something_else_after_a_deploy_is_asked_anew(tmp_path: Path) -> None:
    async def first(engine: Engine) -> None:
        await ask(engine, "truth")

    async def second(engine: Engine) -> None:
        assert (await engine.pending(1)).shown == {"shown": "truth, as of today"}

    opened(tmp_path / "cases.db", asking(), first)
    opened(tmp_path / "cases.db", asking(", as of today"), second)
