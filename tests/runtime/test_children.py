"""Children: a case of another process as a step, started once, joined once, cancelled with its parent."""

import asyncio
from typing import Any

import pytest
from places import Place, run, seen

from pointsman import ChildEnd, Context, DefinitionError, Process, State, Status, finish, otherwise, park, when


class Parcel(State):
    address: str
    label: str | None = None
    approval: str | None = None


class Order(State):
    address: str
    shipment: str | ChildEnd | None = None


class World:
    def __init__(self) -> None:
        self.printed: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()


def shipping(end: Any = None) -> Process[Parcel]:
    process = Process("shipping", Parcel)

    @process.node(writes="label")
    async def print_label(address: str, *, world: World, ctx: Context) -> str:
        await world.gate.wait()
        world.printed.append(address)
        return f"label for {address}"

    approve = process.pause(writes="approval", answer=str, shows=("label",))
    process.rules(
        when("no label", lambda c: c.label is None, print_label),
        when("to approve", lambda c: c.address == "far" and c.approval is None, approve),
        otherwise(end or finish("shipped")),
    )
    return process


def ordering(
    shipping: Process[Parcel], result: str | None = "label", *, name: str = "ship", former_names: str | tuple[str, ...] = ()
) -> Process[Order]:
    process = Process("ordering", Order)
    ship = process.child(shipping, lambda_inputs, writes="shipment", result=result, name=name, former_names=former_names)
    process.accept(str, writes="address", correlate=lambda m: "one")
    process.rules(when("not shipped", lambda c: c.shipment is None, ship), otherwise(finish("done")))
    return process


def lambda_inputs(address: str) -> dict[str, Any]:
    return {"address": address}


def test_a_child_is_started_once_and_its_result_joins_the_parent(place: Place) -> None:
    async def main() -> None:
        child = shipping()
        world = World()
        async with place.open(ordering(child), child, resources={"world": world}) as engine:
            case = (await engine.start("ordering", Order(address="near"))).case
            await engine.idle()

            assert (await engine.case(case)).outcome == "done"
            assert (await engine.state(case)).shipment == "label for near"
            assert world.printed == ["near"]
            [one] = await engine.reader.children(case)
            assert (one.status, one.parent) == (Status.DONE, case)
            kinds = [event.kind for event in await engine.reader.events(case=case)]
            assert [kind for kind in kinds if kind.startswith("child.")] == ["child.started", "child.ended"]

    run(main())


def test_a_parent_waits_as_a_row_while_its_child_waits_for_a_person(place: Place) -> None:
    async def main() -> None:
        child = shipping()
        async with place.open(ordering(child), child, resources={"world": World()}) as engine:
            case = (await engine.start("ordering", Order(address="far"))).case
            await engine.idle()
            assert (await engine.case(case)).status is Status.WAITING
            [one] = await engine.reader.children(case)
            await engine.resume((await engine.pending(one.id)).token, "yes", by="anna")
            await engine.idle()
            assert (await engine.case(case)).outcome == "done"

    run(main())


def test_a_cancelled_parent_takes_its_child_with_it(place: Place) -> None:
    async def main() -> None:
        child = shipping()
        async with place.open(ordering(child), child, resources={"world": World()}) as engine:
            case = (await engine.start("ordering", Order(address="far"))).case
            await engine.idle()
            await engine.cancel(case, by="anna", why="changed her mind")
            await engine.idle()
            [one] = await engine.reader.children(case)
            assert one.status is Status.CANCELLED

    run(main())


def test_a_parent_is_redriven_to_another_child_in_place_of_the_cancelled_one(place: Place) -> None:
    async def main() -> None:
        child = shipping()
        async with place.open(ordering(child), child, resources={"world": World()}) as engine:
            case = (await engine.start("ordering", Order(address="far"))).case
            await engine.idle()
            [first] = await engine.reader.children(case)
            await engine.cancel(first.id, by="anna", why="wrong one")
            await engine.idle()
            parked = await engine.case(case)

            await engine.redrive(case, by="anna", why="ship it all the same")
            await engine.idle()
            [_, second] = await engine.reader.children(case)
            await engine.resume((await engine.pending(second.id)).token, "yes", by="anna")
            await engine.idle()

            assert parked.status is Status.PARKED
            assert second.status is Status.WAITING
            assert (await engine.state(case)).shipment == "label for far"

    run(main())


def test_inputs_that_come_back_find_the_child_that_has_ended(place: Place) -> None:
    async def main() -> None:
        child = shipping()
        process = Process("asked", Order)
        ship = process.child(child, lambda_inputs, writes="shipment", result="label", name="ship")
        process.accept(str, writes="address", correlate=lambda m: "one")
        process.rules(
            when("not shipped", lambda c: c.shipment is None, ship),
            when("near", lambda c: c.address == "near", park("somebody must look")),
            otherwise(finish("done")),
        )
        world = World()
        async with place.open(process, child, resources={"world": world}) as engine:
            case = (await engine.start("asked", Order(address="near"), correlation="one")).case
            await engine.idle()
            await engine.send("asked", "far")
            await engine.idle()
            await engine.send("asked", "near")
            await engine.idle()

            row, state = await engine.case(case), await engine.state(case)
            assert (row.status, state.shipment) == (Status.PARKED, "label for near")
            assert world.printed == ["near", "far"]

    run(main())


