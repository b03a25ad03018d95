"""An operator takes back what a person answered at a pause of a body: the person is asked again, and no effect is repeated."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pointsman import Context, Engine, Idempotent, Refused, Status
from pointsman.functional import INJECTED, entrypoint, pause, task
from pointsman.operations.history import history_of

CALLED: list[str] = []


@task
def draft(text: str, tone: str) -> str:
    CALLED.append(f"draft {tone}")
    return f"{text}, {tone}"


@task
def look_up(order: str) -> str:
    CALLED.append("look_up")
    return order


@task(safety=Idempotent())
async def charge(cents: int, *, ctx: Context = INJECTED) -> str:
    CALLED.append(f"charge {cents}")
    return f"charged {cents}"


@entrypoint()
def mails(given: str) -> str:
    order = look_up("A1").result()
    tone = pause("which tone?", answer=str, name="tone")
    if tone == "none":
        return "nothing"
    if tone == "broken":
        raise ValueError("no such tone")
    text = draft(order, tone).result()
    if given == "paid":
        charge(5).result()
    if tone == "rude" and given == "twice":
        pause("really?", answer=bool, name="really")
    if tone == "free":
        return text
    return text if pause(text, answer=bool, name="send") else "dropped"


async def began(engine: Engine, given: str, *answers: object) -> None:
    started = await engine.start(mails.process, {"invocation": {"input": given, "thread": "t"}})
    await engine.wait_until_resting(started.case)
    for one in answers:
        await answered(engine, one)


async def answered(engine: Engine, answer: object) -> None:
    await engine.resume((await engine.pending(1)).token, answer, by="ann")
    await engine.wait_until_resting(1)


async def taken_back(engine: Engine, *names: str) -> str:
    await engine.redrive(1, by="olga", why="ann mistook the mail", fields=dict.fromkeys(names))
    await engine.wait_until_resting(1)
    return (await engine.pending(1)).pause


def run(path: Path, work: Callable[[Engine], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Engine.open(path / "cases.db", [mails.process]) as engine:
            await work(engine)

    CALLED.clear()
    asyncio.run(main())


def test_what_was_computed_from_the_answer_is_made_anew_and_no_effect_is(tmp_path: Path) -> None:
    async def work(engine: Engine) -> None:
        await began(engine, "paid", "rude")
        assert await taken_back(engine, "tone") == "tone"
        await answered(engine, "kind")
        assert (await engine.pending(1)).shown == {"shown": "A1, kind"}
        await answered(engine, True)
        assert (await engine.state(1)).result.value == "A1, kind"
        [redriven] = [event for event in (await history_of(engine.reader, 1)).events if event.kind == "redriven"]
        assert '"by":"olga","why":"ann mistook the mail","fields":["tone"]' in redriven.facts

    run(tmp_path, work)
    assert CALLED == ["look_up", "draft rude", "charge 5", "draft kind"]


def test_an_answer_that_parked_the_case_is_taken_back(tmp_path: Path) -> None:
    async def work(engine: Engine) -> None:
        await began(engine, "", "broken")
        assert (await engine.case(1)).status is Status.PARKED
        assert await taken_back(engine, "tone") == "tone"
        await answered(engine, "free")
        assert (await engine.state(1)).result.value == "A1, free"

    run(tmp_path, work)


def test_an_answer_that_leads_away_from_an_effect_parks_the_case_until_it_is_taken_back(tmp_path: Path) -> None:
    async def work(engine: Engine) -> None:
        await began(engine, "paid", "rude")
        assert await taken_back(engine, "tone") == "tone"
        await answered(engine, "none")
        row = await engine.case(1)
        assert (row.status, "without asking for charge[" in (row.reason or "")) == (Status.PARKED, True)
        assert await taken_back(engine, "tone") == "tone"
        await answered(engine, "kind")
        assert (await engine.pending(1)).pause == "send"

    run(tmp_path, work)
    assert CALLED == ["look_up", "draft rude", "charge 5", "draft kind"]


def test_a_way_that_is_no_longer_gone_parks_nothing(tmp_path: Path) -> None:
    async def work(engine: Engine) -> None:
        await began(engine, "twice", "rude", True)
        assert await taken_back(engine, "tone") == "tone"
        await answered(engine, "kind")
        await answered(engine, True)
        assert (await engine.case(1)).status is Status.DONE  # though "really" was answered and is not asked

    run(tmp_path, work)
    assert CALLED == ["look_up", "draft rude", "draft kind"]


def test_one_of_several_answers_of_a_pause_is_named_by_its_call(tmp_path: Path) -> None:
    @entrypoint()
    def counting(given: str) -> list[int]:
        return [pause(given, answer=int, name="number") for _ in range(3)]

    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [counting.process]) as engine:
            await engine.start(counting.process, {"invocation": {"input": "how many?", "thread": "t"}})
            await engine.wait_until_resting(1)
            await answered(engine, 1)
            await answered(engine, 2)
            with pytest.raises(Refused, match="pause 'number' was answered 2 times; name one of ") as refused:
                await engine.redrive(1, by="olga", why="it is wrong", fields={"number": None})
            call = str(refused.value).rpartition(", ")[2].rstrip(".")
            await engine.redrive(1, by="olga", why="it is wrong", fields={call: None})
            await engine.wait_until_resting(1)
            await answered(engine, 7)
            await answered(engine, 3)
            assert (await engine.state(1)).result.value == [1, 7, 3]

    asyncio.run(main())


def test_the_engine_says_what_can_be_taken_back(tmp_path: Path) -> None:
    async def work(engine: Engine) -> None:
        await began(engine, "", "kind")
        for fields, told in (
            ({"tone": "rude"}, "a correction cannot give it; set it to null"),
            ({"record": None}, "'record' is no answered pause of this case; only answers can be corrected, and those are: tone["),
            ({}, "is not parked"),
        ):
            with pytest.raises(Refused, match=told.replace("[", r"\[")):
                await engine.redrive(1, by="olga", why="it is wrong", fields=fields)
        assert (await engine.pending(1)).pause == "send"

    run(tmp_path, work)
