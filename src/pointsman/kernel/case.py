"""A case as the machine sees it: everything durable about it, and how its values are read and written."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from pointsman.definition.nodes import AnyNode
from pointsman.definition.process import AnyProcess
from pointsman.definition.state import Failure
from pointsman.errors import ValueRefused, VersionNotAccepted
from pointsman.kernel.codec import codec_of, message_of
from pointsman.kernel.evidence import error_name
from pointsman.kernel.hiding import hiding, leaves
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.migrate import Migrated, migrate
from pointsman.kernel.record import record
from pointsman.kernel.rows import (
    BranchRow,
    CaseRow,
    EffectRow,
    FieldRow,
    Intent,
    MessageRow,
    NewCase,
    PauseRow,
    Settlement,
    Transition,
)
from pointsman.kernel.snapshot import Cell, Snapshot

UNFIT = "give the field a default or a type that takes what is stored, or raise version= and convert it in accepts="
"""What to do about code that does not fit the fields of its open cases."""

UNKNOWN = frozenset({EffectStatus.INTENDED, EffectStatus.IN_DOUBT})
"""The statuses of an effect whose outcome is unknown."""

_NONE: Mapping[Any, Any] = MappingProxyType({})


class PastIntent(NamedTuple):
    """The first intent of an effect: its position among the intents of its case, and the version and the fields of the case then."""

    position: int
    version: int
    fields: tuple[FieldRow, ...]


@dataclass(frozen=True, slots=True)
class History:
    """The past of a case, which is read only when a step needs it.

    `intents` has the first intent for each idempotency key; `written` the fields to which the outcome of each key was written.
    """

    intents: Mapping[str, PastIntent]
    written: Mapping[str, frozenset[str]]


@record
class Case:
    """Everything durable about one case. A claim loads it whole; a commit leaves a new one.

    `ledger` holds the case's effects by key, `pause` its open pause, `messages` what is pending for it, `children` the cases
    that it started, and `ends` the fields of children whose end is among the messages. `history` is None until a step asks
    for it. `migrated` is what was done to the fields since they were read; the next commit writes it. `incarnation` is that
    of the store, which is part of each idempotency key. A case that is not `whole` was loaded without its fields.
    """

    row: CaseRow
    snapshot: Snapshot
    branches: Mapping[str, BranchRow] = field(default_factory=lambda: _NONE)
    ledger: Mapping[str, EffectRow] = field(default_factory=lambda: _NONE)
    pause: PauseRow | None = None
    messages: tuple[MessageRow, ...] = ()
    children: tuple[CaseRow, ...] = ()
    ends: Mapping[int, Mapping[str, FieldRow]] = field(default_factory=lambda: _NONE)
    history: History | None = None
    migrated: Migrated | None = None
    incarnation: str = ""
    whole: bool = True

    @property
    def unsettled(self) -> set[str]:
        """The keys of effects whose outcome is unknown."""
        return {key for key, entry in self.ledger.items() if entry.status in UNKNOWN} if self.ledger else set()

    def with_cells(self, cells: Mapping[str, Cell]) -> "Case":
        """The same case with these fields."""
        return replace(self, snapshot=replace(self.snapshot, cells=cells))

    def having(self, messages: tuple[MessageRow, ...], ends: Mapping[int, Mapping[str, FieldRow]] = _NONE) -> "Case":
        """The same case with these pending messages."""
        return replace(self, messages=messages, ends=ends)


def new_case(number: int, new: NewCase, now: float, incarnation: str) -> Case:
    """A case before its start."""
    row = CaseRow(
        number, new.process, new.version, new.key, created_at=now, updated_at=now, tenant=new.tenant, priority=new.priority,
        correlation=new.correlation, parent=new.parent,
    )  # fmt: skip
    return Case(row, Snapshot(number, {}), incarnation=incarnation)


def bare_case(process: AnyProcess, row: CaseRow, incarnation: str = "") -> Case:
    """A stored case for a transition that does not look at its fields."""
    step = None if row.step is None else process.called(row.step)
    return Case(row._replace(step=step), Snapshot(row.id, {}, row.revision, row.steps), incarnation=incarnation, whole=False)


def loaded_case(
    process: AnyProcess, row: CaseRow, fields: Sequence[FieldRow], branches: Sequence[BranchRow] = (), *,
    cells: Mapping[str, Cell] | None = None, corrected: Collection[str] = (), incarnation: str = "",
) -> Case:  # fmt: skip
    """A stored case, as a case of this version of the process. With `cells` its fields are known already.

    Raises VersionNotAccepted where it cannot be brought to that version, ValueRefused where a stored value no longer fits its field or a
    required input has none. Fields that are about to be `corrected` need not fit.
    """
    migrated = None
    if row.version != process.version:
        migrated = migrate(process, row.version, {row.field: (row.text, row.writer) for row in fields})
        fields = [FieldRow(name, text, writer, row.revision) for name, (text, writer) in migrated.fields.items()]
    try:
        if cells is None:
            with hiding(partial(_private_texts, process, fields)):
                cells = _sound_cells(process, fields, corrected)
    except ValueRefused as error:
        if migrated is None:
            raise ValueRefused(f"{error}; {UNFIT}") from None
        problem = f"version {row.version} of {process.name!r} cannot be migrated to version {process.version}"
        raise VersionNotAccepted(f"{problem}: {error}; migrate it with accepts=") from None
    case = bare_case(process, row, incarnation)
    snapshot = replace(case.snapshot, cells=cells)
    return replace(case, snapshot=snapshot, whole=True, migrated=migrated, branches=_present_branches(process, branches, migrated))


def _private_texts(process: AnyProcess, fields: Sequence[FieldRow]) -> Iterator[str]:
    for row in fields:
        if row.field in process.private:
            yield from leaves(json.loads(row.text))


def _present_branches(process: AnyProcess, rows: Sequence[BranchRow], migrated: Migrated | None) -> dict[str, BranchRow]:
    """The branches under their present names. A row under a former name is used if there is none under the present name."""
    branches: dict[str, BranchRow] = {}
    for row in sorted(rows, key=lambda row: process.called(row.name) == row.name):
        name = process.called(row.name)
        # A migration does not convert the result of a branch, so the branch runs again.
        outdated = migrated is not None and migrated.changes and (row.outcome or row.failure) is not None
        branches[name] = BranchRow(name) if outdated else row._replace(name=name)
    return branches


def _sound_cells(process: AnyProcess, fields: Sequence[FieldRow], corrected: Collection[str]) -> dict[str, Cell]:
    """Decode stored fields. Raises ValueRefused, also if a required field is missing. What is to be `corrected` and does not fit has no value."""
    cells = cells_of(process, [row for row in fields if row.field not in corrected])
    for row in fields:
        if row.field in corrected:
            try:
                cells |= cells_of(process, [row])
            except ValueRefused:
                cells[row.field] = Cell(None, row.text, process.called(row.writer))
    missing = codec_of(process.state).missing({*cells, *corrected})
    if missing is not None:
        erased = "; its content was erased" if not fields and not corrected else ""
        raise ValueRefused(f"field {missing!r} is a required input, and the case has no value for it{erased}")
    return cells


def cells_of(process: AnyProcess, fields: Sequence[FieldRow]) -> dict[str, Cell]:
    """Decode stored fields. Fields that the state no longer has stay in the store and are left out here."""
    codec = codec_of(process.state)
    return {row.field: codec.decode(row.field, row.text, process.called(row.writer)) for row in fields if codec.knows(row.field)}


def encode(process: AnyProcess, node: AnyNode, values: Mapping[str, object], *, place: str | None = None) -> dict[str, Cell]:
    """Check what a step returned and convert it to cells; with a `place` they are entries of fields. Raises ValueRefused.

    An entry that is a cell already was checked and converted by its node.
    """
    codec = codec_of(process.state)
    cells = {}
    for name, value in values.items():
        if place is None:
            cells[name] = codec.write(name, value, node.name)
        else:
            cells[name] = value if isinstance(value, Cell) else codec.encode_entry(name, place, value, node.name)
    return cells


def failure_cells(process: AnyProcess, node: AnyNode, error: BaseException, attempts: int) -> dict[str, Cell]:
    """A `Failure` for each field that the step would have written."""
    failure = Failure(step=node.name, error=error_name(error), message=message_of(error), attempts=attempts)
    return encode(process, node, dict.fromkeys(node.writes, failure))


def outcome_text(cells: Mapping[str, Cell]) -> str:
    """The stored form of what a step wrote, for the ledger and the branches: JSON per field."""
    return json.dumps({name: cell.text for name, cell in cells.items()})


def cells_from(process: AnyProcess, text: str, writer: str) -> dict[str, Cell]:
    """Read `outcome_text` back. Raises ValueRefused if a value no longer fits its field."""
    codec = codec_of(process.state)
    stored: dict[str, Any] = json.loads(text)
    unknown = [name for name in stored if not codec.knows(name)]
    if unknown:
        raise ValueRefused(f"the stored outcome of {writer!r} is for field {unknown[0]!r}, which the state no longer has")
    return {name: codec.written(name, value, writer) for name, value in stored.items()}


def committed(case: Case, t: Transition, snapshot: Snapshot) -> Case:
    """The case after its transition was committed; `snapshot` has its fields then."""
    row = case.row
    after = CaseRow(
        t.case, row.process, t.migrated or row.version, row.key, t.status, t.revision + 1, t.fence + t.claims, t.wake_at, t.attempts, t.steps,
        t.step, t.rule, t.reason, t.outcome, row.created_at if row.revision else t.at, t.at, row.tenant, row.priority, row.correlation, row.parent, 0,
        t.needs, t.interruptions,
    )  # fmt: skip
    branches = case.branches
    if t.ends_branches or t.step != row.step:
        branches = _NONE
    elif t.branches:
        branches = {**branches, **{row.name: row for row in t.branches}}
    messages = case.messages
    if t.takes:
        taken = {number for number, _ in t.takes}
        messages = tuple(message for message in messages if message.id not in taken)
    ledger = case.ledger if t.intent is None and t.settlement is None else ledger_after(case, t)
    pause = case.pause if t.pause is None and case.pause is None else _pause_after(case.pause, t)
    children, history = (case.children, case.history) if t.step == row.step else ((), None)
    if snapshot.revision == t.revision:  # the fields stay as they were
        snapshot = Snapshot(snapshot.case, snapshot.cells, t.revision + 1, snapshot.steps, snapshot.turning)
    return Case(after, snapshot, branches, ledger, pause, messages, children, _NONE, history, None, case.incarnation, case.whole)


def ledger_after(case: Case, t: Transition) -> Mapping[str, EffectRow]:
    """The ledger after a transition, as the store writes it."""
    ledger = dict(case.ledger)
    entry = None if t.settlement is None else ledger.get(t.settlement.key)
    if t.settlement is not None and entry is not None and (entry.status is not EffectStatus.DONE or entry.outcome is None):
        ledger[entry.key] = _settled_row(entry, t.settlement)
    if t.intent is not None:
        ledger[t.intent.key] = _intended_row(ledger.get(t.intent.key), t.intent, t.case, t.at)
    return ledger


def _settled_row(entry: EffectRow, settlement: Settlement) -> EffectRow:
    return entry._replace(
        status=settlement.status, outcome=settlement.outcome, error=settlement.error, attempts=entry.attempts - (not settlement.counts)
    )


def _intended_row(entry: EffectRow | None, intent: Intent, case: int, at: float) -> EffectRow:
    if entry is None:
        return EffectRow(intent.key, case, intent.effect, intent.arguments, EffectStatus.INTENDED, 1, at, intent.deadline, None, None)
    return entry._replace(status=EffectStatus.INTENDED, attempts=entry.attempts + 1, deadline=intent.deadline, error=None)


def _pause_after(pause: PauseRow | None, t: Transition) -> PauseRow | None:
    if t.pause is not None:
        opening = t.pause
        opened = PauseRow(t.case, t.revision + 1, opening.name, opening.token, opening.digest, t.at)
        return opened._replace(assignee=opening.assignee, expires_at=opening.expires_at)
    if pause is None or t.leaves_pause:
        return None
    return pause if t.climbs is None else pause._replace(rung=t.climbs.rung, assignee=t.climbs.assignee)
