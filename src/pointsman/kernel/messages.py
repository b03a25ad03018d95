"""Messages: take in a case's pending messages: an author's messages, the ends of children, a parent's cancel."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from pointsman.definition.children import Child, ChildEnd
from pointsman.definition.messages import Accept
from pointsman.definition.nodes import AnyNode
from pointsman.definition.process import AnyProcess
from pointsman.errors import InputInvalid, PointsmanError, ValueRefused
from pointsman.kernel.codec import adapter_of, codec_of, describe, digest_of, message_of, zone_flaw
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import evolve, rests_on_changes
from pointsman.kernel.inputs import input_cells
from pointsman.kernel.moment import Moment
from pointsman.kernel.rows import FieldRow, MessageRow, MessageStatus
from pointsman.kernel.snapshot import Cell, Snapshot, Status

CHILD_ENDED = "pointsman.child"
PARENT_ENDED = "pointsman.cancel"
"""The names of the messages that cases send each other; authors cannot use them."""

CALLED_OFF = "its parent no longer waits for it"
"""The reason of a parent's cancel. The end of such a child is not reported to the parent, but older files may have such a report."""


class Received(NamedTuple):
    """The result of taking in the pending messages, in order.

    `takes` is the new status of each, `cancel` the event of a parent's cancel, and `park` the reason why the case cannot continue.
    """

    events: tuple[Event, ...] = ()
    takes: tuple[tuple[int, MessageStatus], ...] = ()
    cancel: Event | None = None
    park: str | None = None


NONE_RECEIVED = Received()


class _One(NamedTuple):
    event: Event
    status: MessageStatus = MessageStatus.TAKEN
    cancels: bool = False
    park: str | None = None


def received(at: Moment) -> Received:
    """Take in the pending messages, each on top of the earlier ones."""
    if not at.case.messages:
        return NONE_RECEIVED
    snapshot = at.case.snapshot
    taken: list[tuple[MessageRow, _One]] = []
    for message in at.case.messages:
        one = _received_one(at, snapshot, message)
        snapshot = evolve(at.process, snapshot, one.event)
        taken.append((message, one))
    return Received(
        events=tuple(one.event for _, one in taken if not one.cancels),
        takes=tuple((message.id, one.status) for message, one in taken),
        cancel=next((one.event for _, one in taken if one.cancels), None),
        park=next((one.park for _, one in taken if one.park), None),
    )


def called_off(messages: Iterable[MessageRow]) -> bool:
    """Whether the parent of the case no longer waits for it, as these pending messages say."""
    return any(message.name == PARENT_ENDED for message in messages)


def touch(at: Moment, node: AnyNode) -> bool:
    """Whether the pending messages cancel the case, or change a field that the node reads."""
    came = received(at)
    snapshot = at.case.snapshot
    for event in came.events:
        snapshot = evolve(at.process, snapshot, event)
    return came.cancel is not None or rests_on_changes(at.process, node, at.case.snapshot.cells, snapshot.cells)


def child_end(at: Moment, child: Child, end: Mapping[str, Any], fields: Mapping[str, FieldRow]) -> tuple[Event, str | None]:
    """The event of a child's end with its result, and the reason to park the parent if there is no result."""
    facts = {"child": end["case"], "status": end["status"], "fields": []}
    try:
        cells = _result(at.process, child, end, fields)
    except Exception as error:  # the child's field may no longer be what the parent takes
        why = f"child {child.name!r} (case {end['case']}) ended without a result: {message_of(error)}"
        return Event(Kind.CHILD_ENDED, child.name, facts=facts), why
    return Event(Kind.CHILD_ENDED, child.name, facts=facts | {"fields": list(cells)}, writes=cells), None


def child_key(snapshot: Snapshot, child: Child) -> str:
    """The start key of a child: the same reads give the same child.

    The key of a child that replaces a cancelled one ends in "/" and a number.
    """
    return f"child:{snapshot.case}:{child.first_name}:{digest_of(snapshot.cells, child.depends)[:16]}"


class Accepted(NamedTuple):
    """A message as its process takes it: what is kept, the `value` that is read back from that, its key, and its correlation key."""

    accept: Accept
    body: str
    value: Any
    key: str | None
    correlation: str | None


def accepted(process: AnyProcess, message: object, *, name: str | None = None, key: str | None = None) -> Accepted:
    """Check a message, and ask the author's functions for its keys; `key` replaces the one that they give. Raises InputInvalid and ValueRefused."""
    accept = accept_of(process, message, name)
    try:
        body, value = _body_of(accept, message)
        correlation = accept.correlate(value)
        return Accepted(accept, body, value, key if key is not None or accept.key is None else accept.key(value), correlation)
    except PointsmanError:
        raise
    except Exception as error:
        raise _not_taken(process, accept, error) from None if isinstance(error, ValidationError) else error


def first_cells(process: AnyProcess, accept: Accept, value: object) -> dict[str, Cell]:
    """The first fields of a case that a message starts. Raises InputInvalid and ValueRefused."""
    try:
        inputs = accept.inputs(value)
    except Exception as error:
        raise _not_taken(process, accept, error) from error
    return input_cells(process, inputs)


def _not_taken(process: AnyProcess, accept: Accept, error: Exception) -> InputInvalid:
    """Why a message is refused whose type does not fit, or about which a function of the author's raised this."""
    if isinstance(error, ValidationError):
        why = describe(error)
    else:
        why = f"{type(error).__name__}: {message_of(error)}; correct the message, or the function that raised it"
    return InputInvalid(f"process {process.name!r} cannot take this {accept.name!r}: {why}.")


