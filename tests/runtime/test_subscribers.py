"""A subscriber gets every event, in order, across engines and failures, and delays nobody."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from places import HANG_SECONDS, Place, run

from pointsman import DefinitionError, Delivery, Engine, GivenUp, Private, Process, Refused, State, finish, otherwise, when
from pointsman.kernel.rows import EventRow
from pointsman.store.gaps import Gap
from pointsman.store.memory import MemoryStore
from pointsman.store.sqlite_leaving import leaving
from pointsman.testing.clock import ManualClock


class Order(State):
    item: str
    price: int | None = None


def orders() -> Process[Order]:
    process = Process("orders", Order)

    @process.node(writes="price")
    async def price(item: str) -> int:
        return len(item)

    process.rules(when("no price", lambda c: c.price is None, price), otherwise(finish("priced")))
    return process


PRICED = ["accepted", "decided", "node.succeeded", "decided", "finished"]


class Listener:
    """Keeps what it is called with; `refuses` says how many deliveries fail."""

    def __init__(self, refuses: int = 0) -> None:
        self.name = "listener"
        self.heard: list[str] = []
        self.after: list[str] = []
        self.refuses = refuses
        self.changed = asyncio.Event()

    async def deliver(self, delivery: Delivery) -> None:
        self.after.append(delivery.after)
        self.changed.set()
        if self.refuses:
            self.refuses -= 1
            raise ConnectionError("nobody listens")
        self.heard += [f"{event.case} {event.kind}" for event in delivery.events]

    async def hears(self, event: str) -> None:
        while event not in self.heard:
            self.changed.clear()
            await self.changed.wait()


async def place_order(engine: Engine, item: str) -> int:
    case = (await engine.start("orders", {"item": item})).case
    await engine.wait_until_resting(case)
    return case


def kinds(heard: list[str]) -> list[str]:
    return [event.split()[1] for event in heard]


def test_a_subscriber_goes_on_in_the_next_engine_where_it_was(place: Place) -> None:
    async def main() -> tuple[Listener, Listener]:
        first, second = Listener(), Listener()
        async with place.open(orders()) as engine:
            await place_order(engine, "before it subscribed")
        async with place.open(orders(), subscribers=[first]) as engine:
            await first.hears(f"{await place_order(engine, 'pear')} finished")
        async with place.open(orders()) as engine:
            missed = await place_order(engine, "plum")
        async with place.open(orders(), subscribers=[second]):
            await second.hears(f"{missed} finished")
        return first, second

    first, second = run(main())

    assert kinds(first.heard) == kinds(second.heard) == PRICED


def test_a_subscriber_that_fails_is_called_again_with_the_same_events_and_delays_no_case(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()

    async def main() -> Listener:
        listener = Listener(refuses=3)
        async with Engine.open("unused", [orders()], subscribers=[listener], store=MemoryStore(), clock=clock) as engine:
            case = await place_order(engine, "pear")
            while f"{case} finished" not in listener.heard:
                clock.advance(60.0)
                await asyncio.sleep(0)
        return listener

    listener = run(main())

    assert kinds(listener.heard) == PRICED
    assert listener.after[:4] == [""] * 4
    assert [record.getMessage() for record in caplog.records] == [
        "subscriber 'listener' failed (ConnectionError: nobody listens); it is called again, and misses no event",
        "subscriber 'listener' goes on after 3 failures",
    ]


def test_what_is_committed_soon_after_a_delivery_is_one_delivery() -> None:
    clock = ManualClock()

    async def main() -> tuple[int, int]:
        listener = Listener()
        async with Engine.open("unused", [orders()], subscribers=[listener], store=MemoryStore(), clock=clock) as engine:
            first = await place_order(engine, "pear")
            await listener.hears(f"{first} accepted")
            last = [await place_order(engine, item) for item in ("plum", "fig", "lime")][-1]
            soon = len(listener.after)
            clock.advance(1.0)
            await listener.hears(f"{last} finished")
            return soon, len(listener.after)

    assert run(main()) == (1, 2)


class HeldRead(MemoryStore):
    """Its first read of no events is answered when `answered` is set, with what was true when it was asked."""

    answered: asyncio.Event | None = None

    async def events(self, *, after: str = "", case: int | None = None, limit: int = 1_000) -> list[EventRow]:
        rows = await super().events(case=case, after=after, limit=limit)
        if not rows and self.answered is None:
            self.answered = asyncio.Event()
            await self.answered.wait()
        return rows


def test_a_commit_before_the_stop_is_delivered_although_the_read_before_it_is_answered_later() -> None:
    async def main() -> list[str]:
        listener, store = Listener(), HeldRead()
        async with Engine.open("unused", [orders()], subscribers=[listener], store=store) as engine:
            await place_order(engine, "pear")
            assert store.answered is not None
            stopping = asyncio.create_task(engine.subscriptions[0].stop(HANG_SECONDS))
            await asyncio.sleep(0)
            store.answered.set()
            await stopping
            return listener.heard

    assert kinds(run(main())) == PRICED


def test_of_two_engines_one_calls_the_subscriber_and_when_it_is_closed_the_other_goes_on() -> None:
    clock = ManualClock()
    store = MemoryStore(lease_seconds=30.0, now=clock.now)

    def engine(listener: Listener) -> AbstractAsyncContextManager[Engine]:
        return Engine.open("unused", [orders()], subscribers=[listener], store=store.beside(), clock=clock)

    async def main() -> tuple[Listener, Listener]:
        first, second = Listener(), Listener()
        async with AsyncExitStack() as one:
            await one.enter_async_context(engine(first))
            async with engine(second) as other:
                await place_order(other, "pear")
                await one.aclose()
                await second.hears(f"{await place_order(other, 'plum')} accepted")
        return first, second

    first, second = run(main())

    assert kinds(first.heard) == kinds(second.heard) == PRICED
    assert {event.split()[0] for event in first.heard}.isdisjoint(event.split()[0] for event in second.heard)


class Died(BaseException):
    """The engine's process is gone."""


