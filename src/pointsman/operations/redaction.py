"""Redaction: a reader that shows HIDDEN in place of what is private. Whoever may not see private values reads through it."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pointsman.kernel.events import Kind
from pointsman.kernel.hiding import HIDDEN
from pointsman.kernel.rows import BranchRow, EffectRow, EventRow, FieldRow, MessageRow
from pointsman.store.base import Dossier, PrivateField, Reader, WriteRow

HIDDEN_TEXT = json.dumps(HIDDEN)
"""HIDDEN as the stored text of a field."""

OPEN = frozenset({
    "incarnation", "case", "case_by_key", "pause", "pause_by_token", "children", "usage_of_case", "usage_of_days", "blob", "engines", "limits",
    "cases", "open_cases", "versions", "cases_of_version", "definitions", "private", "find", "counts", "count_places", "cases_of",
    "count_waiting", "backlog", "intake_paused", "gaps",
})  # fmt: skip
"""What a reader reads without a private value. Names, keys and reasons are not private; the content of a blob is read by who knows its digest."""

Private = Mapping[str, frozenset[str]]


class Redacted:
    """A reader that hides the values of private fields, and what was made of them, from whoever reads through it."""

    def __init__(self, reader: Reader, private: Private) -> None:
        self.reader = reader
        self.hides = private
        self._processes: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        """What is not private is read as it is."""
        if name in OPEN:
            return getattr(self.reader, name)
        raise AttributeError(f"{name!r} is not known to have no private values; redact it.")

    async def private_of(self, case: int) -> frozenset[str]:
        """The private fields of a case. Of one that is gone, those of all processes."""
        await self._look([case])
        return self._of(case)

    async def fields(self, case: int, *, revision: int | None = None) -> tuple[FieldRow, ...]:
        """The fields of a case."""
        return _fields(await self.reader.fields(case, revision=revision), await self.private_of(case))

    async def fields_of(self, cases: Collection[int], names: Collection[str]) -> dict[int, tuple[FieldRow, ...]]:
        """Some fields of some cases."""
        await self._look(cases)
        return {case: _fields(rows, self._of(case)) for case, rows in (await self.reader.fields_of(cases, names)).items()}

    async def writes_of(self, cases: Collection[int]) -> dict[int, tuple[WriteRow, ...]]:
        """The writes of the fields of some cases."""
        await self._look(cases)
        return {case: _writes(rows, self._of(case)) for case, rows in (await self.reader.writes_of(cases)).items()}

    async def events(self, *, after: str = "", case: int | None = None, limit: int = 1_000) -> list[EventRow]:
        """Events in the order of their commits."""
        return await self.of_events(await self.reader.events(after=after, case=case, limit=limit))

    async def events_of(self, cases: Sequence[int]) -> list[EventRow]:
        """The events of some cases."""
        return await self.of_events(await self.reader.events_of(cases))

    async def newest_events(self, *, limit: int) -> list[EventRow]:
        """The newest events."""
        return await self.of_events(await self.reader.newest_events(limit=limit))

    async def of_events(self, events: Sequence[EventRow]) -> list[EventRow]:
        """These events without what is private."""
        await self._look({event.case for event in events if event.kind in _TELLING})
        return [_event(event) if event.kind in _TELLING and self._of(event.case) else event for event in events]

    async def effect(self, key: str) -> EffectRow | None:
        """The entry of the ledger with this key."""
        entry = await self.reader.effect(key)
        return None if entry is None else (await self._effects([entry]))[0]

    async def effects(self, case: int) -> list[EffectRow]:
        """The ledger of a case."""
        return await self._effects(await self.reader.effects(case))

    async def effects_of(self, cases: Collection[int]) -> list[EffectRow]:
        """The ledgers of some cases."""
        return await self._effects(await self.reader.effects_of(cases))

    async def in_doubt(self) -> list[EffectRow]:
        """The effects in doubt."""
        return await self._effects(await self.reader.in_doubt())

    async def branches(self, case: int) -> tuple[BranchRow, ...]:
        """The branches of a case."""
        return _branches(await self.reader.branches(case), await self.private_of(case))

    async def messages(self, case: int) -> tuple[MessageRow, ...]:
        """The pending messages of a case."""
        return tuple(self._messages(await self.reader.messages(case)))

    async def held(self, *, after: int = 0, limit: int = 1_000) -> list[MessageRow]:
        """Held messages whose case has ended."""
        return self._messages(await self.reader.held(after=after, limit=limit))

    async def unmatched(self, *, limit: int = 1_000) -> list[MessageRow]:
        """Messages that match no case."""
        return self._messages(await self.reader.unmatched(limit=limit))

    async def dossier(self, case: int) -> Dossier | None:
        """Everything stored about a case, without what is private."""
        stored = await self.reader.dossier(case)
        if stored is None:
            return None
        private = await self.private_of(case)
        return stored._replace(
            writes=_writes(stored.writes, private),
            events=tuple(await self.of_events(stored.events)),
            effects=tuple(await self._effects(stored.effects)),
            messages=tuple(self._messages(stored.messages)),
            branches=_branches(stored.branches, private),
        )

    async def _look(self, cases: Iterable[int]) -> None:
        """Find out of which process these cases are."""
        unknown = [case for case in cases if case not in self._processes]
        if unknown:
            self._processes |= {row.id: row.process for row in await self.reader.cases_of(unknown)}

    def _of(self, case: int) -> frozenset[str]:
        process = self._processes.get(case)
        return frozenset().union(*self.hides.values()) if process is None else self.hides.get(process, frozenset())

    async def _effects(self, effects: Sequence[EffectRow]) -> list[EffectRow]:
        await self._look({effect.case for effect in effects})
        return [effect._replace(outcome=_outcome(effect.outcome, self._of(effect.case))) for effect in effects]

    def _messages(self, messages: Sequence[MessageRow]) -> list[MessageRow]:
        return [message._replace(body=HIDDEN_TEXT) if self.hides.get(message.process) else message for message in messages]


async def redacted(reader: Reader) -> Reader:
    """A reader that hides what is private. It is the reader itself if nothing is private in the database, or if it hides already."""
    if isinstance(reader, Redacted):
        return reader
    private = private_fields(await reader.private())
    return Redacted(reader, private) if private else reader


def private_fields(private: Iterable[PrivateField]) -> Private:
    """The private fields of each process."""
    named: dict[str, frozenset[str]] = {}
    for process, field in private:
        named[process] = named.get(process, frozenset()) | {field}
    return named


def unredacted(reader: Reader) -> Reader:
    """The reader that a redaction reads from: for what is computed from all values, and shows none."""
    return reader.reader if isinstance(reader, Redacted) else reader


_TELLING = {Kind.NODE_SUCCEEDED, Kind.NODE_FAILED, Kind.NODE_LATE, Kind.GUARD_VIOLATED, Kind.EFFECT_SETTLED}
"""The kinds of events with facts that a model or a guard has written. What errors say was made without private texts."""


def _event(event: EventRow) -> EventRow:
    """An event without what a model answered, what a guard said of it, and what came too late."""
    facts = json.loads(event.facts)
    facts |= {name: HIDDEN for name in ("raw", "result") if facts.get(name)}
    if "violations" in facts:
        facts["violations"] = [{**one, "message": HIDDEN} for one in facts["violations"]]
    return event._replace(facts=json.dumps(facts))


def _fields(rows: Iterable[FieldRow], private: Collection[str]) -> tuple[FieldRow, ...]:
    return tuple(row._replace(text=HIDDEN_TEXT) if row.field in private else row for row in rows)


def _writes(rows: Iterable[WriteRow], private: Collection[str]) -> tuple[WriteRow, ...]:
    return tuple(_write(row) if row.field in private else row for row in rows)


def _write(write: WriteRow) -> WriteRow:
    if write.text is None:
        return write
    return write._replace(text=json.dumps([HIDDEN]) if write.text.startswith("[") else HIDDEN_TEXT)  # the items of a log may follow


def _outcome(text: str | None, private: Collection[str]) -> str | None:
    """A stored outcome: JSON per field."""
    outcome = json.loads(text) if text and private else None
    if not isinstance(outcome, dict):
        return text
    return json.dumps({name: HIDDEN_TEXT if name in private else value for name, value in outcome.items()})


def _branches(rows: Iterable[BranchRow], private: Collection[str]) -> tuple[BranchRow, ...]:
    return tuple(row._replace(outcome=_outcome(row.outcome, private), guard=_guard(row.guard)) if private else row for row in rows)


def _guard(text: str | None) -> str | None:
    """The progress of a guard, without what it rejected and why."""
    if text is None:
        return None
    progress = json.loads(text)
    said = [{**one, "message": HIDDEN} for one in progress.get("violations", ())]
    return json.dumps({**progress, "violations": said, "rejected": ""})
