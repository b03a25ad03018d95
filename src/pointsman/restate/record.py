"""The record of a case: everything durable about it, as one value that a virtual object keeps."""

import json
from collections import defaultdict
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pointsman.definition.effects import Effect
from pointsman.definition.messages import WhileOpen
from pointsman.definition.process import AnyProcess
from pointsman.kernel.case import Case, History, PastIntent, bare_case, loaded_case
from pointsman.kernel.events import Kind
from pointsman.kernel.machine import Plan
from pointsman.kernel.rows import (
    BranchRow,
    CaseRow,
    EffectRow,
    EventWrite,
    FieldRow,
    FieldWrite,
    MessageRow,
    PauseRow,
    Transition,
)
from pointsman.store.base import WriteRow
from pointsman.store.states import state_from

PAUSES_MAX = 20  # the latest pauses of a case: so far back an answer that comes late is told who answered


class Permitted(NamedTuple):
    """What the object of a limit answered: a permit, with the `state` of the limit, or `why` there is none and in how many `seconds` there may be one."""

    limit: str
    holder: str
    granted: bool
    state: str | None = None
    why: str | None = None
    seconds: float = 0.0


class Refusing(NamedTuple):
    """Why a caller is refused: the name of the error, and its message."""

    error: str
    message: str


class Message(NamedTuple):
    """A message from outside. `texts` are the JSON of the fields of a case that starts with it, or None if it starts none."""

    process: str
    name: str
    body: str
    at: float
    while_open: WhileOpen
    tenant: str = ""
    correlation: str | None = None
    key: str | None = None
    texts: dict[str, str] | None = None
    priority: int = 0


@dataclass(slots=True)
class Record:
    """A case between two invocations. `seed` is what its number was computed from.

    `intents` and `written` are the case's `History`. `ends` has the fields of children whose end is among the messages. A child's `home` is the key of
    its parent's object, and `result` the field that the parent takes. `arrived` counts the messages that came, and `came` has those that are in the inbox.
    """

    row: CaseRow
    incarnation: str
    seed: str
    fields: dict[str, FieldRow] = field(default_factory=dict)
    branches: tuple[BranchRow, ...] = ()
    ledger: tuple[EffectRow, ...] = ()
    pauses: tuple[PauseRow, ...] = ()
    messages: tuple[MessageRow, ...] = ()
    ends: dict[int, dict[str, FieldRow]] = field(default_factory=dict)
    children: tuple[CaseRow, ...] = ()
    intents: dict[str, PastIntent] = field(default_factory=dict)
    written: dict[str, tuple[str, ...]] = field(default_factory=dict)
    home: str = ""
    result: str = ""
    arrived: int = 0
    came: dict[int, Message] = field(default_factory=dict)

    @property
    def pause(self) -> PauseRow | None:
        """The open pause."""
        return self.pauses[-1] if self.pauses and self.pauses[-1].closed is None else None

    @property
    def history(self) -> History:
        """The past of the case."""
        return History(self.intents, {key: frozenset(names) for key, names in self.written.items()})

    def case(self, process: AnyProcess, corrected: Mapping[str, object] | None = None) -> Case:
        """The case, as one of this version of the process. Raises VersionNotAccepted and ValueRefused."""
        fields = tuple(self.fields.values())
        return self._complete(
            loaded_case(process, self.row, fields, self.branches, corrected=(corrected or {}).keys(), incarnation=self.incarnation)
        )

    def bare(self, process: AnyProcess) -> Case:
        """The case without its fields."""
        return self._complete(replace(bare_case(process, self.row, self.incarnation), branches={row.name: row for row in self.branches}))

    def _complete(self, case: Case) -> Case:
        return replace(
            case, ledger={entry.key: entry for entry in self.ledger}, pause=self.pause, messages=self.messages, ends=self.ends,
            children=self.children,
        )  # fmt: skip

    def after(self, process: AnyProcess, plan: Plan) -> "Record":
        """The record after a plan's transition."""
        t, case = plan.transition, plan.case
        assert t is not None
        after = copy(self)
        after.row, after.messages, after.children = case.row, case.messages, case.children
        after.branches, after.ledger = tuple(case.branches.values()), tuple(case.ledger.values())
        after.fields, after.pauses = _fields_after(self.fields, t), _pauses_after(self.pauses, t, case.pause)
        after.intents, after.written = self._history_after(process, t, after.fields)
        if t.takes:
            after.ends, after.came = {}, {}
        return after

    def _history_after(
        self, process: AnyProcess, t: Transition, fields: Mapping[str, FieldRow]
    ) -> tuple[dict[str, PastIntent], dict[str, tuple[str, ...]]]:
        intents, written = self.intents, self.written
        for event in t.events:
            if event.kind == Kind.EFFECT_INTENDED and (key := json.loads(event.facts)["key"]) not in intents:
                step = process.steps.get(process.called(event.step or ""))
                kept = tuple(fields.values()) if isinstance(step, Effect) and step.undo is not None else ()
                intents = {**intents, key: PastIntent(len(intents), t.migrated or self.row.version, kept)}
            elif event.kind == Kind.EFFECT_SETTLED:
                facts = json.loads(event.facts)
                written = {**written, facts["key"]: (*written.get(facts["key"], ()), *facts["fields"])}
        return intents, written


def _fields_after(fields: Mapping[str, FieldRow], t: Transition) -> dict[str, FieldRow]:
    """The fields after the writes of a transition, as a store keeps them."""
    if not t.fields:
        return dict(fields)
    revision = t.revision + 1
    writes: dict[str, list[FieldWrite]] = defaultdict(list)
    for write in t.fields:
        writes[write.field].append(write)
    after = dict(fields)
    for name, of_field in writes.items():
        before = after.pop(name, None)
        rows = [] if before is None else [WriteRow(before.revision, name, before.text, before.writer)]
        rows += [WriteRow(revision, *write) for write in of_field]
        after |= {row.field: row for row in state_from(rows)}
    return after


def _pauses_after(pauses: tuple[PauseRow, ...], t: Transition, now_open: PauseRow | None) -> tuple[PauseRow, ...]:
    """The pauses after a transition, which may close the open one, change it and open another one."""
    if pauses and pauses[-1].closed is None:
        *earlier, last = pauses
        if t.leaves_pause:
            how = "void" if t.answered_by is None else "answered"
            last = last._replace(closed=how, closed_by=t.answered_by, closed_at=t.at)
        elif now_open is not None:
            last = now_open
        pauses = (*earlier, last)
    return pauses if t.pause is None or now_open is None else (*pauses[-PAUSES_MAX:], now_open)


@dataclass(frozen=True, slots=True)
class Stamped:
    """The events of one transition."""

    revision: int
    at: float
    events: tuple[EventWrite, ...]
