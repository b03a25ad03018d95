"""A case as it was after one of its revisions, and what changed between two of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pointsman.errors import Refused, UnknownCase
from pointsman.kernel.events import Kind
from pointsman.kernel.rows import CaseRow, EventRow, FieldRow
from pointsman.kernel.snapshot import Status
from pointsman.operations.findings import short
from pointsman.operations.history import History, event_text
from pointsman.operations.redaction import HIDDEN_TEXT, Redacted, unredacted
from pointsman.operations.times import format_time
from pointsman.store.base import Dossier, Reader, WriteRow
from pointsman.store.states import state_from

_WAITS = frozenset({Kind.PAUSED, Kind.SLEEPING, Kind.CHILD_STARTED})
_SAYS_WHY: Mapping[Kind, tuple[Status, str]] = {
    Kind.PARKED: (Status.PARKED, "reason"),
    Kind.BLOCKED: (Status.BLOCKED, "reason"),
    Kind.CANCELLED: (Status.CANCELLED, "why"),
}
_LASTING = ("id", "process", "version", "key", "created_at", "tenant", "priority", "correlation", "parent")
_GOES_ON = frozenset({Kind.REDRIVEN, Kind.NODE_RETRIED, Kind.PERMIT_WAITED})


@dataclass(frozen=True, slots=True)
class Past:
    """A case as it was after the revision `case.revision`; it has `newest` revisions by now.

    `case` has what the events tell: status, step, rule, reason, outcome and version. They do not tell a case that is ready from one that runs, and `ready`
    stands for both. `fields` and `events` are those of then; `erased` is the event that erased the content since, or None.
    """

    case: CaseRow
    newest: int
    fields: tuple[FieldRow, ...]
    events: tuple[EventRow, ...]
    erased: EventRow | None = None

    def history(self) -> History:
        """The same as a history, without ledger, pause and branches: the events tell of them."""
        return History(self.case, self.fields, self.events, (), None)

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        row, history = self.case, self.history()
        told = {
            name: getattr(row, name) for name in ("id", "process", "version", "status", "revision", "step", "rule", "reason", "outcome")
        }
        return {**told, "at": row.updated_at, "newest": self.newest, "state": dict(history.state), "events": history.as_json()["events"]}


class Written(NamedTuple):
    """One write of a field, or its clearing: by which step, and the event that tells of it, if one does."""

    revision: int
    writer: str
    event: EventRow | None

    @property
    def text(self) -> str:
        """The write in words."""
        if self.event is None:
            return f"revision {self.revision}: by {self.writer or 'the start'}"
        return f"revision {self.revision}, {format_time(self.event.at)}: {self.event.kind} {event_text(self.event)}"


class FieldChange(NamedTuple):
    """A field that differs: its JSON `before` and `after` (None: no value), and the writes in between."""

    field: str
    before: str | None
    after: str | None
    writes: tuple[Written, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed in the case `case` after revision `since` up to revision `to`; it has `newest` revisions by now."""

    case: int
    since: int
    to: int
    newest: int
    changes: tuple[FieldChange, ...]
    erased: bool = False

    def lines(self) -> Iterator[str]:
        """The lines of a text for a person."""
        begin = f"revision {self.since}" if self.since else "its start"
        yield f"Case {self.case}, from {begin} to revision {self.to} (of {self.newest}):"
        if self.erased:
            yield "  its content was erased, and what its fields held is gone"
        elif not self.changes:
            yield "  no field differs"
        for change in self.changes:
            before, after = ("no value" if text is None else short(json.loads(text)) for text in (change.before, change.after))
            yield f"  {change.field}: {before} -> {after}"
            yield from (f"    {write.text}" for write in change.writes)

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "case": self.case,
            "since": self.since,
            "to": self.to,
            "newest": self.newest,
            "erased": self.erased,
            "changes": [
                {
                    "field": one.field,
                    "before": None if one.before is None else json.loads(one.before),
                    "after": None if one.after is None else json.loads(one.after),
                    "writes": [
                        {
                            "revision": write.revision,
                            "writer": write.writer,
                            "event": None if write.event is None else {**write.event._asdict(), "facts": json.loads(write.event.facts)},
                        }
                        for write in one.writes
                    ],
                }
                for one in self.changes
            ],
        }


