"""Subscribers: each is called with every event, in order, from a cursor in the store. A slow or failing one delays nobody and misses nothing.

What a subscriber gives up is kept as a gap, and delivered again when somebody asks for it.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pointsman.definition.counts import format_count
from pointsman.errors import DefinitionError, PointsmanError, Refused, StoreError
from pointsman.kernel.rows import EventRow
from pointsman.runtime.ports import Ports
from pointsman.store.base import Reader, Store
from pointsman.store.gaps import Gap, Gaps, counted, with_gap, with_gap_changed

EVENTS_MAX = 500  # events of one delivery: a request of some hundred kilobytes
NEWEST = 1_000  # rows among which the newest event is looked for; rows of further fields have none
AGAIN_SECONDS = 1.0  # before a failed delivery is tried again; twice as long before each further try
AGAIN_MAX_SECONDS = 60.0  # so long a receiver can be back before it is noticed
LINGER_SECONDS = (
    0.25  # between two deliveries that were not full: what is committed meanwhile is one delivery, and the store is read less often
)
TURN_SECONDS = 5.0  # between two looks whether the engine that reads for a subscriber is gone: a part of a lease

log = logging.getLogger("pointsman")


class GivenUp(PointsmanError):
    """Raise this in `deliver` to give up the events up to the one with this `cursor`: the engine keeps them as a gap, and goes on behind it.

    The message says why; it is stored and shown, so it must hold nothing private.
    """

    def __init__(self, cursor: str, why: str) -> None:
        super().__init__(why)
        self.cursor = cursor


class DeliveryWrong(PointsmanError):
    """The method `deliver` of a subscriber is not written as it must be."""


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

        If it raises, or the engine dies, it is called again with the same events, perhaps in another engine. It raises GivenUp for events that it
        is not to be called with again before somebody asks for that.
        """


class Subscription:
    """One subscriber of one engine. `tells_errors` says whether the log may have the texts of its exceptions."""

    def __init__(self, ports: Ports, subscriber: Subscriber, check_running: Callable[[], None], *, tells_errors: bool = True) -> None:
        self.changed = asyncio.Event()
        self.failures_in_a_row = 0  # deliveries that failed since the last one that did not
        self.delivered = 0  # events that this engine has delivered
        self._ports = ports
        self._subscriber = subscriber
        self._check_running = check_running
        self._tells_errors = tells_errors
        self._cursor: str | None = None  # while this engine has the turn
        self._gave_up = False  # since the last delivery that did not fail
        self._more = False  # whether more events are known to be there
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
            last = self._ended()  # asked first: what is committed before the stop is in the last read
            try:
                number = await self._deliver_some()
            except StoreError as error:
                log.debug("subscriber %r waits for the database: %s", self.name, error)
                number = 0
            if last and not number:
                return
            await self._wait(number)

    async def _deliver_some(self) -> int:
        """Deliver the next events, or a part of a gap if there are none; return how many the subscriber has taken or given up. Raises StoreError."""
        store = self._ports.store
        if self._cursor is None:
            await self._take_turn()
        if self._cursor is None:
            return 0
        events = await store.reader.events(after=self._cursor, limit=EVENTS_MAX)
        if not events:
            return await self._deliver_again()
        number = await self._taken(Delivery(events, self._cursor, store.reader, self._ports.clock.now()))
        if not number:
            return 0
        self._ports.failpoints("subscriber.delivered")
        reached = events[number - 1].cursor
        self._cursor = reached if await store.advance(self.name, reached) else None
        self._more = number < len(events) or len(events) == EVENTS_MAX
        return number

    async def _take_turn(self) -> None:
        newest = await self._ports.store.reader.newest_events(limit=NEWEST)
        self._cursor = await self._ports.store.take_turn(self.name, begin=newest[-1].cursor if newest else "")

    async def _taken(self, delivery: Delivery) -> int:
        """Deliver, and return how many of the events the subscriber has taken or given up; 0 if it failed. Raises StoreError."""
        try:
            number = await self._delivered(delivery)
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled(error):
                raise
            if not self.failures_in_a_row:
                log.warning("subscriber %r failed (%s); it is called again, and misses no event", self.name, self._told(error))
            self.failures_in_a_row += 1
            return await self._give_up(delivery, error) if isinstance(error, GivenUp) else 0
        if self.failures_in_a_row:
            log.warning("subscriber %r goes on after %s", self.name, format_count(self.failures_in_a_row, "failure"))
        self.failures_in_a_row, self._gave_up = 0, False
        self.delivered += number
        return number

    async def _delivered(self, delivery: Delivery) -> int:
        """Call the subscriber, and return how many of the events it has taken. Raises what it raises, and DeliveryWrong."""
        called = self._subscriber.deliver(delivery)
        if not inspect.isawaitable(called):
            raise DeliveryWrong("its method deliver is not asynchronous; write it with `async def`.")
        reached = await called
        return len(delivery.events) if reached is None else _place_of(reached, delivery)

    async def _give_up(self, delivery: Delivery, error: GivenUp) -> int:
        """Keep the events up to this one as a gap. Raises StoreError."""
        number = next((number for number, event in enumerate(delivery.events, 1) if event.cursor == error.cursor), 0)
        if not number:
            return 0
        at = delivery.events[number - 1].at
        gap = Gap(self.name, delivery.after, error.cursor, 1, at, at, str(error))
        await self._ports.store.change_gaps(self.name, lambda gaps: with_gap(gaps, gap))
        if not self._gave_up:
            log.warning(
                "subscriber %r gives up what it cannot deliver: %s `pointsman doctor` tells how to deliver it again.", self.name, error
            )
        self._gave_up = True
        self._ports.failpoints("subscriber.given_up")
        return number

    async def _deliver_again(self) -> int:
        """Deliver the next events of a gap that is to be delivered again; return how many were taken. What fails stays. Raises StoreError."""
        store = self._ports.store
        gap = next((gap for gap in await store.reader.gaps() if gap.again and gap.subscriber == self.name), None)
        if gap is None:
            return 0
        found = await store.reader.events(after=gap.after, limit=EVENTS_MAX)
        events = _up_to(gap, found)
        number, left = 0, None
        try:
            if events:
                number = await self._delivered(Delivery(events, gap.after, store.reader, self._ports.clock.now()))
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled(error):
                raise
            left = gap._replace(again=False, why=self._told(error))
        else:
            if number < len(events) or (len(found) == EVENTS_MAX and len(events) == len(found) and events[-1].cursor != gap.upto):
                left = gap._replace(after=events[number - 1].cursor)
        await store.change_gaps(self.name, lambda gaps: with_gap_changed(gaps, gap, left))
        self.delivered += number
        self._more = bool(number)
        return number

    def _told(self, error: BaseException) -> str:
        """What the log may have of an exception: the text of a foreign one may quote what is private."""
        if isinstance(error, PointsmanError):
            return str(error)
        return f"{type(error).__name__}: {error}" if self._tells_errors else type(error).__name__

    async def _wait(self, number: int) -> None:
        """Wait for the time of another try, for a change, or after a delivery of so many events for more of them."""
        clock = self._ports.clock
        if not number and self.failures_in_a_row:
            tries = min(self.failures_in_a_row - 1, 20)
            await clock.wait(self._stopping, min(AGAIN_MAX_SECONDS, AGAIN_SECONDS * 2.0**tries))
        elif not number:
            await clock.wait(self.changed, TURN_SECONDS if self._cursor is None else None)
        elif not self._more:
            await clock.wait(self._stopping, LINGER_SECONDS)

    def _ended(self) -> bool:
        try:
            self._check_running()
        except PointsmanError:
            return True
        return self._stopping.is_set()


