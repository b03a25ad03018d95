"""The intake answers started, duplicate or busy. It counts the backlog, and no case that waits for a person."""

import asyncio
from typing import Any

import pytest
from downstream import Downstream
from places import Place, run, seen
from pydantic import BaseModel

from pointsman import Busy, ChildEnd, Engine, Intake, Limit, Process, State, Status, ValueRefused, finish, otherwise, when
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock


class Question(BaseModel):
    number: int
    thread: str


class Ask(State):
    question: Question
    approval: str | None = None
    answer: str | None = None


class Whole(State):
    number: int
    end: ChildEnd | None = None


def asking(intake: Intake, *, asks_first: bool = False) -> Process[Ask]:
    """A question is answered by a downstream that can do one at a time, or approved by a person before."""
    process = Process("ask", Ask, intake=intake)

    @process.node(writes="answer", limit=Limit("llm", concurrency=1), timeout_seconds=30)
    async def ask(question: Question, *, world: Downstream) -> str:
        return await world.ask(str(question.number))

    approve = process.pause(writes="approval", answer=str, shows=("question",))
    process.accept(Question, writes="question", correlate=lambda one: one.thread, key=lambda one: str(one.number), while_open="supersede")
    process.rules(
        when("unapproved", lambda c: (asks_first or c.question.thread == "asks") and c.approval is None, approve),
        when("open", lambda c: c.answer is None, ask),
        otherwise(finish("answered")),
    )
    return process


async def start(engine: Engine, number: int, **how: Any) -> str:
    """Start a case, and answer what the intake said."""
    inputs = {"question": Question(number=number, thread=str(number))}
    try:
        started = await engine.start("ask", inputs, key=str(number), **how)
    except Busy as error:
        busy = error
    else:
        return "duplicate" if started.duplicate else "accepted"
    assert f"in its backlog, the most that its intake allows; try again in {busy.retry_after:g} seconds." in str(busy)
    return f"busy {busy.retry_after:g}"


def test_a_start_is_accepted_a_duplicate_or_busy(place: Place) -> None:
    async def main() -> Any:
        world, clock = Downstream(), ManualClock()
        async with place.open(asking(Intake(backlog_max=3)), resources={"world": world}, clock=clock) as engine:
            answers = [await start(engine, number) for number in (1, 2, 3, 4, 2, 5)]
            counts = await engine.reader.counts()
            await world.begun(1)
            world.gate.set()
            await asyncio.gather(*map(engine.wait_until_resting, (1, 2, 3)))
            clock.advance(5)
            return answers, counts, [await start(engine, number) for number in (4, 4)]

    answers, counts, later = run(main())

    assert answers == ["accepted", "accepted", "accepted", "busy 5", "duplicate", "busy 5"]
    assert sum(counts.values()) == 3
    assert later == ["accepted", "duplicate"]


def test_of_many_starts_at_the_same_time_no_more_are_accepted_than_there_is_room_for(place: Place) -> None:
    async def main() -> list[str]:
        async with place.open(asking(Intake(backlog_max=7)), resources={"world": Downstream()}, clock=ManualClock()) as engine:
            return list(await asyncio.gather(*(start(engine, number) for number in range(40))))

    answers = run(main())

    assert answers.count("accepted") == 7
    assert answers.count("busy 5") == 33


def test_one_tenant_is_busy_while_another_is_accepted(place: Place) -> None:
    async def main() -> list[str]:
        intake = Intake(backlog_max=5, tenant_backlog_max=2)
        async with place.open(asking(intake), resources={"world": Downstream()}, clock=ManualClock()) as engine:
            answers = [await start(engine, number, tenant="loud") for number in range(4)]
            answers += [await start(engine, number, tenant="quiet") for number in range(10, 13)]
            with pytest.raises(Busy, match="tenant 'loud' of process 'ask' has 2 cases in its backlog"):
                await engine.start("ask", {"question": Question(number=99, thread="")}, tenant="loud")
            return answers

    assert run(main()) == ["accepted", "accepted", "busy 5", "busy 5", "accepted", "accepted", "busy 5"]


