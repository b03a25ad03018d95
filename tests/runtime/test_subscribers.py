"""A subscriber gets every event, in order, across engines and failures, and delays nobody."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest
from places import Place, run

from pointsman import Delivery, Engine, Process, State, finish, otherwise, when
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


def test_the_cursors_of_subscribers_move_to_another_store_with_their_cases(tmp_path: Path) -> None:
    file, listener = tmp_path / "cases.db", Listener()

    async def main() -> None:
        async with Engine.open(file, [orders()], subscribers=[listener]) as engine:
            await listener.hears(f"{await place_order(engine, 'pear')} finished")

    run(main())

    with leaving(file, 0.0) as moved:
        assert moved.facts()["subscriber listener"] == "0 5"
