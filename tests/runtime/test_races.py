"""Races: messages, ends, cancels and deadlines that meet each other."""

import asyncio
from random import Random
from typing import Any

import pytest
from places import Place, run, seen
from pydantic import BaseModel, Field
from test_messages import Desk, answering, mail

from pointsman import (
    AtMostOnce,
    Context,
    Database,
    Idempotent,
    Log,
    NotSent,
    Process,
    Retry,
    Stale,
    State,
    Status,
    answer_with,
    compensate,
    finish,
    otherwise,
    park,
    when,
)
from pointsman.testing.clock import ManualClock


class Asked(State):
    text: str
    notes: Log[str] = Field(default_factory=list)
    answer: str | None = None


class Done(State):
    text: str
    result: str | None = None


# Held messages.


def test_held_messages_keep_their_order_their_keys_and_the_tenant_of_their_case(place: Place) -> None:
    process = answering("hold")

    async def main() -> None:
        async with place.open(process, resources={"desk": Desk()}) as engine:
            await engine.send(process, mail(1), tenant="acme", priority=3)
            for number in (2, 3):
                assert (await engine.send(process, mail(number), tenant="acme", priority=3)).how == "held"
            for _ in range(2):
                await engine.idle()
                open_one = (await engine.reader.cases())[-1].id
                await engine.cancel(open_one, by="anna", why="next")
            await engine.idle()

            rows = await engine.reader.cases()
            assert [(await engine.state(row.id)).mail.id for row in rows] == ["m1", "m2", "m3"]
            assert {(row.tenant, row.priority) for row in rows} == {("acme", 3)}
            assert await engine.send(process, mail(3), tenant="acme") == (rows[2].id, "duplicate")

    run(main())


def test_a_held_message_that_no_longer_fits_stays_held_and_blocks_no_other(place: Place) -> None:
    class Stricter(BaseModel):
        id: str
        thread: str
        text: str = Field(max_length=10)

    class Later(State):
        mail: Stricter

    stricter = Process("answering", Later)
    stricter.accept(Stricter, writes="mail", correlate=lambda m: m.thread, key=lambda m: m.id, while_open="hold")
    stricter.rules(otherwise(finish("sent")))

    async def main() -> None:
        async with place.open(answering("hold"), resources={"desk": Desk()}) as engine:
            for number, thread in ((1, "a"), (2, "b")):
                await engine.send("answering", mail(number, thread=thread))
            await engine.send("answering", mail(3, "much too long for it", thread="a"))
            await engine.send("answering", mail(4, "short", thread="b"))
            await engine.idle()
            engine._holds_messages = False  # dies before it can deliver
            for case in (1, 2):
                await engine.cancel(case, by="anna", why="test")
        async with place.open(stricter) as engine:
            await engine.idle()
            assert [row.key for row in await engine.reader.held()] == ["m3"]
            assert [row.outcome for row in await engine.reader.cases(after=2)] == ["sent"]

    run(main())


# Early ones.


