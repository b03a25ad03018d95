"""Stored cases that no longer fit the code of the same version: one error names the case, the field and the fix."""

from typing import Any

import pytest
from places import Place, run
from pydantic import Field, create_model

from pointsman import Log, Process, State, Status, finish, otherwise, when
from pointsman.errors import ValueRefused
from pointsman.kernel.case import UNFIT


def approving(**fields: Any) -> Process[Any]:
    """A text is shown, approved, and sent."""
    given = {"text": (str, ...), **fields}
    state = create_model("Letter", __base__=State, **given, approval=(str | None, None), receipt=(str | None, None))
    process: Process[Any] = Process("letters", state)

    @process.node(writes="receipt")
    async def send(text: str) -> str:
        return f"sent {text}"

    ask = process.pause(writes="approval", answer=str, shows=("text",))
    process.accept(str, writes="text", correlate=lambda text: "one", name="correction", starts=False)
    process.rules(
        when("not approved", lambda c: c.approval is None, ask),
        when("not sent", lambda c: c.receipt is None, send),
        otherwise(finish("sent")),
    )
    return process


CHANGES = {
    "a new required input": (approving(), approving(urgent=(bool, ...)), "field 'urgent' is a required input, and the case has no value for it"),
    "another type": (
        approving(urgent=(str, "no such thing")), approving(urgent=(bool, True)),
        "the stored value of field 'urgent' no longer fits its type: Input should be a valid boolean, unable to interpret input",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_field_that_does_not_fit_is_named_before_anybody_decides(place: Place, change: str) -> None:
    before, now, told = CHANGES[change]

    async def start() -> int:
        async with place.open(before) as engine:
            case = (await engine.start(before, {"text": "a"}, correlation="one")).case
            await engine.wait_until_resting(case)
            return case

    async def look(case: int) -> None:
        async with place.open(now) as engine:
            pause = await engine.reader.pause(case)
            assert pause is not None
            for ask in (engine.state(case), engine.pending(case), engine.resume(pause.token, "yes", by="anna")):
                with pytest.raises(ValueRefused) as refused:
                    await ask
                assert str(refused.value) == f"case {case}: {told}; {UNFIT}."
            row = await engine.case(case)
            assert (row.status, row.revision) == (Status.WAITING, 1)

    async def go_on(case: int) -> None:
        async with place.open(before) as engine:
            await engine.resume((await engine.pending(case)).token, "yes", by="anna")
            assert (await engine.wait_until_resting(case)).outcome == "sent"

    case = run(start())
    run(look(case))
    run(go_on(case))


@pytest.mark.parametrize("change", CHANGES)
def test_an_unfitting_case_that_is_woken_is_parked_and_fixed_by_a_correction(place: Place, change: str) -> None:
    before, now, told = CHANGES[change]

    async def start() -> int:
        async with place.open(before) as engine:
            case = (await engine.start(before, {"text": "a"}, correlation="one")).case
            await engine.wait_until_resting(case)
            return case

    async def mend(case: int) -> None:
        async with place.open(now) as engine:
            await engine.send(now, "b", name="correction")
            row = await engine.wait_until_resting(case)
            assert (row.status, row.reason) == (Status.PARKED, f"its state cannot be read: {told}; {UNFIT}")
            await engine.redrive(case, by="anna", why="it is", fields={"urgent": True})
            await engine.wait_until_resting(case)
            state = await engine.state(case)
            assert (state.urgent, state.text) == (True, "b")

    run(mend(run(start())))


def test_an_input_that_is_younger_than_the_case_has_its_default_and_each_reader_its_own(place: Place) -> None:
    before, now = approving(), approving(tags=(list[str], Field(default_factory=list)))

    async def start() -> int:
        async with place.open(before) as engine:
            return (await engine.start(before, {"text": "a"})).case

    async def look(case: int) -> None:
        async with place.open(now) as engine:
            (await engine.state(case)).tags.append("mine")
            assert (await engine.state(case)).tags == []

    run(look(run(start())))


def test_a_log_whose_items_no_longer_fit_is_replaced_by_its_correction(place: Place) -> None:
    before, now = approving(notes=(Log[str], ["a"])), approving(notes=(Log[int], [0]))

    async def start() -> int:
        async with place.open(before) as engine:
            return (await engine.start(before, {"text": "a"}, correlation="one")).case

    async def mend(case: int) -> None:
        async with place.open(now) as engine:
            await engine.send(now, "b", name="correction")
            assert (await engine.wait_until_resting(case)).status is Status.PARKED
            await engine.redrive(case, by="anna", why="it is", fields={"notes": [1, 2]})
            await engine.wait_until_resting(case)

    case = run(start())
    run(mend(case))

    async def look() -> None:
        async with place.open(now) as engine:
            assert (await engine.state(case)).notes == [1, 2]

    run(look())
