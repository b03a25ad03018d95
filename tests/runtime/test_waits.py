"""Ladders of pauses, and sleeps: a timer row holds each, and nothing else."""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from places import Place, held, run
from pydantic import BaseModel

from pointsman import (
    AnswerInvalid,
    DefinitionError,
    NotWaiting,
    Process,
    State,
    Status,
    ValueRefused,
    answer_with,
    finish,
    otherwise,
    park,
    reassign,
    remind,
    when,
)
from pointsman.operations.history import event_text
from pointsman.testing.clock import ManualClock

HOUR = 3_600.0
DAY = 24 * HOUR


class Asked(State):
    text: str
    answer: str | None = None


def asking(**pause: Any) -> Process[Asked]:
    process = Process("asking", Asked)
    ask = process.pause(writes="answer", answer=str, shows=("text",), assignee="desk", **pause)
    process.rules(when("no answer", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    return process


LADDER = {"deadline": "2d", "ladder": [remind("4h"), reassign("1d", "lead"), park("nobody answered")]}


async def told(engine: Any, case: int) -> list[str]:
    return [event.kind for event in await engine.reader.events(case=case)][3:]


def test_a_ladder_is_climbed_rung_by_rung_and_then_parks_the_case(place: Place) -> None:
    async def main() -> None:
        clock = ManualClock(0.0)
        async with place.open(asking(**LADDER), clock=clock) as engine:
            case = (await engine.start("asking", Asked(text="?"))).case
            token = (await engine.pending(case)).token
            clock.advance(4 * HOUR)
            await engine.idle(horizon_seconds=1.0)
            assert await told(engine, case) == ["reminded"]
            assert (await engine.pending(case)).token == token
            assert held() == []

            clock.advance(20 * HOUR)
            await engine.idle(horizon_seconds=1.0)
            assert (await engine.pending(case)).assignee == "lead"
            assert (await engine.pending(case)).expires_at == 2 * DAY

            clock.advance(DAY)
            await engine.idle(horizon_seconds=1.0)
            assert await told(engine, case) == ["reminded", "reassigned", "deadline.passed", "parked"]
            assert (await engine.case(case)).reason == "nobody answered"
            with pytest.raises(NotWaiting):
                await engine.resume(token, "yes", by="anna")

            await engine.redrive(case, by="anna", why="she is back")
            await engine.idle(horizon_seconds=1.0)
            assert (await engine.pending(case)).assignee == "desk"

    run(main())


def test_a_person_assigns_a_pause_and_its_token_digest_and_ladder_stay(on_disk: Place) -> None:
    async def main() -> None:
        clock = ManualClock(0.0)
        async with on_disk.open(asking(**LADDER), clock=clock) as engine:
            case = (await engine.start("asking", Asked(text="?"))).case
            before = await engine.pending(case)
            clock.advance(4 * HOUR)
            await engine.idle(horizon_seconds=1.0)

            row = await engine.assign(case, " bo ", by="anna", note="it is his customer")
            assert (row.status, row.wake_at) == (Status.WAITING, DAY)
            assert await engine.pending(case) == before._replace(assignee="bo")
            assert [task.case for task in (await engine.tasks(assignee="bo")).rows] == [case]
            assert not (await engine.tasks(assignee="desk")).rows
            assert (await engine.assign(case, "", by="bo")).status is Status.WAITING
            assert [task.assignee for task in (await engine.tasks(assignee="")).rows] == [None]
            facts = [json.loads(event.facts) for event in await engine.reader.events(case=case) if event.kind == "reassigned"]
            assert facts == [{"assignee": "bo", "by": "anna", "note": "it is his customer"}, {"assignee": None, "by": "bo", "note": ""}]
            assert [event_text(event) for event in await engine.reader.events(case=case)][-2:] == [
                "answer is assigned to bo by anna: it is his customer", "answer is assigned to nobody by bo",
            ]  # fmt: skip
        async with on_disk.open(asking(**LADDER), clock=clock) as engine:
            clock.advance(20 * HOUR)
            await engine.idle(horizon_seconds=1.0)
            assert (await engine.pending(case)).assignee == "lead"
            assert (await told(engine, case))[0] == "reminded"  # once
            await engine.resume(before.token, "yes", by="anna")
            with pytest.raises(NotWaiting, match="it is done"):
                await engine.assign(case, "bo", by="anna")

    run(main())


class Said(BaseModel):
    text: str


class Informed(Asked):
    said: Said | None = None


def test_who_is_asked_cannot_hide_a_message_that_comes_meanwhile(place: Place) -> None:
    """The commit of the assignment must not put a case back to waiting that a message has woken."""
    process = Process("asking", Informed)
    ask = process.pause(writes="answer", answer=str, shows=("text", "said"))
    process.accept(Said, writes="said", correlate=lambda said: said.text, starts=False)
    process.rules(when("no answer", lambda c: c.answer is None, ask), otherwise(finish("answered")))

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start("asking", Informed(text="?"), correlation="news")).case
            token = (await engine.pending(case)).token
            with suppress(NotWaiting):  # the case takes the message in
                await asyncio.gather(engine.send("asking", Said(text="news")), engine.assign(case, "bo", by="anna"))
            await engine.idle(horizon_seconds=1.0)
            now = await engine.pending(case)
            assert now.token != token
            assert now.shown["said"] == Said(text="news")

    run(main())


@pytest.mark.parametrize(("by", "to", "note"), [(" ", "bo", ""), ("anna", "b\0", ""), ("anna", "bo", "\ud800")])
def test_who_assigns_to_whom_must_be_text_that_can_be_kept(place: Place, by: str, to: str, note: str) -> None:
    async def main() -> None:
        async with place.open(asking()) as engine:
            case = (await engine.start("asking", Asked(text="?"))).case
            await engine.pending(case)
            with pytest.raises(ValueRefused):
                await engine.assign(case, to, by=by, note=note)
            assert (await engine.pending(case)).assignee == "desk"

    run(main())


def test_rungs_that_fell_due_while_no_engine_ran_are_climbed_when_one_opens(on_disk: Place) -> None:
    async def main() -> None:
        async with on_disk.open(asking(**LADDER), clock=ManualClock(0.0)) as engine:
            case = (await engine.start("asking", Asked(text="?"))).case
            await engine.wait_until_resting(case)
        async with on_disk.open(asking(**LADDER), clock=ManualClock(30 * HOUR)) as engine:
            await engine.idle(horizon_seconds=1.0)
            assert await told(engine, case) == ["reminded", "reassigned"]
            assert (await engine.pending(case)).assignee == "lead"

    run(main())


def test_a_default_answer_is_given_at_the_deadline(place: Place) -> None:
    async def main() -> None:
        clock = ManualClock(0.0)
        async with place.open(asking(deadline="1d", ladder=[answer_with("no")]), clock=clock) as engine:
            case = (await engine.start("asking", Asked(text="?"))).case
            await engine.wait_until_resting(case)
            clock.advance(DAY)
            await engine.idle(horizon_seconds=1.0)

            assert (await engine.case(case)).outcome == "answered"
            assert (await engine.state(case)).answer == "no"

    run(main())


def test_an_answer_after_the_deadline_is_too_late_although_the_timer_has_not_fired(place: Place) -> None:
    async def main() -> None:
        clock = ManualClock(0.0)
        async with place.open(asking(deadline="1d"), clock=clock) as engine:
            case = (await engine.start("asking", Asked(text="?"))).case
            token = (await engine.pending(case)).token
            clock._now = DAY  # nobody is woken
            with pytest.raises(NotWaiting, match="deadline"):
                await engine.resume(token, "yes", by="anna")
            clock._now = DAY - 0.001
            await engine.resume(token, "yes", by="anna")

    run(main())


@pytest.mark.parametrize("deadline", ["2d", "3d"])
def test_a_deadline_follows_the_present_code_also_after_a_deploy_removed_rungs(on_disk: Place, deadline: str) -> None:
    async def main() -> None:
        clock = ManualClock(0.0)
        async with on_disk.open(asking(**LADDER), clock=clock) as engine:
            case = (await engine.start("asking", Asked(text="?"))).case
            await engine.wait_until_resting(case)
            clock.advance(5 * HOUR)
            await engine.idle(horizon_seconds=1.0)
        over = float(deadline[0]) * DAY
        async with on_disk.open(asking(deadline=deadline, ladder=[park("nobody was there")]), clock=clock) as engine:
            clock.advance(DAY)
            await engine.idle(horizon_seconds=1.0)
            assert (await engine.case(case)).wake_at == over
            pending = await engine.pending(case)
            assert pending.expires_at == over
            clock._now = over - 1.0
            with pytest.raises(AnswerInvalid):  # it is not too late
                await engine.resume(pending.token, 1, by="anna")
            clock.advance(1.0)
            await engine.idle(horizon_seconds=1.0)
            assert (await engine.case(case)).reason == "nobody was there"

    run(main())


def test_a_pause_that_a_deploy_has_voided_sends_no_reminder(on_disk: Place) -> None:
    async def main() -> None:
        clock = ManualClock(0.0)
        async with on_disk.open(asking(**LADDER), clock=clock) as engine:
            case = (await engine.start("asking", Asked(text="?"))).case
            await engine.wait_until_resting(case)
        clock.advance(DAY)
        other = Process("asking", Asked, version=2, accepts={1: lambda fields: {**fields, "text": f"{fields['text']}?"}})
        ask = other.pause(writes="answer", answer=str, shows=("text",), assignee="desk", name="answer", **LADDER)
        other.rules(when("no answer", lambda c: c.answer is None, ask), otherwise(finish("answered")))
        async with on_disk.open(other, clock=clock) as engine:
            await engine.idle(horizon_seconds=1.0)
            assert await told(engine, case) == ["migrated", "decided", "paused"]
            assert (await engine.pending(case)).assignee == "desk"

    run(main())


def test_an_answered_pause_has_no_timer(place: Place) -> None:
    async def main() -> None:
        clock = ManualClock(0.0)
        async with place.open(asking(**LADDER), clock=clock) as engine:
            case = (await engine.start("asking", Asked(text="?"))).case
            await engine.resume((await engine.pending(case)).token, "yes", by="anna")
            clock.advance(3 * DAY)
            await engine.idle()
            assert (await engine.case(case)).wake_at is None
            assert "deadline.passed" not in await told(engine, case)

    run(main())


class Resting(State):
    text: str
    due: datetime | None = None
    rested: float | None = None


def resting(**sleep: Any) -> Process[Resting]:
    process = Process("resting", Resting)
    rest = process.sleep(writes="rested", name="rest", **sleep)

    @process.node(writes="due")
    async def plan(text: str) -> datetime:
        return datetime.fromtimestamp(1_000.0, UTC)

    process.rules(
        when("no plan", lambda c: c.due is None, plan),
        when("not rested", lambda c: c.rested is None, rest),
        otherwise(finish("awake")),
    )
    return process


@pytest.mark.parametrize(("sleep", "until"), [({"seconds": "1h"}, HOUR), ({"until": "due"}, 1_000.0)])
def test_a_sleep_ends_at_its_time_never_before(place: Place, sleep: dict[str, Any], until: float) -> None:
    async def main() -> None:
        clock = ManualClock(0.0)
        async with place.open(resting(**sleep), clock=clock) as engine:
            case = (await engine.start("resting", Resting(text="x"))).case
            row = await engine.wait_until_resting(case)
            assert (row.status, row.wake_at) == (Status.WAITING, until)
            clock.advance(until - 1)
            await engine.idle(horizon_seconds=0.5)
            assert (await engine.case(case)).status is Status.WAITING
            with pytest.raises(NotWaiting):
                await engine.pending(case)
            clock.advance(1)
            await engine.idle()
            assert (await engine.state(case)).rested == until

    run(main())


def test_a_sleeping_case_is_cancelled_like_any_other(place: Place) -> None:
    async def main() -> None:
        clock = ManualClock(0.0)
        async with place.open(resting(seconds=HOUR), clock=clock) as engine:
            case = (await engine.start("resting", Resting(text="x"))).case
            await engine.wait_until_resting(case)
            await engine.cancel(case, by="anna", why="no longer")
            clock.advance(2 * HOUR)
            await engine.idle()
            assert (await engine.case(case)).status is Status.CANCELLED

    run(main())


@pytest.mark.parametrize(
    ("pause", "match"),
    [
        ({"ladder": [park()]}, "deadline"),
        ({"deadline": "1d", "ladder": [park(), remind("1h")]}, "to the end"),
        ({"ladder": [reassign("2d", "x"), remind("1d")]}, "sort"),
        ({"ladder": ["4h"]}, "not a rung"),
        ({"deadline": "soon"}, "duration"),
    ],
)
def test_a_ladder_that_cannot_be_climbed_is_refused(pause: dict[str, Any], match: str) -> None:
    with pytest.raises(DefinitionError, match=match):
        asking(**pause)


@pytest.mark.parametrize("sleep", [{}, {"seconds": 1, "until": "due"}, {"until": "text"}, {"until": "nowhere"}])
def test_a_sleep_without_an_end_is_refused(sleep: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        resting(**sleep)