def test_new_inputs_cancel_the_child_and_start_another_one(place: Place) -> None:
    async def main() -> None:
        child = shipping()
        async with place.open(ordering(child), child, resources={"world": World()}) as engine:
            case = (await engine.start("ordering", Order(address="far"), correlation="one")).case
            await engine.idle()
            await engine.send("ordering", "near")
            await engine.idle()

            assert (await engine.state(case)).shipment == "label for near"
            assert [one.status for one in await engine.reader.children(case)] == [Status.CANCELLED, Status.DONE]

    run(main())


def test_the_end_of_a_child_that_was_called_off_does_not_wake_its_parent(place: Place) -> None:
    async def main() -> None:
        child = shipping()
        process = Process("asked", Order)
        ship = process.child(child, lambda_inputs, writes="shipment", result="label", name="ship")
        process.accept(str, writes="address", correlate=lambda m: "one")
        process.rules(
            when("near", lambda c: c.address == "near", park("somebody must look")),
            when("not shipped", lambda c: c.shipment is None, ship),
            otherwise(finish("done")),
        )
        async with place.open(process, child, resources={"world": World()}) as engine:
            case = (await engine.start("asked", Order(address="far"), correlation="one")).case
            await engine.idle()
            await engine.send("asked", "near")
            await engine.idle()

            [one] = await engine.reader.children(case)
            kinds = [event.kind for event in await engine.reader.events(case=case)]
            assert one.status is Status.CANCELLED
            assert kinds[-1] == "parked"
            assert "child.ended" not in kinds

    run(main())


def test_a_child_that_is_cancelled_parks_a_parent_that_needs_its_result(place: Place) -> None:
    async def main() -> None:
        child = shipping()
        async with place.open(ordering(child), child, resources={"world": World()}) as engine:
            case = (await engine.start("ordering", Order(address="far"))).case
            await engine.idle()
            [one] = await engine.reader.children(case)
            await engine.cancel(one.id, by="anna", why="test")
            await engine.idle()
            row = await engine.case(case)
            assert row.status is Status.PARKED
            assert "cancelled" in (row.reason or "")

    run(main())


def test_without_a_result_the_parent_learns_how_the_child_ended(place: Place) -> None:
    async def main() -> None:
        child = shipping()
        async with place.open(ordering(child, result=None), child, resources={"world": World()}) as engine:
            case = (await engine.start("ordering", Order(address="near"))).case
            await engine.idle()
            [one] = await engine.reader.children(case)
            assert (await engine.state(case)).shipment == ChildEnd(case=one.id, status="done", outcome="shipped")

    run(main())


def test_a_parked_child_keeps_its_parent_waiting(place: Place) -> None:
    async def main() -> None:
        child = shipping(park("look at it"))
        async with place.open(ordering(child), child, resources={"world": World()}) as engine:
            case = (await engine.start("ordering", Order(address="near"))).case
            await engine.idle()
            assert (await engine.case(case)).status is Status.WAITING

    run(main())


def test_a_child_whose_process_is_not_registered_parks_its_parent(place: Place) -> None:
    async def main() -> None:
        async with place.open(ordering(shipping())) as engine:
            case = (await engine.start("ordering", Order(address="near"))).case
            row = await engine.wait_until_resting(case)
            assert row.status is Status.PARKED
            assert "shipping" in (row.reason or "")

    run(main())


def test_an_engine_that_ended_between_the_child_and_its_parent_finds_both(on_disk: Place) -> None:
    async def main() -> None:
        child = shipping()
        world = World()
        world.gate.clear()
        async with on_disk.open(ordering(child), child, resources={"world": world}) as engine:
            case = (await engine.start("ordering", Order(address="near"))).case
            await seen(engine, "child.started")
        world.gate.set()
        async with on_disk.open(ordering(child), child, resources={"world": world}) as engine:
            await engine.idle()
            assert (await engine.case(case)).outcome == "done"
            assert world.printed == ["near"]

    run(main())


@pytest.mark.parametrize(("former_names", "started"), [("ship", 1), ((), 2)], ids=["known", "forgotten"])
def test_a_renamed_child_is_not_started_again(on_disk: Place, former_names: str | tuple[str, ...], started: int) -> None:
    async def main() -> None:
        child, world = shipping(), World()
        async with on_disk.open(ordering(child), child, resources={"world": world}) as engine:
            case = (await engine.start("ordering", Order(address="far"), correlation="one")).case
            await engine.idle()
        renamed = ordering(child, name="send", former_names=former_names)
        async with on_disk.open(renamed, child, resources={"world": world}) as engine:
            await engine.send(renamed, "far")  # the case looks afresh at what it waits for
            await engine.idle()
            children = await engine.reader.children(case)
            assert len(children) == started
            await engine.resume((await engine.pending(children[-1].id)).token, "yes", by="anna")
            await engine.idle()
            assert (await engine.case(case)).outcome == "done"

    run(main())


def test_an_impossible_declaration_is_refused() -> None:
    child = shipping()
    process = Process("p", Order)
    with pytest.raises(DefinitionError, match="not a field of Parcel"):
        process.child(child, lambda_inputs, writes="shipment", result="nothing", name="a")
    with pytest.raises(DefinitionError, match="input"):
        process.child(child, lambda_inputs, writes="address", name="b")