async def past_of(reader: Reader, case: int, revision: int) -> Past:
    """Read a case as it was after a revision. Raises UnknownCase, and Refused if it has no such revision."""
    dossier = await _dossier(reader, case, revision)
    events = tuple(event for event in dossier.events if event.revision <= revision)
    row = dossier.case if revision == dossier.case.revision else standing_after_events(dossier.case, events)
    return Past(row._replace(revision=revision), dossier.case.revision, _state(dossier, revision), events, _erased(dossier))


async def difference_of(reader: Reader, case: int, since: int, to: int | None) -> Difference:
    """Compare a case after revision `since` (0: before its start) with it after revision `to` (None: the newest).

    Raises UnknownCase, and Refused if it has no such revision.
    """
    dossier = await _dossier(unredacted(reader), case, to)
    private = await reader.private_of(case) if isinstance(reader, Redacted) else frozenset[str]()
    events = await reader.events_of([case])
    last = dossier.case.revision if to is None else to
    if since >= last:
        raise Refused(f"revision {since} does not come before revision {last}; name the earlier one first.")
    before, after = ({row.field: row.text for row in _state(dossier, revision)} for revision in (since, last))
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    writes = [write for write in dossier.writes if since < write.revision <= last]
    changes = []
    for name in changed:
        old, new = (HIDDEN_TEXT if text is not None and name in private else text for text in (before.get(name), after.get(name)))
        changes.append(FieldChange(name, old, new, tuple(_written(write, events) for write in writes if write.field == name)))
    return Difference(case, since, last, dossier.case.revision, tuple(changes), _erased(dossier) is not None)


def standing_after_events(row: CaseRow, events: Sequence[EventRow]) -> CaseRow:
    """Where a case stood after these first events of its journal: the row as far as they tell it."""
    stood = CaseRow(**{name: getattr(row, name) for name in _LASTING})
    unblocked = stood
    for event in events:
        facts, kind = json.loads(event.facts), event.kind
        if kind == Kind.BLOCKED:
            unblocked = stood
        if kind == Kind.DECIDED:
            stood = stood._replace(status=Status.READY, step=facts["step"], rule=facts["rule"], reason=None)
        elif kind in _GOES_ON:
            stood = stood._replace(status=Status.READY, reason=None) if stood.status is not Status.WAITING else stood
        elif kind in _WAITS:
            stood = stood._replace(status=Status.WAITING)
        elif kind in _SAYS_WHY:
            status, why = _SAYS_WHY[Kind(kind)]
            stood = stood._replace(status=status, reason=facts[why])
        elif kind == Kind.FINISHED:
            stood = stood._replace(status=Status.DONE, outcome=facts["outcome"])
        elif kind == Kind.UNBLOCKED:
            stood = unblocked
        elif kind == Kind.ACCEPTED:
            stood = stood._replace(version=facts.get("version", row.version))
        elif kind == Kind.MIGRATED:
            stood = stood._replace(version=facts["to"])
        stood = stood._replace(updated_at=event.at)
    return stood


def refuse_without_past(reader: Reader) -> None:
    """Raise Refused for a mirror: it has no earlier values of fields."""
    if not reader.incarnation:
        raise Refused("this file is a mirror, which has only the last value of each field; look at the events, which are all there.")


async def _dossier(reader: Reader, case: int, revision: int | None) -> Dossier:
    refuse_without_past(reader)
    dossier = await reader.dossier(case)
    if dossier is None:
        raise UnknownCase(case)
    newest = dossier.case.revision
    if revision is not None and not 1 <= revision <= newest:
        raise Refused(f"case {case} has no revision {revision}; name one from 1 to {newest}.")
    return dossier


def _state(dossier: Dossier, revision: int) -> tuple[FieldRow, ...]:
    writes = [write for write in dossier.writes if write.revision <= revision]
    return state_from(sorted(writes, key=lambda write: (write.field, write.revision)))


def _erased(dossier: Dossier) -> EventRow | None:
    return next((event for event in reversed(dossier.events) if event.kind == Kind.ERASED), None)


def _written(write: WriteRow, events: Sequence[EventRow]) -> Written:
    """A write with the event of its revision that names the field."""
    told = [event for event in events if event.revision == write.revision and write.field in (json.loads(event.facts).get("fields") or ())]
    cleared = [event for event in told if event.kind == Kind.FIELD_CLEARED]
    own = [event for event in told if event.kind != Kind.FIELD_CLEARED and event.step in {write.writer, None}]
    found = (cleared if write.text is None else own) or told
    return Written(write.revision, write.writer, found[-1] if found else None)
