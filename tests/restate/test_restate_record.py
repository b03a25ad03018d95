"""The record of a case is after each transition what a store has after it."""

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from orders import Approval, Outside, orders
from tickets import Letter, tickets
from trips import trips

from pointsman.definition.process import AnyProcess
from pointsman.kernel.rows import Transition
from pointsman.store.memory import MemoryStore
from pointsman.store.one_case import CaseRecord, after
from pointsman.testing.world import World

ORDERS, TRIPS = orders(), trips()


async def stored(store: MemoryStore, case: int) -> CaseRecord | None:
    """The record of a case in a store; its pauses are the last one."""
    row, pause = await store.case(case), await store.pause(case)
    if row is None:
        return None
    return CaseRecord(
        row, store.incarnation, {field.field: field for field in await store.fields(case)}, await store.branches(case),
        tuple(await store.effects(case)), () if pause is None else (pause,), await store.messages(case),
    )  # fmt: skip


@pytest.fixture
def transitions(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Compare the record with the store after each commit of a transition, and count those by what they bring."""
    commit, seen = MemoryStore.commit, Counter[str]()

    async def compared(self: MemoryStore, transition: Transition) -> int:
        before = await stored(self, transition.case)
        number = await commit(self, transition)
        if before is not None:
            expected, record = await stored(self, transition.case), after(before, transition)
            record.pauses = record.pauses[-1:]
            assert expected is not None
            for one in (record, expected):  # the order of equal times is no promise
                one.ledger, one.branches = tuple(sorted(one.ledger)), tuple(sorted(one.branches, key=lambda branch: branch.name))
            assert record == expected
            seen.update(part for part in PARTS if getattr(transition, part, None))
            seen.update("appends" for write in transition.fields if write.appends)
        return number

    monkeypatch.setattr(MemoryStore, "commit", compared)
    return seen


PARTS = (
    "intent",
    "settlement",
    "pause",
    "leaves_pause",
    "answered_by",
    "branches",
    "ends_branches",
    "takes",
    "posts",
    "needs",
    "appends",
)


def play(world: World, process: AnyProcess, begin: Callable[[], Awaitable[object]]) -> None:
    async def story() -> None:
        await begin()
        await world.wait_until_resting()

    world.run(story)


def test_the_record_of_a_case_is_after_each_transition_what_a_store_has(transitions: Counter[str]) -> None:
    for item in ("tea", "rare", "coffee", "lost"):
        for answers in ({"approval": Approval(agreed=True, by="anna")}, {}):
            world = World(ORDERS, resources={"outside": Outside()}, people=answers)
            play(world, ORDERS, partial(world.start, ORDERS, {"item": item}))
    for country in ("france", "full", "moon"):
        world = World(*TRIPS, resources={"outside": Outside()})
        play(world, TRIPS[0], partial(world.start, TRIPS[0], {"country": country}))
    for way in ("supersede", "append"):
        world, ticket = World(tickets(way)), tickets(way)

        async def letters(world: World = world, ticket: AnyProcess = ticket) -> None:
            for letter in (Letter(id="1", thread="a", text="one"), Letter(id="2", thread="a", text="two")):
                await world.send(ticket, letter)
                await world.sleep(900)

        play(world, ticket, letters)

    assert {part for part in PARTS if not transitions[part]} == set()