def dying(at: str) -> Callable[[str], None]:
    def die(label: str) -> None:
        if label == at:
            raise Died

    return die


def test_what_was_delivered_when_the_engine_died_is_delivered_again(place: Place) -> None:
    async def main() -> tuple[list[str], list[str]]:
        first, second = Listener(), Listener()
        async with place.open(orders(), subscribers=[first], failpoints=dying("subscriber.delivered")) as engine:
            case = await place_order(engine, "pear")
            await first.changed.wait()
        async with place.open(orders(), subscribers=[second]):
            await second.hears(f"{case} finished")
        return first.heard, second.heard

    first, second = run(main())

    assert first
    assert second[: len(first)] == first


class GivingUp(Listener):
    """Gives up the ends of cases while it is `closed`."""

    def __init__(self, *, closed: bool) -> None:
        super().__init__()
        self.closed = closed

    async def deliver(self, delivery: Delivery) -> None:
        end = next((event for event in delivery.events if event.kind == "finished"), None)
        if self.closed and end is not None:
            self.changed.set()
            raise GivenUp(end.cursor, "nobody opens.")
        await super().deliver(delivery)


async def gives_up(place: Place, *, orders_placed: int = 1, **settings: Any) -> GivingUp:
    """A subscriber that has given up the ends of so many cases."""
    listener = GivingUp(closed=True)
    async with place.open(orders(), subscribers=[listener], grace_seconds=HANG_SECONDS, **settings) as engine:
        for number in range(orders_placed):
            await place_order(engine, f"order {number}")
    return listener


def test_what_a_subscriber_gives_up_is_kept_and_delivered_again_when_somebody_asks(place: Place) -> None:
    async def main() -> tuple[list[str], int, int]:
        await gives_up(place, orders_placed=2)
        listener = GivingUp(closed=False)
        async with place.open(orders(), subscribers=[listener], grace_seconds=HANG_SECONDS) as engine:
            [*gaps] = await engine.reader.gaps()
            asked = await engine.redeliver("listener")
        async with place.open(orders()) as engine:
            assert await engine.reader.gaps() == []
        return listener.heard, sum(gap.messages for gap in gaps), asked

    heard, messages, asked = run(main())

    assert {"1 finished", "2 finished"} <= {*heard}
    assert (messages, asked) == (2, 2)


def test_what_is_refused_again_stays_and_delays_no_newer_event(place: Place) -> None:
    async def main() -> tuple[list[str], Gap]:
        await gives_up(place)
        listener = GivingUp(closed=True)
        async with place.open(orders(), subscribers=[listener], grace_seconds=HANG_SECONDS) as engine:
            await engine.redeliver("listener")
        listener.closed = False
        async with place.open(orders(), subscribers=[listener]) as engine:
            case = await place_order(engine, "plum")
            await listener.hears(f"{case} finished")
            assert {event.split()[0] for event in listener.heard} == {str(case)}
            return listener.heard, (await engine.reader.gaps())[0]

    heard, gap = run(main())

    assert kinds(heard) == PRICED
    assert (gap.subscriber, gap.messages, gap.why, gap.again) == ("listener", 1, "nobody opens.", False)


