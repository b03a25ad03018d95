"""Subscribers: each is called with every event, in order, from a cursor in the store. A slow or failing one delays nobody and misses nothing."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pointsman.definition.counts import format_count
from pointsman.errors import PointsmanError, StoreError
from pointsman.kernel.rows import EventRow
from pointsman.runtime.ports import Ports
from pointsman.store.base import Reader

EVENTS_MAX = 500  # events of one delivery: a request of some hundred kilobytes
NEWEST = 1_000  # rows among which the newest event is looked for; rows of further fields have none
AGAIN_SECONDS = 1.0  # before a failed delivery is tried again; twice as long before each further try
AGAIN_MAX_SECONDS = 60.0  # so long a receiver can be back before it is noticed
LINGER_SECONDS = (
    0.25  # between two deliveries that were not full: what is committed meanwhile is one delivery, and the store is read less often
)
TURN_SECONDS = 5.0  # between two looks whether the engine that reads for a subscriber is gone: a part of a lease

log = logging.getLogger("pointsman")


@dataclass(frozen=True, slots=True)
class Delivery:
    """Events for a subscriber, in the order of their commits: those after the cursor `after`.

    `reader` reads more about their cases, and `now` is the time (Unix seconds).
    """

    events: Sequence[EventRow]
    after: str
    reader: Reader
    now: float


class Subscriber(Protocol):
    """Is called with all events. Of the engines that share a database, one calls it for all."""

    @property
    def name(self) -> str:
        """The name of its cursor in the database: a subscriber of another name begins anew, with the events of today."""

    async def deliver(self, delivery: Delivery) -> str | None:
        """Take in events: all of them, or those up to the cursor that it returns.

        If it raises, or the engine dies, it is called again with the same events, perhaps in another engine.
        """


class Subscription:
    """One subscriber of one engine."""

    def __init__(self, ports: Ports, subscriber: Subscriber, check_running: Callable[[], None]) -> None:
        self.changed = asyncio.Event()
        self.failures_in_a_row = 0  # deliveries that failed since the last one that did not
        self.delivered = 0  # events that this engine has delivered
        self._ports = ports
        self._subscriber = subscriber
        self._check_running = check_running
        self._cursor: str | None = None  # while this engine has the turn
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The subscriber's name."""
        return self._subscriber.name

    async def begin(self) -> None:
        """Begin to deliver: a subscriber that is new in the database gets what is committed from now on. Raises StoreError."""
        await self._take_turn()
        self._task = asyncio.create_task(self._run(), name=f"pointsman-subscriber-{self.name}")

    async def stop(self, grace_seconds: float) -> None:
        """Deliver what has been committed, for up to `grace_seconds`, and end. What is left is delivered when an engine is opened again."""
        if self._task is None:
            return
        self._stopping.set()
        self.changed.set()
        await asyncio.wait([self._task], timeout=grace_seconds)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self.changed.clear()
            try:
                number = await self._deliver_some()
            except StoreError as error:
                log.debug("subscriber %r waits for the database: %s", self.name, error)
                number = 0
            if not number and self._ended():
                return
            await self._wait(number)

    async def _deliver_some(self) -> int:
        """Deliver the next events; return how many the subscriber has taken. Raises StoreError."""
        store = self._ports.store
        if self._cursor is None:
            await self._take_turn()
        if self._cursor is None:
            return 0
        events = await store.reader.events(after=self._cursor, limit=EVENTS_MAX)
        if not events:
            return 0
        number = await self._taken(Delivery(events, self._cursor, store.reader, self._ports.clock.now()))
        if not number:
            return 0
        self._ports.failpoints("subscriber.delivered")
        reached = events[number - 1].cursor
        self._cursor = reached if await store.advance(self.name, reached) else None
        self.delivered += number
        return number

    async def _take_turn(self) -> None:
        newest = await self._ports.store.reader.newest_events(limit=NEWEST)
        self._cursor = await self._ports.store.take_turn(self.name, begin=newest[-1].cursor if newest else "")

    async def _taken(self, delivery: Delivery) -> int:
        """Deliver, and return how many of the events the subscriber has taken; 0 if it failed."""
        try:
            reached = await self._subscriber.deliver(delivery) or delivery.events[-1].cursor
            number = [event.cursor for event in delivery.events].index(reached) + 1
        except Exception as error:
            if not self.failures_in_a_row:
                log.warning(
                    "subscriber %r failed (%s: %s); it is called again, and misses no event", self.name, type(error).__name__, error
                )
            self.failures_in_a_row += 1
            return 0
        if self.failures_in_a_row:
            log.warning("subscriber %r goes on after %s", self.name, format_count(self.failures_in_a_row, "failure"))
        self.failures_in_a_row = 0
        return number

    async def _wait(self, number: int) -> None:
        """Wait for the time of another try, for a change, or after a delivery of so many events for more of them."""
        clock = self._ports.clock
        if self.failures_in_a_row:
            tries = min(self.failures_in_a_row - 1, 20)
            await clock.wait(self._stopping, min(AGAIN_MAX_SECONDS, AGAIN_SECONDS * 2.0**tries))
        elif not number:
            await clock.wait(self.changed, TURN_SECONDS if self._cursor is None else None)
        elif number < EVENTS_MAX:
            await clock.wait(self._stopping, LINGER_SECONDS)

    def _ended(self) -> bool:
        try:
            self._check_running()
        except PointsmanError:
            return True
        return self._stopping.is_set()