def test_an_early_message_is_not_given_to_a_case_that_ends_in_its_start(place: Place) -> None:
    process = Process("asked", Asked)
    ask = process.pause(writes="answer", answer=str, shows=("text",))
    process.accept(str, writes="notes", correlate=lambda m: "a", while_open="append", starts=False)
    process.rules(when("open", lambda c: c.text != "over" and c.answer is None, ask), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(process) as engine:
            await engine.send(process, "early")
            await engine.start(process, {"text": "over"}, correlation="a")
            assert len(await engine.reader.unmatched()) == 1

            case = (await engine.start(process, {"text": "open"}, correlation="a")).case
            await engine.idle()
            assert (await engine.state(case)).notes == ["early"]

    run(main())


# Cancels and corrections.


class Busy(State):
    name: str
    done: str | None = None


def busy(gate: asyncio.Event) -> Process[Busy]:
    process = Process("busy", Busy)

    @process.node(writes="done")
    async def work(name: str) -> str:
        await gate.wait()
        return name

    process.rules(when("open", lambda c: c.done is None, work), otherwise(finish("done")))
    return process


def test_a_message_that_a_cancel_overtakes_is_recorded_as_ignored(place: Place) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        async with place.open(answering(), busy(gate), resources={"desk": Desk()}, concurrency=1) as engine:
            case = (await engine.send("answering", mail(1))).case or 0
            await engine.wait_until_resting(case)
            await engine.start("busy", {"name": "n"})  # the engine's only place is taken
            await engine.send("answering", mail(2))
            await engine.cancel(case, by="anna", why="test")

            events = [event for event in await engine.reader.events(case=case) if event.kind == "message.received"]
            assert ["cancelled" in event.facts for event in events] == [True]
            assert await engine.reader.messages(case) == ()
            gate.set()

    run(main())


class Between:
    """A store that runs `happens` before the first call of one of its methods."""

    def __init__(self, store: Any, question: str, happens: Any) -> None:
        self._store = store
        self._question = question
        self._happens = [happens]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name != self._question or not self._happens:
            return found

        async def asked(*arguments: Any, **more: Any) -> Any:
            if self._happens:
                await self._happens.pop()()
            return await found(*arguments, **more)

        return asked


def test_a_message_during_a_correction_is_taken_in(place: Place) -> None:
    process = Process("asked", Asked)
    ask = process.pause(writes="answer", answer=str, shows=("text",))
    process.accept(str, writes="notes", correlate=lambda m: "a", while_open="append", starts=False)
    process.rules(
        when("bad", lambda c: c.text == "bad", park("it is bad")),
        when("open", lambda c: c.answer is None and not c.notes, ask),
        otherwise(finish("done")),
    )

    async def main() -> None:
        gate = asyncio.Event()
        async with place.open(process, busy(gate), concurrency=1) as engine:
            case = (await engine.start(process, {"text": "bad"}, correlation="a")).case
            await engine.start("busy", {"name": "n"})  # the engine's only place is taken

            async def send() -> None:
                await engine.send(process, "note")

            store = engine._cases._store
            engine._cases._store = engine._cases._loader._store = Between(store, "effects", send)
            await engine.redrive(case, by="anna", why="a slip", fields={"text": "good"})
            gate.set()
            await engine.idle()
            assert (await engine.state(case)).notes == ["note"]
            assert (await engine.case(case)).outcome == "done"

    run(main())


# Children.


class Parcel(State):
    address: str
    approval: str | None = None


class Order(State):
    address: str
    shipment: str | None = None


def ordering() -> list[Process[Any]]:
    shipping = Process("shipping", Parcel)
    approve = shipping.pause(writes="approval", answer=str, shows=("address",))
    shipping.rules(when("to approve", lambda c: c.approval is None, approve), otherwise(finish("shipped")))
    process = Process("ordering", Order)

    def inputs(address: str) -> dict[str, str]:
        return {"address": address}

    ship = process.child(shipping, inputs, writes="shipment", result="approval", name="ship")
    process.accept(str, writes="address", correlate=lambda m: "one")
    process.rules(when("not shipped", lambda c: c.shipment is None, ship), otherwise(finish("done")))
    return [process, shipping]


def test_a_child_whose_inputs_were_superseded_is_cancelled(place: Place) -> None:
    async def main() -> None:
        async with place.open(*ordering()) as engine:
            case = (await engine.start("ordering", {"address": "far"}, correlation="one")).case
            await engine.idle()
            await engine.send("ordering", "farther")
            await engine.idle()

            first, second = await engine.reader.children(case)
            assert (first.status, second.status) == (Status.CANCELLED, Status.WAITING)

    run(main())


def test_inputs_that_are_restored_while_their_child_is_being_cancelled_get_a_new_child(place: Place) -> None:
    async def main() -> None:
        async with place.open(*ordering(), concurrency=1) as engine:
            case = (await engine.start("ordering", {"address": "far"}, correlation="one")).case
            await engine.idle()
            await engine.send("ordering", "farther")
            await seen(engine, "child.started", count=2)
            await engine.send("ordering", "far")
            await engine.idle()

            assert (await engine.case(case)).status is Status.WAITING
            children = await engine.reader.children(case)
            assert [child.status for child in children] == [Status.CANCELLED, Status.CANCELLED, Status.WAITING]
            await engine.resume((await engine.pending(children[-1].id)).token, "yes", by="anna")
            await engine.idle()
            assert (await engine.case(case)).outcome == "done"

    run(main())


# Deadlines.


@pytest.mark.parametrize("last", [park("nobody answered"), answer_with("by default")], ids=["park", "default"])
def test_a_message_at_the_deadline_that_rewrites_what_was_shown_opens_a_new_pause(place: Place, last: Any) -> None:
    process = Process("asked", Asked)
    ask = process.pause(writes="answer", answer=str, shows=("text",), deadline=60, ladder=[last])
    process.accept(str, writes="text", correlate=lambda m: "a")
    process.rules(when("open", lambda c: c.answer is None, ask), otherwise(finish("done")))

    async def main() -> None:
        clock, gate = ManualClock(), asyncio.Event()
        async with place.open(process, busy(gate), clock=clock, concurrency=1) as engine:
            case = (await engine.start(process, {"text": "old"}, correlation="a")).case
            token = (await engine.pending(case)).token
            await engine.start("busy", {"name": "n"})  # the engine's only place is taken
            await engine.send(process, "new")
            clock.advance(60)
            gate.set()
            await engine.idle(horizon_seconds=0)

            pending = await engine.pending(case)
            assert (pending.shown, pending.expires_at) == ({"text": "new"}, clock.now() + 60)
            with pytest.raises(Stale):
                await engine.resume(token, "yes", by="anna")

    run(main())


# Poison.


@pytest.mark.parametrize("raised", [SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()], ids=lambda error: type(error).__name__)
def test_a_transaction_that_raises_a_base_exception_parks_only_its_case(place: Place, raised: BaseException) -> None:
    process = Process("done", Done)

    @process.transaction(writes="result", retry=Retry(attempts_max=1))
    def book(text: str, *, db: Database) -> str:
        if text == "bad":
            raise raised
        return text

    process.rules(when("open", lambda c: c.result is None, book), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(process) as engine:
            bad = (await engine.start(process, {"text": "bad"})).case
            good = (await engine.start(process, {"text": "good"})).case
            assert (await engine.wait_until_resting(bad)).status is Status.PARKED
            assert (await engine.wait_until_resting(good)).outcome == "done"

    run(main())


class Repeating(Random):
    """A random source that returns each token twice."""

    def getrandbits(self, k: int) -> int:
        return 7


def test_a_case_whose_commit_is_refused_without_a_race_is_parked_and_can_be_cancelled(on_disk: Place) -> None:
    class Approved(Done):
        approval: str | None = None

    process = Process("asked", Approved)

    @process.node(writes="result")
    async def look(text: str, *, gate: asyncio.Event) -> str:
        await gate.wait()
        return text

    ask = process.pause(writes="approval", answer=str, shows=("result",))
    process.rules(
        when("open", lambda c: c.result is None, look),
        when("unapproved", lambda c: c.approval is None, ask),
        otherwise(finish("done")),
    )

    async def main() -> Any:
        gate = asyncio.Event()
        async with on_disk.open(process, resources={"gate": gate}, random=Repeating()) as engine:
            cases = [(await engine.start(process, {"text": text})).case for text in ("first", "second")]
            gate.set()
            rows = [await engine.wait_until_resting(case) for case in cases]
            [refused] = [row for row in rows if row.status is Status.PARKED]  # whichever came second
            return rows, refused, await engine.cancel(refused.id, by="anna", why="in the way")

    rows, refused, cancelled = run(main())

    assert {row.status for row in rows} == {Status.WAITING, Status.PARKED}
    assert "the store refused the result of step 'look', although nobody else has changed the case" in refused.reason
    assert cancelled.status is Status.CANCELLED


def test_an_effect_whose_outcome_is_unknown_is_not_compensated(place: Place) -> None:
    class Booked(Done):
        answer: str | None = None

    process = Process("booked", Booked)
    undone: list[Any] = []

    @process.compensation(safety=Idempotent())
    async def cancel(result: str, *, ctx: Context) -> None:
        undone.append(result)

    @process.effect(writes="result", safety=AtMostOnce(), undo=cancel)
    async def book(text: str) -> str:
        return object()  # type: ignore[return-value]

    process.accept(str, writes="answer", correlate=lambda m: "a", starts=False)
    process.rules(
        when("called off", lambda c: c.answer is not None, compensate("off")),
        when("open", lambda c: c.result is None, book),
        otherwise(finish("done")),
    )

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"text": "x"}, correlation="a")).case
            assert (await engine.wait_until_resting(case)).status is Status.PARKED
            await engine.send(process, "off")
            await engine.idle()

            row = await engine.case(case)
            assert (row.status, undone) == (Status.PARKED, [])
            [entry] = await engine.reader.effects(case)
            assert entry.key in (row.reason or "")
            await engine.resolve(entry.key, happened=True, outcome="room 5", by="anna", why="the hotel says so")
            await engine.idle()
            assert ((await engine.case(case)).outcome, undone) == ("off", ["room 5"])

    run(main())


