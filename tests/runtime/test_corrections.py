"""A redrive with corrected fields is audited, and every field computed from them is computed again."""

import json
from random import Random

import pytest
from places import Place, run

from pointsman import Engine, Process, Refused, Retry, State, Status, finish, otherwise, when
from pointsman.kernel.case import loaded_case
from pointsman.kernel.happenings import Redriven
from pointsman.kernel.machine import Plan, advance
from pointsman.kernel.moment import Offer
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import CaseRow, FieldRow, FieldWrite, MessageRow, MessageStatus


class Order(State):
    number: str
    total: int | None = None
    label: str | None = None


def ordering() -> Process[Order]:
    process = Process("ordering", Order)

    @process.node(writes="total", retry=Retry(attempts_max=1))
    async def price(number: str) -> int:
        return int(number)

    @process.node(writes="label")
    async def label(total: int) -> str:
        return f"costs {total}"

    process.rules(
        when("no total", lambda c: c.total is None, price),
        when("no label", lambda c: c.label is None, label),
        otherwise(finish("done")),
    )
    return process


async def parked(engine: Engine, number: str) -> int:
    case = (await engine.start("ordering", Order(number=number))).case
    assert (await engine.wait_until_resting(case)).status is Status.PARKED
    return case


def test_a_corrected_input_is_used_and_the_event_says_who_and_why(place: Place) -> None:
    async def main() -> None:
        async with place.open(ordering()) as engine:
            case = await parked(engine, "twelve")
            await engine.redrive(case, by="anna", why="it was a word", fields={"number": "12"})
            await engine.idle()

            assert (await engine.state(case)) == Order(number="12", total=12, label="costs 12")
            [event] = [e for e in await engine.reader.events(case=case) if e.kind == "redriven"]
            assert json.loads(event.facts) == {"by": "anna", "why": "it was a word", "fields": ["number"]}

    run(main())


def test_a_result_that_an_operator_gives_takes_the_place_of_the_step(place: Place) -> None:
    async def main() -> None:
        async with place.open(ordering()) as engine:
            case = await parked(engine, "twelve")
            await engine.redrive(case, by="anna", why="looked it up", fields={"total": 12})
            await engine.idle()
            assert (await engine.state(case)).label == "costs 12"

    run(main())


def test_many_are_redriven_at_once_by_process_and_reason(place: Place) -> None:
    async def main() -> None:
        async with place.open(ordering()) as engine:
            words = [await parked(engine, word) for word in ("one", "two")]
            other = await parked(engine, "drei")
            moved = await engine.redrive_all(by="anna", why="w", fields={"number": "1"}, process="ordering", reason="'one'")
            assert [row.id for row in moved] == words[:1]
            await engine.redrive_all(by="anna", why="w", fields={"number": "2"})
            await engine.idle()
            assert (await engine.case(other)).outcome == "done"

    run(main())


@pytest.mark.parametrize("fields", [{"nothing": 1}, {"total": "many"}])
def test_a_correction_that_does_not_fit_is_refused_and_changes_nothing(place: Place, fields: dict[str, object]) -> None:
    async def main() -> None:
        async with place.open(ordering()) as engine:
            case = await parked(engine, "twelve")
            before = await engine.case(case)
            with pytest.raises(Refused, match=next(iter(fields))):
                await engine.redrive(case, by="anna", why="w", fields=fields)
            assert await engine.case(case) == before

    run(main())


class Claim(State):
    text: str
    agreed: bool | None = None
    paid: str | None = None
    opinion: str | None = None


def claiming() -> Process[Claim]:
    process = Process("claiming", Claim)
    process.accept(str, writes="text", correlate=lambda _: "one", name="came", starts=lambda text: {"text": text})
    decide = process.pause(writes="agreed", answer=bool, shows=("text",))

    @process.node(writes="opinion")
    async def judge(text: str) -> str:
        return f"of {text}"

    @process.node(writes="paid", retry=Retry(attempts_max=1))
    async def pay(agreed: bool) -> str:
        raise RuntimeError("the bank is closed")

    process.rules(
        when("not judged", lambda c: c.opinion is None, judge),
        when("not decided", lambda c: c.agreed is None, decide),
        when("not paid", lambda c: c.paid is None, pay),
        otherwise(finish("done")),
    )
    return process


async def parked_claim(engine: Engine) -> int:
    case = (await engine.send("claiming", "a broken cup")).case
    assert case is not None
    await engine.wait_until_resting(case)
    await engine.resume((await engine.pending(case)).token, True, by="anna")
    assert (await engine.wait_until_resting(case)).status is Status.PARKED
    return case


def test_a_correction_to_the_present_value_clears_nothing_although_the_engine_has_not_read_it(place: Place) -> None:
    async def main() -> None:
        async with place.open(claiming()) as engine:
            case = await parked_claim(engine)
            [before] = [row for row in await engine.reader.fields(case) if row.field == "opinion"]
        async with place.open(claiming()) as engine:
            await engine.redrive(case, by="otto", why="the same again", fields={"text": "a broken cup"})
            await engine.wait_until_resting(case)

            assert before in await engine.reader.fields(case)

    run(main())


def test_an_answer_that_an_operator_withdraws_is_gone_although_the_engine_has_not_read_it(place: Place) -> None:
    async def main() -> None:
        async with place.open(claiming()) as engine:
            case = await parked_claim(engine)
        async with place.open(claiming()) as engine:
            await engine.redrive(case, by="otto", why="anna was mistaken", fields={"agreed": None})
            assert (await engine.wait_until_resting(case)).status is Status.WAITING

            assert "agreed" not in {row.field for row in await engine.reader.fields(case)}

    run(main())


def test_a_correction_that_a_message_makes_void_leaves_no_earlier_value() -> None:
    program = program_of(claiming())
    row = CaseRow(1, "claiming", 1, status=Status.PARKED, revision=3, step="pay", inbox=1)
    fields = [FieldRow("text", '"a broken cup"', "", 1), FieldRow("opinion", '"of a broken cup"', "judge", 2)]
    message = MessageRow(1, "claiming", "came", None, "one", 1, MessageStatus.PENDING, '"two broken cups"', 5.0)

    case = loaded_case(program.process, row, fields, corrected=["opinion"]).having((message,))
    plan = advance(program, case, Redriven("otto", "his own view", {"opinion": "of a cup"}), 6.0, Random(7), Offer(place=False))

    assert isinstance(plan, Plan)
    assert plan.transition is not None
    assert [write for write in plan.transition.fields if write.field == "opinion"] == [FieldWrite("opinion", None, "judge")]
