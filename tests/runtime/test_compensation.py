"""Compensation reverses the effects that happened, the last one first and each once, whatever crashes."""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from places import Place, run

from pointsman import (
    AtMostOnce,
    Context,
    DefinitionError,
    Engine,
    Idempotent,
    NotSent,
    Process,
    Rejected,
    Retry,
    Safety,
    State,
    Status,
    StoreError,
    compensate,
    finish,
    otherwise,
    when,
)
from pointsman.operations.check import check_cases
from pointsman.testing.clock import ManualClock


class Trip(State):
    where: str
    hotel: str | None = None
    flight: str | None = None
    verdict: str | None = None


async def nothing() -> None:
    """What comes while a flight is cancelled, unless a test says otherwise."""


class World:
    def __init__(self) -> None:
        self.meanwhile: Callable[[], Awaitable[object]] = nothing
        self.done: list[str] = []
        self.refuses: set[str] = set()
        self.breaks: set[str] = set()

    def do(self, what: str) -> str:
        if what in self.refuses:
            raise Rejected(f"no {what}")
        if what in self.breaks:
            self.breaks.discard(what)
            raise OSError("the line went dead")
        self.done.append(what)
        return what


def travelling(safety: Safety = Idempotent(), verdict: str = "off") -> Process[Trip]:  # noqa: B008
    process = Process("travelling", Trip)
    twice = Retry(attempts_max=2, first_seconds=0)

    @process.compensation(safety=safety, retry=twice)
    async def cancel_hotel(where: str, hotel: str, *, world: World, ctx: Context) -> None:
        world.do(f"cancel {hotel}")

    @process.compensation(safety=safety, retry=twice)
    async def cancel_flight(flight: str, *, ctx: Context, world: World) -> None:
        await world.meanwhile()
        world.do(f"cancel {flight}")

    @process.effect(writes="hotel", safety=Idempotent(), undo=cancel_hotel)
    async def book_hotel(where: str, *, ctx: Context, world: World) -> str:
        return world.do(f"hotel in {where}")

    @process.effect(writes="flight", safety=Idempotent(), undo=cancel_flight, on_failure="park")
    async def book_flight(where: str, hotel: str, *, ctx: Context, world: World) -> str:
        return world.do(f"flight to {where}")

    @process.node(writes="verdict")
    async def judge(flight: str) -> str:
        return verdict

    process.accept(str, writes="where", correlate=lambda m: "one")
    process.rules(
        when("no hotel", lambda c: c.hotel is None, book_hotel),
        when("no flight", lambda c: c.flight is None, book_flight),
        when("not judged", lambda c: c.verdict is None, judge),
        when("off", lambda c: c.verdict == "off", compensate("called off")),
        otherwise(finish("on")),
    )
    return process


async def end(engine: Engine, case: int) -> Any:
    await engine.idle()
    return await engine.case(case)


def test_effects_are_compensated_in_reverse_and_the_case_ends(place: Place) -> None:
    async def main() -> None:
        world = World()
        async with place.open(travelling(), resources={"world": world}) as engine:
            row = await end(engine, (await engine.start("travelling", Trip(where="Rome"))).case)
            assert (row.status, row.outcome) == (Status.DONE, "called off")
            assert world.done == ["hotel in Rome", "flight to Rome", "cancel flight to Rome", "cancel hotel in Rome"]
            assert "compensated" in [event.kind for event in await engine.reader.events(case=row.id)]

    run(main())


def test_the_last_effect_is_compensated_first_even_if_the_clock_stands_still(place: Place) -> None:
    async def main() -> None:
        world = World()
        async with place.open(travelling(), resources={"world": world}, clock=ManualClock()) as engine:
            for number in range(8):
                row = await end(engine, (await engine.start("travelling", Trip(where=f"{number}"))).case)
                assert row.outcome == "called off"
                assert world.done[-2:] == [f"cancel flight to {number}", f"cancel hotel in {number}"]

    run(main())


def test_each_booking_is_compensated_with_the_fields_of_its_call(place: Place) -> None:
    """The second mail booked anew; both bookings are in the ledger, each with the place that it was for."""

    async def main() -> None:
        world = World()
        process = travelling(verdict="off")
        async with place.open(process, resources={"world": world}) as engine:
            world.refuses.add("flight to Rome")
            case = (await engine.start(process, Trip(where="Rome"), correlation="one")).case
            assert (await end(engine, case)).status is Status.PARKED
            await engine.send(process, "Oslo")
            row = await end(engine, case)
            assert row.outcome == "called off"
            assert world.done[-3:] == ["cancel flight to Oslo", "cancel hotel in Oslo", "cancel hotel in Rome"]

    run(main())


def test_a_compensation_whose_call_breaks_is_repeated_under_its_key(place: Place) -> None:
    async def main() -> None:
        world = World()
        world.breaks.add("cancel flight to Rome")
        async with place.open(travelling(), resources={"world": world}) as engine:
            row = await end(engine, (await engine.start("travelling", Trip(where="Rome"))).case)
            assert row.outcome == "called off"
            assert world.done.count("cancel flight to Rome") == 1

    run(main())


def test_a_compensation_in_doubt_parks_the_case_and_continues_when_it_is_resolved(place: Place) -> None:
    async def main() -> None:
        world = World()
        world.breaks.add("cancel flight to Rome")
        async with place.open(travelling(AtMostOnce()), resources={"world": world}) as engine:
            case = (await engine.start("travelling", Trip(where="Rome"))).case
            assert (await end(engine, case)).status is Status.PARKED
            [entry] = await engine.reader.in_doubt()
            await engine.resolve(entry.key, happened=True, by="anna", why="the airline says so")
            assert (await end(engine, case)).outcome == "called off"
            assert world.done == ["hotel in Rome", "flight to Rome", "cancel hotel in Rome"]

    run(main())