def test_the_intake_remembers_the_backlogs_of_a_bounded_number_of_tenants(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are counted again, and no tenant exceeds its bound."""
    monkeypatch.setattr("pointsman.runtime.intake.TENANTS_MAX", 3)

    async def main() -> Any:
        intake = Intake(tenant_backlog_max=1)
        async with place.open(asking(intake), resources={"world": Downstream()}, clock=ManualClock()) as engine:
            tenants = [f"tenant {number}" for number in range(20)]
            first = [await start(engine, number, tenant=tenant) for number, tenant in enumerate(tenants)]
            second = [await start(engine, 100 + number, tenant=tenant) for number, tenant in enumerate(tenants)]
            return first, second, len(engine._starts._intakes._backlogs)

    first, second, known = run(main())

    assert first == ["accepted"] * 20
    assert second == ["busy 5"] * 20
    assert known <= 5


def test_a_case_that_waits_for_a_person_is_not_in_the_backlog(place: Place) -> None:
    async def main() -> Any:
        clock = ManualClock()
        async with place.open(asking(Intake(backlog_max=2), asks_first=True), resources={"world": Downstream()}, clock=clock) as engine:
            answers = []
            for number in range(10):
                answers.append(await start(engine, number))
                clock.advance(1)
            return answers, await engine.reader.counts()

    answers, counts = run(main())

    assert answers == ["accepted"] * 10
    assert counts == {Status.WAITING: 10}


def test_the_backlog_that_an_earlier_engine_left_counts(place: Place) -> None:
    async def main() -> list[str]:
        process = asking(Intake(backlog_max=3))
        async with place.open(process, resources={"world": Downstream()}, clock=ManualClock()) as engine:
            first = [await start(engine, number) for number in range(2)]
        async with place.open(process, resources={"world": Downstream()}, clock=ManualClock()) as engine:
            return first + [await start(engine, number) for number in range(10, 13)]

    assert run(main()) == ["accepted", "accepted", "accepted", "busy 5", "busy 5"]


def test_the_retry_after_follows_how_fast_the_backlog_shrinks(place: Place) -> None:
    async def main() -> list[str]:
        world, clock = Downstream(), ManualClock()
        async with place.open(asking(Intake(backlog_max=20)), resources={"world": world}, clock=clock) as engine:
            answers = [await start(engine, number) for number in range(21)]
            await world.begun(1)
            clock.advance(10)
            answers.append(await start(engine, 30))  # nothing has moved in ten seconds
            world.gate.set()
            await asyncio.gather(*map(engine.wait_until_resting, range(1, 21)))
            clock.advance(10)
            answers += [await start(engine, number) for number in range(40, 61)]
            clock.advance(1)
            answers.append(await start(engine, 70))
            return answers

    answers = run(main())

    assert answers[20:22] == ["busy 5", "busy 60"]
    assert answers[22:42] == ["accepted"] * 20
    assert answers[42] == "busy 1"


def test_a_full_backlog_is_not_counted_for_each_start(place: Place) -> None:
    async def main() -> int:
        counts = 0
        async with place.open(asking(Intake(backlog_max=50)), resources={"world": Downstream()}, clock=ManualClock()) as engine:
            backlog = engine._store.backlog

            async def counted(*args: Any, **more: Any) -> int:
                nonlocal counts
                counts += 1
                return await backlog(*args, **more)

            engine._store.backlog = counted  # type: ignore[method-assign]
            for number in range(150):
                await start(engine, number)
            return counts

    assert run(main()) <= 2


async def send(engine: Engine, number: int, thread: str) -> str:
    try:
        return (await engine.send("ask", Question(number=number, thread=thread))).how
    except Busy:
        return "busy"


def test_a_message_that_would_start_a_case_is_refused_and_nothing_of_it_is_kept(place: Place) -> None:
    async def main() -> Any:
        world, clock = Downstream(), ManualClock()
        async with place.open(asking(Intake(backlog_max=2)), resources={"world": world}, clock=clock) as engine:
            waits = await send(engine, 0, "asks")
            clock.advance(1)
            answers = [await send(engine, number, f"thread {number}") for number in (1, 2, 3)]
            duplicate = await send(engine, 1, "thread 1")
            to_open = await send(engine, 9, "asks")
            counts, unmatched = await engine.reader.counts(), await engine.reader.unmatched()
            await world.begun(1)
            world.gate.set()
            await asyncio.gather(*(engine.wait_until_resting(row.id) for row in await engine.reader.cases(status=Status.READY)))
            await asyncio.gather(*(engine.wait_until_resting(row.id) for row in await engine.reader.cases(status=Status.RUNNING)))
            clock.advance(5)
            return waits, answers, duplicate, to_open, sum(counts.values()), unmatched, await send(engine, 3, "thread 3")

    assert run(main()) == ("started", ["started", "started", "busy"], "duplicate", "delivered", 3, [], "started")


def test_children_of_accepted_cases_are_never_refused(place: Place) -> None:
    async def main() -> Any:
        child = asking(Intake(backlog_max=1))
        parent = Process("whole", Whole)

        def question(number: int) -> dict[str, Question]:
            return {"question": Question(number=number, thread=str(number))}

        ask = parent.child(child, question, writes="end")
        parent.rules(when("open", lambda c: c.end is None, ask), otherwise(finish("whole")))
        world = Downstream()
        async with place.open(parent, child, resources={"world": world}, clock=ManualClock()) as engine:
            cases = [(await engine.start(parent, {"number": number})).case for number in range(3)]
            await world.begun(1)
            world.gate.set()
            await seen(engine, "finished", count=6)
            return [(await engine.case(case)).outcome for case in cases]

    assert run(main()) == ["whole"] * 3


def test_a_refused_start_leaves_no_number_event_or_field(place: Place) -> None:
    async def main() -> Any:
        async with place.open(asking(Intake(backlog_max=1)), resources={"world": Downstream()}, clock=ManualClock()) as engine:
            answers = [await start(engine, number) for number in (1, 2)]
            rows = await engine.reader.cases()
            events = await engine.reader.events()
            return answers, [row.id for row in rows], {event.case for event in events}, [row.key for row in rows]

    assert run(main()) == (["accepted", "busy 5"], [1], {1}, ["1"])


def test_no_start_is_refused_during_the_first_count() -> None:
    class Far(MemoryStore):
        """A store behind a network: a count takes a while."""

        async def backlog(self, *arguments: Any, **settings: Any) -> int:
            await asyncio.sleep(0)
            return await super().backlog(*arguments, **settings)

    async def main() -> list[str]:
        process = asking(Intake(backlog_max=10), asks_first=True)
        settings = {"resources": {"world": Downstream()}, "clock": ManualClock(), "grace_seconds": 0.0}
        async with Engine.open("", [process], store=Far(), **settings) as engine:
            return await asyncio.gather(*(start(engine, number) for number in range(3)))

    assert run(main()) == ["accepted"] * 3


def test_a_paused_intake_refuses_what_would_start_a_case_also_after_a_restart(place: Place) -> None:
    async def main() -> Any:
        process, clock = asking(Intake(), asks_first=True), ManualClock()
        async with place.open(process, resources={"world": Downstream()}, clock=clock) as engine:
            await engine.start("ask", {"question": Question(number=1, thread="asks")}, key="1", correlation="asks")
            await engine.pause_intake(by="eve", why="the shop moves")
        async with place.open(process, resources={"world": Downstream()}, clock=clock) as engine:
            refused = []
            for call in (
                engine.start("ask", {"question": Question(number=2, thread="b")}, key="2"),
                engine.send("ask", Question(number=3, thread="c")),
            ):
                with pytest.raises(Busy) as busy:
                    await call
                refused.append(str(busy.value))
            known = await engine.start("ask", {"question": Question(number=1, thread="asks")}, key="1")
            joined = await engine.send("ask", Question(number=4, thread="asks"))
            paused = await engine.reader.intake_paused()
            await engine.resume_intake()
            started = await engine.send("ask", Question(number=3, thread="c"))
            return refused, known.duplicate, joined.how, paused, started.how, await engine.reader.intake_paused()

    refused, known, joined, paused, started, resumed = run(main())

    assert len(refused) == 2
    assert all(said.startswith("eve paused the intake (the shop moves)") for said in refused)
    assert (known, joined, started, resumed) == (True, "delivered", "started", None)
    assert (paused.by, paused.why) == ("eve", "the shop moves")


@pytest.mark.parametrize(("by", "why"), [("", "a reason"), (" ", "a reason"), ("eve", "\ud800")])
def test_a_pause_of_the_intake_names_a_person_and_a_reason_that_can_be_stored(place: Place, by: str, why: str) -> None:
    async def main() -> Any:
        async with place.open(asking(Intake()), resources={"world": Downstream()}) as engine:
            with pytest.raises(ValueRefused):
                await engine.pause_intake(by=by, why=why)
            return await engine.reader.intake_paused()

    assert run(main()) is None