def check_subscribers(subscribers: Sequence[Subscriber]) -> None:
    """Check that each has a name of its own. Raises DefinitionError."""
    names = [subscriber.name for subscriber in subscribers]
    for name in names:
        if not str(name).isprintable() or not str(name).strip():
            raise DefinitionError(f"a subscriber has the name {name!r}; name it with letters, because its cursor is kept under that name.")
        if names.count(name) > 1:
            raise DefinitionError(f"two subscribers are called {name!r}; rename one, because each has a cursor of its own under its name.")


async def redeliver(store: Store, subscriber: str, *, forget: bool) -> int:
    """Let a subscriber be called again with what it has given up, or forget that; return the number of messages. Raises Refused, StoreError."""
    gaps = tuple(gap for gap in await store.reader.gaps() if gap.subscriber == subscriber)
    if not gaps:
        raise Refused(f"the subscriber {subscriber!r} has given up nothing; `pointsman doctor` names those that have.")
    known = {gap.upto for gap in gaps}

    def change(stored: Gaps) -> Gaps:
        if forget:
            return tuple(gap for gap in stored if gap.upto not in known)
        return tuple(gap._replace(again=True) for gap in stored)

    await store.change_gaps(subscriber, change)
    return counted(gaps)


def _is_cancelled(error: BaseException) -> bool:
    """Whether the engine has cancelled the delivery, and not something within it."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _place_of(cursor: str, delivery: Delivery) -> int:
    """The number of the events up to this cursor. Raises DeliveryWrong."""
    for number, event in enumerate(delivery.events, 1):
        if event.cursor == cursor:
            return number
    raise DeliveryWrong(
        f"its method deliver named {cursor!r}, which is the cursor of none of the events; name one of them, or return None."
    )


def _up_to(gap: Gap, events: Sequence[EventRow]) -> Sequence[EventRow]:
    """Those of the events that are in the gap. Retention may have deleted its last one."""
    for number, event in enumerate(events, 1):
        if event.cursor == gap.upto:
            return events[:number]
    return [event for event in events if event.at <= gap.until]
