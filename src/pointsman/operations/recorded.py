"""The recorded decisions of a case, and the fields that the case had at each of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from pointsman.definition.process import AnyProcess
from pointsman.errors import StoreForeign, ValueRefused
from pointsman.kernel.codec import codec_of
from pointsman.kernel.events import Kind
from pointsman.kernel.hiding import leaves
from pointsman.kernel.migrate import migrate
from pointsman.kernel.record import record
from pointsman.kernel.rows import EventRow
from pointsman.kernel.snapshot import NULL, Cell, LogCell
from pointsman.store.base import WriteRow
from pointsman.store.states import state_from

COMPENSATES = "compensate("
"""How the name of a step begins that reverses effects."""


@record
class Recorded:
    """A decision as its event has it: the rule, the step, and the version of the case then.

    `follows` are the kinds of the events from there to the next decision. One that was `bound` was not made by the rules: a compensation that has
    begun is carried on, whatever they choose.
    """

    revision: int
    at: float
    rule: str
    step: str
    version: int
    follows: set[str]
    bound: bool


def recorded_of(events: Sequence[EventRow], version: int) -> list[Recorded]:
    """The decisions in the events of one case, in their order. `version` is the present one of the case."""
    version = next((json.loads(event.facts)["since"] for event in events if event.kind == Kind.MIGRATED), version)
    decisions: list[Recorded] = []
    for event in sorted(events, key=_revision):
        kind = event.kind
        last = decisions[-1] if decisions else None
        if kind == _DECIDED:
            rule, step, reads = _told(event.facts)
            bound = last is not None and step == last.step and not reads and step.startswith(COMPENSATES)
            decisions.append(Recorded(event.revision, event.at, rule, step, version, set(), bound))
        elif last is not None:
            last.follows.add(kind)
        if kind in _VERSIONS:
            version = json.loads(event.facts).get(_VERSIONS[kind], version)
    return decisions


class Past:
    """The fields of one case as a process reads them, at one revision after the other."""

    def __init__(self, process: AnyProcess, writes: Sequence[WriteRow]) -> None:
        """`writes` are ordered by revision."""
        self._process = process
        self._codec = codec_of(process.state)
        self._writes = writes
        self._taken = 0
        self._cells: dict[str, Cell] = {}
        self._unfit: dict[str, ValueRefused] = {}

    def at(self, revision: int, version: int) -> Mapping[str, Cell]:
        """The fields after a revision of the case, which then had this version. The revisions must rise.

        The mapping changes with the next call. Raises VersionNotAccepted if they cannot be migrated to the version of the process, ValueRefused if a
        value does not fit its field or a required input has none, and StoreForeign.
        """
        if version != self._process.version:
            return self._migrated(revision, version)
        while self._taken < len(self._writes) and self._writes[self._taken].revision <= revision:
            self._take(self._writes[self._taken])
            self._taken += 1
        for unfit in self._unfit.values():
            raise unfit
        return self._complete(self._cells)

    def private_texts(self) -> Iterator[str]:
        """The texts in the private fields of the case, of any time."""
        for write in self._writes:
            if write.field in self._process.private and write.text is not None:
                yield from leaves(json.loads(write.text))

    def _take(self, write: WriteRow) -> None:
        name = write.field
        if not self._codec.knows(name):
            return
        if write.text is None or (write.text == NULL and not write.appends):
            self._cells.pop(name, None)
            self._unfit.pop(name, None)
            return
        try:
            cell = self._codec.decode(name, write.text, self._process.called(write.writer))
        except ValueRefused as error:
            self._unfit[name] = error
            return
        if not write.appends:
            self._unfit.pop(name, None)
        elif isinstance(cell, LogCell) and isinstance(log := self._cells.get(name), LogCell):
            cell = LogCell([*log.value, *cell.value], (*log.parts, *cell.parts), cell.writer)
        self._cells[name] = cell

    def _migrated(self, revision: int, version: int) -> Mapping[str, Cell]:
        writes = [write for write in self._writes if write.revision <= revision]
        rows = state_from(sorted(writes, key=_field_and_revision))
        try:
            texts = migrate(self._process, version, {row.field: (row.text, row.writer) for row in rows}).fields
        except json.JSONDecodeError:
            raise StoreForeign("the database is damaged (a stored field is not JSON); restore it from a backup.") from None
        decoded = {
            name: self._codec.decode(name, text, self._process.called(writer))
            for name, (text, writer) in texts.items()
            if self._codec.knows(name)
        }
        return self._complete(decoded)

    def _complete(self, cells: Mapping[str, Cell]) -> Mapping[str, Cell]:
        missing = self._codec.missing(cells)
        if missing is not None:
            raise ValueRefused(f"field {missing!r} is a required input, and the case had no value for it")
        return cells


_DECIDED = str(Kind.DECIDED)
_VERSIONS = {str(Kind.ACCEPTED): "version", str(Kind.MIGRATED): "to"}
_revision = attrgetter("revision")
_field_and_revision = attrgetter("field", "revision")


@lru_cache(maxsize=4_096)  # as many as there are ways through the rules
def _told(facts: str) -> tuple[str, str, tuple[str, ...]]:
    """The rule, the step, and the fields that were read."""
    told: dict[str, Any] = json.loads(facts)
    return told["rule"], told["step"], tuple(told["reads"])