def accept_of(process: AnyProcess, message: object, name: str | None) -> Accept:
    """The declaration that accepts this message, by its name or by the message's type. Raises InputInvalid."""
    accepts = process.accepts_messages
    if not accepts:
        raise InputInvalid(f"process {process.name!r} accepts no messages; declare one with accept().")
    known = ", ".join(sorted(accepts))
    if name is not None:
        if name not in accepts:
            raise InputInvalid(f"process {process.name!r} accepts no message {name!r}, only {known}; declare it with accept().")
        return accepts[name]
    fitting = [accept for accept in accepts.values() if isinstance(accept.message, type) and isinstance(message, accept.message)]
    if len(accepts) == 1:
        fitting = list(accepts.values())
    if len(fitting) != 1:
        raise InputInvalid(f"process {process.name!r} accepts {known}; say which with name=.")
    return fitting[0]


def _body_of(accept: Accept, message: object) -> tuple[str, Any]:
    """The stored form of a message, and what is read back from it. Raises ValidationError or ValueRefused if the process does not accept it."""
    adapter = adapter_of(accept.message)
    checked = adapter.validate_python(message)
    try:
        text = to_json(adapter.dump_python(checked, mode="json"), inf_nan_mode="constants").decode()
    except PydanticSerializationError as error:  # a lone surrogate, or nested too deep
        raise ValueRefused(f"message {accept.name!r}: it cannot be held as JSON ({error}).") from None
    value = None if "\\u0000" in text else adapter.validate_json(text)
    if value != checked or "\\u0000" in text:
        raise ValueRefused(f"message {accept.name!r}: it cannot be held as JSON; give it a shape that comes back equal.")
    flaw = zone_flaw(adapter, f"message {accept.name!r}", checked)
    if flaw is not None:
        raise ValueRefused(flaw)
    return text, value


def starts_next(process: AnyProcess, message: MessageRow) -> bool:
    """Whether a message that its case has not taken in can start a new case."""
    accept = process.accepts_messages.get(message.name)
    return accept is not None and accept.starts is not False


def passed(message: MessageRow, why: str) -> Event:
    """The event of a message that the case ignores."""
    return Event(Kind.MESSAGE_RECEIVED, message.name, facts={"message": message.id, "fields": [], "passed": why})


def _received_one(at: Moment, snapshot: Snapshot, message: MessageRow) -> _One:
    if message.name == PARENT_ENDED:
        return _One(Event(Kind.CANCELLED, facts=json.loads(message.body)), cancels=True)
    if message.name == CHILD_ENDED:
        return _child_ended(at, snapshot, message)
    accept = at.process.accepts_messages.get(message.name)
    try:
        cells = _written(at.process, snapshot, accept, message)
    except Exception as error:  # the author's function may raise anything
        return _One(passed(message, message_of(error)), MessageStatus.PASSED)
    if cells is None:
        return _One(passed(message, "it is older than the current one"), MessageStatus.PASSED)
    event = Event(Kind.MESSAGE_RECEIVED, message.name, facts={"message": message.id, "fields": list(cells)}, writes=cells)
    return _One(event, MessageStatus.LOGGED if accept is not None and accept.while_open == "append" else MessageStatus.TAKEN)


def _child_ended(at: Moment, snapshot: Snapshot, message: MessageRow) -> _One:
    """Take in the end of a child, if the case waits for that child."""
    end = json.loads(message.body)
    step = at.case.row.step
    child = at.process.steps.get(step or "")
    facts = {"child": end["case"], "status": end["status"], "fields": []}
    was_called_off = (end["status"], end["outcome"]) == (Status.CANCELLED, CALLED_OFF)
    if was_called_off or not isinstance(child, Child) or not end["key"].startswith(child_key(snapshot, child)):
        return _One(Event(Kind.CHILD_ENDED, step, facts=facts), MessageStatus.PASSED)
    event, park = child_end(at, child, end, at.case.ends.get(end["case"], {}))
    return _One(event, park=park)


def _result(process: AnyProcess, child: Child, end: Mapping[str, Any], fields: Mapping[str, FieldRow]) -> dict[str, Cell]:
    """The cell of a child's end: its result field as it stood at the end, or a `ChildEnd`. Raises ValueRefused."""
    [field] = child.writes
    value: object = ChildEnd(case=end["case"], status=end["status"], outcome=end["outcome"])
    if child.result is not None:
        if end["status"] != Status.DONE or child.result not in fields:
            raise ValueRefused(f"it is {end['status']} ({end['outcome']})")
        row = fields[child.result]
        value = codec_of(child.process.state).decode(child.result, row.text, row.writer).value
    return {field: codec_of(process.state).write(field, value, child.name)}


def _written(process: AnyProcess, snapshot: Snapshot, accept: Accept | None, message: MessageRow) -> dict[str, Cell] | None:
    """The cells of a message; None if the field already has a newer one."""
    if accept is None:
        raise ValueRefused(f"process {process.name!r} accepts no {message.name!r} any more")
    codec = codec_of(process.state)
    [field] = accept.writes
    value: Any = adapter_of(accept.message).validate_json(message.body)
    standing: Any = codec.value(snapshot.cells, field)
    if accept.while_open == "append":
        # An item at the end is added as one item; an item that arrives late rewrites the whole log.
        if accept.order is None or not standing or accept.order(standing[-1]) <= accept.order(value):
            return {field: codec.write(field, value, accept.name)}
        value = sorted([*codec.fresh(snapshot.cells, field), value], key=accept.order)
    elif accept.order is not None and standing is not None and accept.order(standing) > accept.order(value):
        return None
    return {field: codec.encode(field, value, accept.name)}