def test_a_gap_can_be_forgotten_and_an_unknown_one_is_refused(place: Place) -> None:
    async def main() -> str:
        await gives_up(place)
        async with place.open(orders()) as engine:
            await engine.redeliver("listener", forget=True)
            assert await engine.reader.gaps() == []
            with pytest.raises(Refused) as raised:
                await engine.redeliver("listener")
        return str(raised.value)

    assert run(main()) == "the subscriber 'listener' has given up nothing; `pointsman doctor` names those that have."


def test_a_death_while_an_event_is_given_up_neither_loses_nor_doubles_the_gap(place: Place) -> None:
    async def main() -> list[Gap]:
        await gives_up(place, failpoints=dying("subscriber.given_up"))
        await gives_up(place, orders_placed=0)
        async with place.open(orders()) as engine:
            return list(await engine.reader.gaps())

    [gap] = run(main())

    assert gap.messages == 1


def test_a_cancel_within_a_subscriber_does_not_end_the_deliveries() -> None:
    class Cancelling(Listener):
        async def deliver(self, delivery: Delivery) -> None:
            if not self.after:
                self.after.append(delivery.after)
                raise asyncio.CancelledError
            await super().deliver(delivery)

    clock = ManualClock()

    async def main() -> list[str]:
        listener = Cancelling()
        async with Engine.open("unused", [orders()], subscribers=[listener], store=MemoryStore(), clock=clock) as engine:
            case = await place_order(engine, "pear")
            while f"{case} finished" not in listener.heard:
                clock.advance(60.0)
                await asyncio.sleep(0)
        return listener.heard

    assert kinds(run(main())) == PRICED


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        (None, "subscriber 'listener' failed (its method deliver is not asynchronous; write it with `async def`.)"),
        ("99", "its method deliver named '99', which is the cursor of none of the events; name one of them, or return None."),
    ],
)
def test_a_method_that_is_not_written_as_it_must_be_is_told_so(returns: str | None, says: str, caplog: pytest.LogCaptureFixture) -> None:
    class Wrong:
        name = "listener"

        def deliver(self, _: Delivery) -> Any:
            return returns if returns is None else self.returned()

        async def returned(self) -> str | None:
            return returns

    async def main() -> None:
        async with Engine.open("unused", [orders()], subscribers=[Wrong()], store=MemoryStore()) as engine:
            await place_order(engine, "pear")

    run(main())

    assert says in caplog.text


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("one", "one"), "two subscribers are called 'one'; rename one, because each has a cursor of its own under its name."),
        (("",), "a subscriber has the name ''; name it with letters, because its cursor is kept under that name."),
        (("a\nb",), "a subscriber has the name 'a\\nb'"),
    ],
)
def test_subscribers_need_names_of_their_own(names: tuple[str, ...], says: str) -> None:
    listeners = [Listener() for _ in names]
    for listener, name in zip(listeners, names, strict=True):
        listener.name = name

    async def main() -> None:
        async with Engine.open("unused", [orders()], subscribers=listeners, store=MemoryStore()):
            pass

    with pytest.raises(DefinitionError) as raised:
        run(main())

    assert says in str(raised.value)


def test_the_log_has_no_text_of_an_exception_where_a_process_has_private_fields(caplog: pytest.LogCaptureFixture) -> None:
    class Letter(State):
        text: Private[str]

    letters = Process("letters", Letter)
    letters.rules(otherwise(finish("read")))

    class Quoting(Listener):
        async def deliver(self, delivery: Delivery) -> None:
            raise ValueError(f"a secret of {len(delivery.events)} events")

    async def main() -> None:
        async with Engine.open("unused", [letters], subscribers=[Quoting()], store=MemoryStore()) as engine:
            await engine.wait_until_resting((await engine.start("letters", {"text": "a secret"})).case)

    run(main())

    assert "subscriber 'listener' failed (ValueError); it is called again" in caplog.text
    assert "secret" not in caplog.text


def test_the_gaps_of_subscribers_move_to_another_store_with_their_cases(tmp_path: Path) -> None:
    place = Place(tmp_path / "cases.db")
    run(gives_up(place))

    with leaving(place.path, 0.0) as moved:
        facts = moved.facts()

    assert json.loads(facts["gaps listener"])[0][1:3] == ["5", 1]


def test_the_cursors_of_subscribers_move_to_another_store_with_their_cases(tmp_path: Path) -> None:
    file, listener = tmp_path / "cases.db", Listener()

    async def main() -> None:
        async with Engine.open(file, [orders()], subscribers=[listener], grace_seconds=HANG_SECONDS) as engine:
            await listener.hears(f"{await place_order(engine, 'pear')} finished")

    run(main())

    with leaving(file, 0.0) as moved:
        assert moved.facts()["subscriber listener"] == "0 5"
