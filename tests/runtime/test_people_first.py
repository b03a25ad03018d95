"""People never queue behind nodes: they can ask and answer while every place is taken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from places import Place, held, run

from pointsman import Engine, NotWaiting, Process, Stale, State, Status, finish, otherwise, remind, when
from pointsman.testing import ManualClock


class Letter(State):
    text: str
    note: str = ""
    reply: str | None = None
    approval: str | None = None


class Door:
    """Where nodes wait until it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = asyncio.Event()


def letters() -> Process[Letter]:
    process = Process("letters", Letter)

    @process.node(writes="reply")
    async def draft(text: str, *, door: Door) -> str:
        if text == "slow":
            door.reached.set()
            await door.open.wait()
        return f"re: {text}"

    approve = process.pause(writes="approval", answer=str, shows=("reply",), deadline="2d", ladder=[remind("4h")])
    process.accept(str, writes="note", correlate=lambda _: "one", name="note", starts=False)
    process.accept(str, writes="text", correlate=lambda _: "one", name="text", starts=False)
    process.rules(
        when("no reply", lambda c: c.reply is None, draft),
        when("not approved", lambda c: c.approval is None, approve),
        otherwise(finish("approved")),
    )
    return process


@asynccontextmanager
async def crowded(place: Place, clock: ManualClock) -> AsyncIterator[tuple[Engine, int, Door]]:
    """An engine whose only place is taken by a node, while a case waits for a person."""
    door = Door()
    async with place.open(letters(), resources={"door": door}, clock=clock, concurrency=1) as engine:
        case = (await engine.start("letters", {"text": "hello"}, correlation="one")).case
        await engine.wait_until_resting(case)
        await engine.start("letters", {"text": "slow"})
        await door.reached.wait()
        yield engine, case, door


async def reminded(engine: Engine, clock: ManualClock) -> None:
    clock.advance(5 * 3_600)


async def noted(engine: Engine, clock: ManualClock) -> None:
    await engine.send("letters", "a note that changes nothing that is shown", name="note")


@pytest.mark.parametrize("woken", [reminded, noted])
def test_a_woken_case_shows_its_pause_and_takes_an_answer_while_all_places_are_taken(place: Place, woken: Any) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with crowded(place, clock) as (engine, case, door):
            await woken(engine, clock)

            pending = await engine.pending(case)
            await engine.resume(pending.token, "yes", by="anna")

            assert (await engine.case(case)).outcome == "approved"
            assert len(held()) == 1, "the node still has the only place"
            door.open.set()

    run(main())


def test_an_answer_to_rewritten_fields_is_refused_while_all_places_are_taken(place: Place) -> None:
    async def main() -> None:
        async with crowded(place, ManualClock()) as (engine, case, door):
            shown = await engine.pending(case)
            await engine.send("letters", "another question", name="text")

            with pytest.raises(Stale):
                await engine.resume(shown.token, "yes", by="anna")
            with pytest.raises(NotWaiting, match="is ready at 'draft'"):
                await engine.pending(case)

            door.open.set()
            await engine.idle()
            assert (await engine.pending(case)).shown["reply"] == "re: another question"

    run(main())


def test_operators_get_through_while_all_places_are_taken(place: Place) -> None:
    async def main() -> None:
        async with crowded(place, ManualClock()) as (engine, case, door):
            await noted(engine, ManualClock())

            row = await engine.cancel(case, by="anna", why="the customer called")

            assert row.status is Status.CANCELLED
            door.open.set()

    run(main())
