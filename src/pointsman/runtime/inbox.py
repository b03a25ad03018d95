"""What came to a case while it waited or a step of it ran: messages, the ends of children, a parent's cancel."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import to_json

from pointsman.definition.children import Child, ChildEnd
from pointsman.definition.messages import Accept
from pointsman.definition.nodes import AnyNode
from pointsman.definition.process import AnyProcess
from pointsman.errors import ValueRefused
from pointsman.kernel.codec import adapter_of, codec_of, digest_of, message_of, zone_flaw
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import evolve, rests_on_changes
from pointsman.kernel.rows import MessageRow, MessageStatus
from pointsman.kernel.snapshot import Cell, Snapshot, Status
from pointsman.runtime.hold import Hold
from pointsman.store.base import Store

CHILD_ENDED = "pointsman.child"
PARENT_ENDED = "pointsman.cancel"
"""The names of the messages that cases send each other; no author's message is called so."""

CALLED_OFF = "its parent no longer waits for it"
"""Why a parent cancels a child; a child that ends so is news to nobody."""


class Arrivals(NamedTuple):
    """What the pending messages come to, in their order.

    `takes` says what becomes of each, `cancel` is a parent's, and `park` why the case cannot go on after them.
    """

    events: tuple[Event, ...] = ()
    takes: tuple[tuple[int, MessageStatus], ...] = ()
    cancel: Event | None = None
    park: str | None = None


NOTHING = Arrivals()


class _Arrival(NamedTuple):
    event: Event
    status: MessageStatus = MessageStatus.TAKEN
    cancels: bool = False
    park: str | None = None


class Inbox:
    """Reads what is pending for a case, and says what it comes to."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, hold: Hold) -> None:
        """Bring the hold's messages up to date."""
        hold.mail = await self._store.messages(hold.snapshot.case)

    async def arrivals(self, hold: Hold) -> Arrivals:
        """What the hold's messages come to, each on top of those before it."""
        if not hold.mail:
            return NOTHING
        snapshot = hold.snapshot
        taken: list[tuple[MessageRow, _Arrival]] = []
        for message in hold.mail:
            arrival = await self._arrival(hold, snapshot, message)
            snapshot = evolve(hold.process, snapshot, arrival.event)
            taken.append((message, arrival))
        return Arrivals(
            events=tuple(arrival.event for _, arrival in taken if not arrival.cancels),
            takes=tuple((message.id, arrival.status) for message, arrival in taken),
            cancel=next((arrival.event for _, arrival in taken if arrival.cancels), None),
            park=next((arrival.park for _, arrival in taken if arrival.park), None),
        )

    async def touches(self, hold: Hold, node: AnyNode) -> bool:
        """Whether what is pending rewrites or clears what the node reads."""
        arrivals = await self.arrivals(hold)
        snapshot = hold.snapshot
        for event in arrivals.events:
            snapshot = evolve(hold.process, snapshot, event)
        return arrivals.cancel is not None or rests_on_changes(hold.process, node, hold.snapshot.cells, snapshot.cells)

    async def _arrival(self, hold: Hold, snapshot: Snapshot, message: MessageRow) -> _Arrival:
        if message.name == PARENT_ENDED:
            return _Arrival(Event(Kind.CANCELLED, facts=json.loads(message.body)), cancels=True)
        if message.name == CHILD_ENDED:
            return await self._child_ended(hold, snapshot, message)
        accept = hold.process.accepts_messages.get(message.name)
        try:
            cells = _written(hold, snapshot, accept, message)
        except Exception as error:  # a function of the author's may raise anything
            return _Arrival(passed(message, message_of(error)), MessageStatus.PASSED)
        if cells is None:
            return _Arrival(passed(message, "it is older than the one that stands"), MessageStatus.PASSED)
        event = Event(Kind.MESSAGE_RECEIVED, message.name, facts={"message": message.id, "fields": list(cells)}, writes=cells)
        return _Arrival(event, MessageStatus.LOGGED if accept is not None and accept.while_open == "append" else MessageStatus.TAKEN)

    async def _child_ended(self, hold: Hold, snapshot: Snapshot, message: MessageRow) -> _Arrival:
        """Take a child's end in, if it is the child that the case waits for."""
        end = json.loads(message.body)
        child = hold.process.steps.get(hold.step or "")
        facts = {"child": end["case"], "status": end["status"], "fields": []}
        called_off = (end["status"], end["outcome"]) == (Status.CANCELLED, CALLED_OFF)
        if called_off or not isinstance(child, Child) or not end["key"].startswith(child_key(snapshot, child)):
            return _Arrival(Event(Kind.CHILD_ENDED, hold.step, facts=facts), MessageStatus.PASSED)
        event, park = await self.child_end(hold, child, end)
        return _Arrival(event, park=park)

    async def child_end(self, hold: Hold, child: Child, end: Mapping[str, Any]) -> tuple[Event, str | None]:
        """The event of a child's end, which carries its result; where there is none, why the parent cannot go on."""
        facts = {"child": end["case"], "status": end["status"], "fields": []}
        try:
            cells = await self._result(hold, child, end)
        except Exception as error:  # the child's field may no longer be what the parent takes
            why = f"child {child.name!r} (case {end['case']}) ended without a result: {message_of(error)}"
            return Event(Kind.CHILD_ENDED, child.name, facts=facts), why
        return Event(Kind.CHILD_ENDED, child.name, facts=facts | {"fields": list(cells)}, writes=cells), None

    async def _result(self, hold: Hold, child: Child, end: Mapping[str, Any]) -> dict[str, Cell]:
        """The cell of a child's end: its result field as it stood at the end, or a `ChildEnd`."""
        [field] = child.writes
        value: object = ChildEnd(case=end["case"], status=end["status"], outcome=end["outcome"])
        if child.result is not None:
            texts = {row.field: row for row in await self._store.fields(end["case"])}
            if end["status"] != Status.DONE or child.result not in texts:
                raise ValueRefused(f"it is {end['status']} ({end['outcome']})")
            row = texts[child.result]
            value = codec_of(child.process.state).decode(child.result, row.text, row.writer).value
        return {field: codec_of(hold.process.state).write(field, value, child.name)}