def test_a_message_during_a_compensation_does_not_interrupt_it(place: Place) -> None:
    class Trip(State):
        where: str
        flight: str | None = None
        hotel: str | None = None
        verdict: str | None = None

    process = Process("trip", Trip)
    done: list[str] = []

    @process.compensation(safety=Idempotent())
    async def cancel_hotel(hotel: str, *, ctx: Context) -> None:
        done.append("hotel cancelled")

    @process.compensation(safety=Idempotent(), retry=Retry(first_seconds=60))
    async def cancel_flight(flight: str, *, ctx: Context) -> None:
        if "tried" not in done:
            done.append("tried")
            raise NotSent("the airline cannot be reached")
        done.append("flight cancelled")

    @process.effect(writes="flight", safety=Idempotent(), undo=cancel_flight)
    async def book_flight(where: str, *, ctx: Context) -> str:
        return "LH 1"

    @process.effect(writes="hotel", safety=Idempotent(), undo=cancel_hotel)
    async def book_hotel(where: str, flight: str, *, ctx: Context) -> str:
        return "room 5"

    process.accept(str, writes="verdict", correlate=lambda m: "a", starts=False)
    process.rules(
        when("no flight", lambda c: c.flight is None, book_flight),
        when("no hotel", lambda c: c.hotel is None, book_hotel),
        when("off", lambda c: c.verdict == "off", compensate("called off")),
        when("no word", lambda c: c.verdict is None, park("no word")),
        otherwise(finish("on")),
    )

    async def main() -> None:
        clock = ManualClock()
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, {"where": "Rome"}, correlation="a")).case
            await engine.wait_until_resting(case)
            await engine.send(process, "off")
            await engine.idle(horizon_seconds=1)
            await engine.send(process, "on")
            await engine.idle(horizon_seconds=1)
            clock.advance(120)
            await engine.idle(horizon_seconds=1)

            assert (await engine.case(case)).outcome == "called off"
            assert done == ["hotel cancelled", "tried", "flight cancelled"]
            assert (await engine.state(case)).verdict == "on"

    run(main())
