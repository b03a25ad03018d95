"""The ledger's two promises: no call without a committed intent, and no intent is forgotten."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from letters import World, drafting, letter
from places import Place, run

from pointsman import AtMostOnce, Process, State, Status, finish, otherwise, when
from pointsman.errors import StoreUnwritable
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import Transition
from pointsman.store.sqlite import open_sqlite


class Faulty:
    """A store that refuses the transitions that `refuses` picks out, and passes everything else on."""

    def __init__(self, store: Any, refuses: Callable[[Transition], bool]) -> None:
        self._store = store
        self._refuses = refuses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, transition: Transition) -> int:
        if self._refuses(transition):
            raise StoreUnwritable("the disk is full; free some space.")
        number: int = await self._store.commit(transition)
        await asyncio.sleep(0)  # a commit takes a turn of the event loop, also in memory
        return number


async def faulty(place: Place, refuses: Callable[[Transition], bool]) -> Faulty:
    return Faulty(place.store or await open_sqlite(place.path, now=1.0), refuses)


@pytest.mark.parametrize("make", [lambda: letter(AtMostOnce()), drafting], ids=["first step", "later step"])
def test_there_is_no_call_without_a_committed_intent(on_disk: Place, make: Callable[[], Process[Any]]) -> None:
    world, process = World(), make()

    async def fail() -> None:
        store = await faulty(on_disk, lambda transition: transition.intent is not None)
        async with on_disk.open(process, resources={"world": world}, store=store) as engine:
            case = (await engine.start(process, {"message": "m"}, key="k")).case
            with pytest.raises(StoreUnwritable):
                await engine.wait_until_resting(case)

    async def go_on() -> Any:
        async with on_disk.open(process, resources={"world": world}) as engine:
            return await engine.wait_until_resting(1)

    run(fail())
    calls = len(world.keys)
    row = run(go_on())

    assert calls == 0
    assert row.status in {Status.DONE, Status.WAITING}
    assert len(world.keys) == 1


def test_an_outcome_that_could_not_be_committed_is_in_doubt_and_not_forgotten(on_disk: Place) -> None:
    world, process = World(), letter(AtMostOnce())

    async def fail() -> None:
        store = await faulty(on_disk, lambda transition: transition.settlement is not None)
        async with on_disk.open(process, resources={"world": world}, store=store) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            with pytest.raises(StoreUnwritable):
                await engine.wait_until_resting(case)

    async def go_on() -> Any:
        async with on_disk.open(process, resources={"world": world}) as engine:
            return await engine.wait_until_resting(1), await engine.reader.in_doubt()

    run(fail())
    row, in_doubt = run(go_on())

    assert (row.status, [entry.key for entry in in_doubt]) == (Status.PARKED, world.keys)
    assert len(world.keys) == 1


class Order(State):
    message: str
    tone: str = "kind"
    signature: str | None = None
    receipt: str | None = None
    fax: str | None = None


def ordering(change: str, calls: list[str], gate: asyncio.Event | None = None) -> Process[Order]:
    """The same process before and after a change of its code."""
    process = Process("order", Order)

    async def send(name: str) -> str:
        calls.append(name)
        if gate is not None:
            gate.set()
            await asyncio.Event().wait()
        return "sent"

    async def post(message: str) -> str:
        return await send("post")

    async def post_with_tone(message: str, tone: str) -> str:
        return await send("post")

    async def post_signed(message: str, signature: str) -> str:
        return await send("post")

    @process.node(writes="signature")
    async def sign(message: str) -> str:
        return "Anna"

    @process.effect(writes="fax", safety=AtMostOnce())
    async def send_fax(message: str) -> str:
        return await send("fax")

    function = {"other arguments": post_with_tone, "a node before it": post_signed}.get(change, post)
    effect = process.effect(writes="receipt", safety=AtMostOnce(), name="post")(function)
    process.rules(
        when("withdrawn", lambda c: c.receipt is None and change == "no longer chosen", finish("withdrawn")),
        when("by fax", lambda c: change == "another effect" and c.fax is None, send_fax),
        when("faxed", lambda c: c.fax is not None, finish("faxed")),
        when("unsigned", lambda c: change == "a node before it" and c.signature is None, sign),
        when("unposted", lambda c: c.receipt is None, effect),
        otherwise(finish("posted")),
    )
    return process


@pytest.mark.parametrize("change", ["none", "other arguments", "a node before it", "another effect", "no longer chosen"])
def test_an_intent_without_an_outcome_parks_the_case_whatever_the_new_code_would_do(place: Place, change: str) -> None:
    calls: list[str] = []

    async def interrupt() -> int:
        gate = asyncio.Event()
        process = ordering("none", calls, gate)
        async with place.open(process) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await gate.wait()
            return case

    async def go_on(case: int) -> Any:
        async with place.open(ordering(change, calls)) as engine:
            return await engine.wait_until_resting(case), await engine.reader.in_doubt()

    row, in_doubt = run(go_on(run(interrupt())))

    assert calls == ["post"]
    assert [(entry.effect, entry.status) for entry in in_doubt] == [("post", EffectStatus.IN_DOUBT)]
    assert row.status is Status.PARKED
    assert in_doubt[0].key in row.reason