def child_key(snapshot: Snapshot, child: Child) -> str:
    """The key that a child is started with: the same reads are the same child.

    One that takes the place of a cancelled one has "/" and a number behind it.
    """
    return f"child:{snapshot.case}:{child.first_name}:{digest_of(snapshot.cells, child.depends)[:16]}"


def body_of(accept: Accept, message: object) -> str:
    """A message as the store keeps it. Raises ValidationError or ValueRefused where it is not what the process accepts."""
    adapter = adapter_of(accept.message)
    checked = adapter.validate_python(message)
    text = to_json(adapter.dump_python(checked, mode="json"), inf_nan_mode="constants").decode()
    if "\\u0000" in text or adapter.validate_json(text) != checked:
        raise ValueRefused(f"message {accept.name!r}: it cannot be held as JSON; give it a shape that comes back equal.")
    flaw = zone_flaw(adapter, f"message {accept.name!r}", checked)
    if flaw is not None:
        raise ValueRefused(flaw)
    return text


def _written(hold: Hold, snapshot: Snapshot, accept: Accept | None, message: MessageRow) -> dict[str, Cell] | None:
    """The cells of a message; None where a younger one stands already."""
    if accept is None:
        raise ValueRefused(f"process {hold.process.name!r} accepts no {message.name!r} any more")
    codec = codec_of(hold.process.state)
    [field] = accept.writes
    value: Any = adapter_of(accept.message).validate_json(message.body)
    standing: Any = codec.value(snapshot.cells, field)
    if accept.while_open == "append":
        # What belongs at the end costs an item; what comes late makes a log of its own of all of them.
        if accept.order is None or not standing or accept.order(standing[-1]) <= accept.order(value):
            return {field: codec.write(field, value, accept.name)}
        value = sorted([*codec.fresh(snapshot.cells, field), value], key=accept.order)
    elif accept.order is not None and standing is not None and accept.order(standing) > accept.order(value):
        return None
    return {field: codec.encode(field, value, accept.name)}


def starts_next(process: AnyProcess, message: MessageRow) -> bool:
    """Whether a message that its case has not taken in can start a case of its own."""
    accept = process.accepts_messages.get(message.name)
    return accept is not None and accept.starts is not False


def passed(message: MessageRow, why: str) -> Event:
    """The event of a message that is let be."""
    return Event(Kind.MESSAGE_RECEIVED, message.name, facts={"message": message.id, "fields": [], "passed": why})
