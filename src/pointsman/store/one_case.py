"""A store of one case that is a value: for a host that keeps each case as one record, such as a virtual object.

The host makes a store from the record, has a part of the engine do something with the case, and keeps the record that the store has then.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from pointsman.errors import ValueRefused
from pointsman.kernel.case import Case, History, PastIntent, committed
from pointsman.kernel.events import Kind
from pointsman.kernel.messages import CHILD_ENDED
from pointsman.kernel.rows import (
    BranchRow,
    CaseRow,
    EffectRow,
    EventWrite,
    FieldRow,
    MessageRow,
    MessageStatus,
    PauseRow,
    Post,
    Transition,
    UsageWrite,
)
from pointsman.kernel.snapshot import Snapshot, Status
from pointsman.store.base import Claimed, WriteRow
from pointsman.store.states import state_from

_SLEEPS = frozenset({Status.WAITING, Status.PARKED})
_AT_ANY_SIZE = frozenset({Status.PARKED, Status.BLOCKED, Status.CANCELLED})  # so that a case whose record is too large can stop
PAUSES_MAX = 20  # the latest pauses of a case: so far back an answer that comes late is told who answered


@dataclass(slots=True)
class CaseRecord:
    """A case at rest. `ends` has the fields of children whose end is among the messages; `intents` and `written` are its `History`."""

    row: CaseRow
    incarnation: str
    fields: dict[str, FieldRow] = field(default_factory=dict)
    branches: tuple[BranchRow, ...] = ()
    ledger: tuple[EffectRow, ...] = ()
    pauses: tuple[PauseRow, ...] = ()
    messages: tuple[MessageRow, ...] = ()
    ends: dict[int, dict[str, FieldRow]] = field(default_factory=dict)
    children: tuple[CaseRow, ...] = ()
    intents: dict[str, PastIntent] = field(default_factory=dict)
    written: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def pause(self) -> PauseRow | None:
        """The open pause."""
        return self.pauses[-1] if self.pauses and self.pauses[-1].closed is None else None

    @property
    def history(self) -> History:
        """The past of the case."""
        return History(self.intents, {key: frozenset(names) for key, names in self.written.items()})

    def remember(self, t: Transition, undone: Callable[[str], bool]) -> None:
        """Add the effects of a transition, which this record is after, to the history, with all fields for an effect that may be `undone`."""
        for event in t.events:
            if event.kind == Kind.EFFECT_INTENDED and (key := json.loads(event.facts)["key"]) not in self.intents:
                kept = tuple(self.fields.values()) if undone(event.step or "") else ()
                self.intents = {**self.intents, key: PastIntent(len(self.intents), self.row.version, kept)}
            elif event.kind == Kind.EFFECT_SETTLED:
                facts = json.loads(event.facts)
                self.written = {**self.written, facts["key"]: (*self.written.get(facts["key"], ()), *facts["fields"])}


R = TypeVar("R", bound=CaseRecord)


def after(record: R, t: Transition) -> R:
    """The record after a transition."""
    row, changed = record.row, copy(record)
    branches, ledger = {branch.name: branch for branch in record.branches}, {entry.key: entry for entry in record.ledger}
    snapshot = Snapshot(row.id, {}, row.revision, row.steps)
    case = committed(Case(row, snapshot, branches, ledger, record.pause, record.messages, record.children), t, snapshot)
    changed.row = case.row._replace(inbox=len(case.messages)) if case.messages else case.row
    changed.branches, changed.ledger = tuple(case.branches.values()), tuple(case.ledger.values())
    changed.messages, changed.children = case.messages, case.children
    changed.fields, changed.pauses = _fields_after(record.fields, t), _pauses_after(record.pauses, t, case.pause)
    if t.takes:
        changed.ends = {}
    return changed


def _fields_after(fields: Mapping[str, FieldRow], t: Transition) -> dict[str, FieldRow]:
    """The fields after the writes of a transition, as every store keeps them."""
    changed = dict(fields)
    for write in t.fields:
        name, before = write.field, changed.pop(write.field, None)
        if write.appends and before is not None:
            whole = WriteRow(before.revision, name, before.text, before.writer)
            [changed[name]] = state_from([whole, WriteRow(t.revision + 1, *write)])
        elif write.text is not None:
            changed[name] = FieldRow(name, write.text, write.writer, t.revision + 1)
    return changed


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


class OneCase(Generic[R]):
    """What the loader, the runner and the commands for one case need of a store. It has no leases, and no other case but the children.

    Nobody else changes the case meanwhile: the host sees to that. So a commit is refused only if the record would have a `size` of more than `size_max`.
    `undone` says of an effect whether it may be taken back.
    """

    lease_seconds = None

    def __init__(self, record: R, *, size: Callable[[R], int] = lambda _: 0, size_max: int = 0) -> None:
        self.record = record
        self._size, self._size_max = size, size_max
        self.incarnation = record.incarnation
        self.undone: Callable[[str], bool] = lambda _: False
        self._fields_of: dict[int, Mapping[str, FieldRow]] = {}

    def claim(self) -> Claimed:
        """Claim the case, as a store does (S5)."""
        row = self.record.row
        row = row._replace(status=Status.RUNNING, fence=row.fence + 1, attempts=row.attempts + 1, wake_at=None)
        self.record = replace(self.record, row=row)
        return Claimed(row, tuple(self.record.fields.values()), self.record.branches)

    def recover(self, now: float) -> None:
        """Record that the host died while it ran the case: it is ready, the attempt does not count, and an effect that was being called is in doubt (S5)."""
        row = self.record.row
        attempts = row.attempts - (row.status is Status.RUNNING and row.attempts > 0)
        # The claim may be lost, and a call of it may still run under its permit: the next claim must not have the same fence.
        row = row._replace(status=Status.READY, wake_at=now, interruptions=row.interruptions + 1, attempts=attempts, fence=row.fence + 1)
        self.record = replace(self.record, row=row)

    def take_in(self, post: Post, number: int, now: float, fields: Mapping[str, FieldRow]) -> bool:
        """Put a message into the inbox, with the `fields` of a child that ended. Return whether it wakes the case (S10)."""
        record, row = self.record, self.record.row
        wakes = row.status in _SLEEPS or (row.status is Status.READY and post.while_open == "supersede")
        row = row._replace(inbox=row.inbox + 1)
        message = MessageRow._make((
            number, row.process, post.name, post.key, post.to.correlation, row.id, MessageStatus.PENDING, post.body, post.at, row.tenant
        ))  # fmt: skip
        ends = {**record.ends, json.loads(post.body)["case"]: dict(fields)} if post.name == CHILD_ENDED else record.ends
        row = row._replace(status=Status.READY, wake_at=now) if wakes else row
        self.record = replace(record, row=row, messages=(*record.messages, message), ends=ends)
        return wakes

    async def commit(self, transition: Transition) -> int:
        """Change the record. Raises ValueRefused if it would be too large."""
        record = after(self.record, transition)
        record.remember(transition, self.undone)
        if transition.status not in _AT_ANY_SIZE and (size := self._size(record)) > self._size_max:
            raise ValueRefused(
                f"the record of the case would have {size:,} bytes, of {self._size_max:,} at most; keep large values as blobs."
            )
        self.record = record
        return transition.case

    async def append(self, case: int, events: Sequence[EventWrite], *, at: float, usage: Sequence[UsageWrite] = ()) -> None:
        """Do nothing: the result of a call that nobody waits for any more is not kept."""

    def has_started(self, child: CaseRow, fields: Mapping[str, FieldRow]) -> None:
        """Note a child that the case has started, with those of its fields that the case may take."""
        self.record.children = (*(one for one in self.record.children if one.id != child.id), child)
        self._fields_of[child.id] = fields

    async def case(self, case: int) -> CaseRow | None:
        """The row of the case, or of a child as it was when it started."""
        return next((row for row in (self.record.row, *self.record.children) if row.id == case), None)

    async def fields(self, case: int, *, revision: int | None = None) -> tuple[FieldRow, ...]:  # noqa: ARG002 - of the last revision
        """The fields of the case, or of a child that has ended."""
        record = self.record
        fields = record.fields if case == record.row.id else self._fields_of.get(case, record.ends.get(case, {}))
        return tuple(fields.values())

    async def branches(self, case: int) -> tuple[BranchRow, ...]:  # noqa: ARG002 - there is one
        """The branches of the case's parallel step."""
        return self.record.branches

    async def effects(self, case: int) -> list[EffectRow]:  # noqa: ARG002
        """The ledger."""
        return [*self.record.ledger]

    async def effect(self, key: str) -> EffectRow | None:
        """The ledger's entry for an idempotency key, or None."""
        return next((entry for entry in self.record.ledger if entry.key == key), None)

    async def pause(self, case: int) -> PauseRow | None:  # noqa: ARG002
        """The last pause, open or closed, or None."""
        return self.record.pauses[-1] if self.record.pauses else None

    async def pause_by_token(self, token: str) -> PauseRow | None:
        """The pause with this token, or None."""
        return next((pause for pause in self.record.pauses if pause.token == token), None)

    async def messages(self, case: int) -> tuple[MessageRow, ...]:  # noqa: ARG002
        """The pending messages, in the order of arrival."""
        return self.record.messages

    async def children(self, case: int) -> list[CaseRow]:  # noqa: ARG002
        """The children that the case has started at this step."""
        return [*self.record.children]

    async def announced(self) -> Collection[tuple[str, int]]:
        """Nothing: other programs that serve the case are not known."""
        return ()