def test_a_message_that_waits_does_not_end_a_compensation_whose_doubt_is_resolved(place: Place) -> None:
    async def main() -> None:
        world = World()
        world.breaks.add("cancel flight to Rome")
        process = travelling(AtMostOnce())
        async with place.open(process, resources={"world": world}) as engine:
            world.meanwhile = lambda: engine.send(process, "Oslo")
            case = (await engine.start(process, Trip(where="Rome"), correlation="one")).case
            assert (await end(engine, case)).status is Status.PARKED
            [entry] = await engine.reader.in_doubt()
            await engine.resolve(entry.key, happened=True, by="anna", why="the airline says so")
            assert (await end(engine, case)).outcome == "called off"
            assert world.done == ["hotel in Rome", "flight to Rome", "cancel hotel in Rome"]
            assert (await engine.state(case, Trip)).where == "Oslo"

    run(main())


def test_a_check_during_a_compensation_finds_nothing_wrong(place: Place) -> None:
    async def main() -> None:
        world, found = World(), []
        process = travelling()
        async with place.open(process, resources={"world": world}) as engine:

            async def check() -> None:
                found.append((await check_cases(engine.reader, [process])).found)

            world.meanwhile = check
            case = (await engine.start(process, Trip(where="Rome"), correlation="one")).case
            await end(engine, case)
            assert found == [{}]

    run(main())


def test_a_correction_does_not_end_a_compensation_that_has_begun(place: Place) -> None:
    async def main() -> None:
        world = World()
        world.refuses.add("cancel hotel in Rome")
        process = travelling()
        async with place.open(process, resources={"world": world}) as engine:
            case = (await engine.start(process, Trip(where="Rome"))).case
            assert (await end(engine, case)).status is Status.PARKED
            await engine.redrive(case, by="anna", why="it was Oslo", fields={"where": "Oslo"})
            assert (await end(engine, case)).status is Status.PARKED
            [refused] = [entry for entry in await engine.reader.effects(case) if entry.status == "failed"]
            await engine.resolve(refused.key, happened=True, by="anna", why="the hotel says so")
            assert (await end(engine, case)).outcome == "called off"
            assert world.done == ["hotel in Rome", "flight to Rome", "cancel flight to Rome"]

    run(main())


def test_a_refused_compensation_parks_the_case(place: Place) -> None:
    async def main() -> None:
        world = World()
        world.refuses.add("cancel hotel in Rome")
        async with place.open(travelling(), resources={"world": world}) as engine:
            row = await end(engine, (await engine.start("travelling", Trip(where="Rome"))).case)
            assert row.status is Status.PARKED
            assert "cancel_hotel" in (row.reason or "")

    run(main())


def test_an_engine_that_ended_in_the_middle_takes_the_rest_back(on_disk: Place) -> None:
    async def main() -> None:
        world = World()
        process = travelling()

        def points(label: str) -> None:
            if label == "store.commit" and world.done[-1:] == ["cancel flight to Rome"]:
                raise sqlite3.OperationalError("the disk is gone")

        async with on_disk.open(process, resources={"world": world}, failpoints=points) as engine:
            case = (await engine.start(process, Trip(where="Rome"))).case
            with pytest.raises(StoreError):
                await engine.wait_until_resting(case)
        async with on_disk.open(process, resources={"world": world}) as engine:
            assert (await end(engine, case)).outcome == "called off"
            assert world.done.count("cancel hotel in Rome") == 1
            assert world.done.count("cancel flight to Rome") <= 2, "Idempotent: the same key again"

    run(main())


def test_an_undo_that_is_not_a_compensation_is_refused() -> None:
    process = Process("p", Trip)

    @process.effect(writes="hotel", safety=Idempotent())
    async def book(where: str, *, ctx: Context) -> str:
        return where

    with pytest.raises(DefinitionError, match="not a compensation"):

        @process.effect(writes="flight", safety=Idempotent(), undo=book)  # type: ignore[arg-type]
        async def fly(where: str, *, ctx: Context) -> str:
            return where


class Room(State):
    city: str
    room: str | None = None


@pytest.mark.parametrize(("former_names", "same"), [("release", True), ((), False)], ids=["known", "forgotten"])
def test_a_renamed_compensation_keeps_its_key(place: Place, former_names: str | tuple[str, ...], same: bool) -> None:
    keys: list[str] = []

    def rooms(name: str, former_names: str | tuple[str, ...] = ()) -> Process[Any]:
        process = Process("rooms", Room)

        @process.compensation(safety=Idempotent(), retry=Retry(attempts_max=1), name=name, former_names=former_names)
        async def release(*, ctx: Context) -> None:
            keys.append(ctx.key)
            if len(keys) == 1:
                raise NotSent("nobody listens")

        @process.effect(writes="room", safety=Idempotent(), undo=release)
        async def book(city: str, *, ctx: Context) -> str:
            return f"a room in {city}"

        process.rules(when("not booked", lambda c: c.room is None, book), otherwise(compensate("called off")))
        return process

    async def main() -> Any:
        first = rooms("release")
        async with place.open(first) as engine:
            case = (await engine.start(first, {"city": "Oslo"})).case
            await engine.wait_until_resting(case)
        async with place.open(rooms("let_go", former_names)) as engine:
            await engine.redrive(case, by="anna", why="somebody listens again")
            return await engine.wait_until_resting(case)

    row = run(main())

    assert row.outcome == "called off"
    assert (len(keys), keys[0] == keys[1]) == (2, same)
