"""Nobody but the person at a pause gives its answer: no correction, no resolved outcome, no start and no message."""

from collections.abc import Mapping

import pytest
from places import Place, run
from pydantic import BaseModel, Field

from pointsman import (
    AtMostOnce,
    DefinitionError,
    Engine,
    InputInvalid,
    Log,
    NotSent,
    Process,
    Refused,
    Retry,
    Signed,
    State,
    Status,
    finish,
    otherwise,
    park,
    when,
)  # fmt: skip


class Yes(BaseModel):
    by: Signed[str] | None = None


class Payment(State):
    amount: int
    stuck: bool = True
    text: str | None = None
    first: Yes | None = None
    second: Yes | None = None
    bank: str = "ours"
    notes: Log[Yes] = Field(default_factory=list)
    paid: bool | None = None


ONE = Retry(attempts_max=1)


def paying(*, elsewhere: bool = False) -> Process[Payment]:
    """Pay when two people have approved what they were shown, or when a service says that one has."""
    process = Process("paying", Payment)

    @process.node(writes="text")
    async def write(amount: int) -> str:
        return f"pay {amount}"

    @process.effect(writes="paid", safety=AtMostOnce(), retry=ONE)
    async def pay(text: str) -> bool:
        raise NotSent("the bank is closed")

    async def ask(amount: int) -> Yes:
        raise RuntimeError("the line broke")

    asks = [when("not asked", lambda c: c.second is None, process.effect(ask, writes="second", safety=AtMostOnce()))] if elsewhere else []
    first = process.pause(name="first", writes="first", answer=Yes, shows=("text",), beside=("amount", "bank"))
    second = process.pause(name="second", writes="second", answer=Yes, shows=("text",), beside=("first",))
    note = process.pause(name="note", writes="notes", answer=Yes, shows=("text",))
    process.rules(
        when("no text", lambda c: c.text is None, write),
        when("not approved", lambda c: c.first is None, first),
        when("stuck", lambda c: c.stuck, park("stuck")),
        *asks,
        when("not approved again", lambda c: c.second is None or c.second.by == "nobody", second),
        when("no note", lambda c: c.amount > 1_000 and not c.notes, note),
        when("not paid", lambda c: c.paid is None, pay),
        otherwise(finish("paid")),
    )  # fmt: skip
    return process


async def stuck(engine: Engine) -> int:
    """Return a case that one person has approved and that is parked."""
    case = (await engine.start("paying", {"amount": 10})).case
    await engine.wait_until_resting(case)
    await engine.resume((await engine.pending(case)).token, {"by": "ada"}, by="ada")
    assert (await engine.wait_until_resting(case)).status is Status.PARKED
    return case


FORGED: tuple[Mapping[str, object], ...] = ({"second": {"by": "bea"}}, {"first": {}}, {"notes": [{"by": "bea"}]})


@pytest.mark.parametrize("fields", FORGED)
def test_a_correction_gives_no_answer_of_a_person(place: Place, fields: Mapping[str, object]) -> None:
    async def main() -> None:
        async with place.open(paying()) as engine:
            case = await stuck(engine)
            [name] = fields
            pause = "note" if name == "notes" else name
            with pytest.raises(Refused, match=f"{name!r} is what a person answers at pause {pause!r}.*`answer`"):
                await engine.redrive(case, by="ada", why="w", fields={"stuck": False, **fields})
            assert await engine.redrive_all(by="ada", why="w", fields={"stuck": False, **fields}) == []
            assert (await engine.case(case)).status is Status.PARKED

    run(main())


def test_a_correction_of_what_a_person_was_shown_asks_again_everybody_who_relied_on_it(place: Place) -> None:
    async def main() -> None:
        async with place.open(paying()) as engine:
            case = await stuck(engine)
            await engine.redrive(case, by="op", why="w", fields={"stuck": False})
            await engine.wait_until_resting(case)
            await engine.resume((await engine.pending(case)).token, {"by": "bea"}, by="bea")
            assert (await engine.wait_until_resting(case)).status is Status.PARKED  # the bank is closed

            await engine.redrive(case, by="op", why="w", fields={"bank": "another"})

            await engine.wait_until_resting(case)
            state = await engine.state(case)
            assert ((await engine.case(case)).step, state.first, state.second) == ("first", None, None)

    run(main())


def test_an_answer_can_be_taken_away_so_that_the_person_is_asked_again(place: Place) -> None:
    async def main() -> None:
        async with place.open(paying()) as engine:
            case = await stuck(engine)
            await engine.redrive(case, by="op", why="it was a slip", fields={"first": None})
            assert (await engine.wait_until_resting(case)).step == "first"

    run(main())


def test_an_outcome_that_an_operator_gives_is_signed_by_nobody_else(place: Place) -> None:
    async def main() -> None:
        async with place.open(paying(elsewhere=True)) as engine:
            case = await stuck(engine)
            await engine.redrive(case, by="ada", why="w", fields={"stuck": False})
            await engine.wait_until_resting(case)
            [doubt] = await engine.reader.in_doubt()

            with pytest.raises(Refused, match="names 'bea' in 'by', but 'ada' gives it"):
                await engine.resolve(doubt.key, happened=True, by="ada", why="w", outcome={"by": "bea"})

            assert (await engine.state(case)).second is None

    run(main())


def test_a_start_gives_no_answer_of_a_person(place: Place) -> None:
    async def main() -> None:
        async with place.open(paying()) as engine:
            with pytest.raises(InputInvalid, match="'notes' is written by a step"):
                await engine.start("paying", {"amount": 2_000, "notes": [{"by": "bea"}]})
            with pytest.raises(InputInvalid, match="'notes' is written by a step"):
                await engine.start("paying", Payment(amount=2_000, notes=[Yes(by="bea")]))
            assert not (await engine.start("paying", Payment(amount=1))).duplicate

    run(main())


def test_a_signed_field_of_a_union_is_checked(place: Place) -> None:
    async def main() -> None:
        async with place.open(paying()) as engine:
            case = (await engine.start("paying", {"amount": 10})).case
            await engine.wait_until_resting(case)
            token = (await engine.pending(case)).token
            with pytest.raises(Refused, match="names 'bea' in 'by', but 'ada' gives it"):
                await engine.resume(token, {"by": "bea"}, by="ada")

    run(main())


def test_a_message_that_somebody_signs_cannot_be_declared() -> None:
    process = Process("paying", Payment)
    with pytest.raises(DefinitionError, match="nobody checks who signs a message"):
        process.accept(Yes, writes="second", correlate=lambda _: "one", starts=False)
