"""A case in the engine's hands, what came out of a step, and how both are read from what is stored."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pointsman.definition.children import Child
from pointsman.definition.nodes import AnyNode, Node
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Compensate, Parallel
from pointsman.definition.state import Failure
from pointsman.errors import ValueRefused, VersionNotAccepted
from pointsman.kernel.codec import codec_of, message_of
from pointsman.kernel.decide import Decision
from pointsman.kernel.events import Event
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.migrate import Migrated, migrate
from pointsman.kernel.rows import (
    BranchRow,
    BranchWrite,
    CaseRow,
    FieldRow,
    Intent,
    MessageRow,
    PauseClimb,
    PauseRow,
    Settlement,
    Transition,
)
from pointsman.kernel.snapshot import Cell, Snapshot, Status

if TYPE_CHECKING:
    from pointsman.runtime.limits import Permit
    from pointsman.runtime.threads import Call


UNFIT = "give the field a default or a type that takes what is stored, or raise version= and convert it in accepts="
"""What to do about code that does not fit the fields of its open cases."""


class Origin(NamedTuple):
    """What a case has from its start: it changes with a migration of its version only."""

    version: int = 0
    key: str | None = None
    tenant: str = ""
    priority: int = 0
    correlation: str | None = None
    parent: int | None = None
    created_at: float = 0.0


@dataclass(slots=True)
class Hold:
    """A case in the engine's hands: what it knows of it since its last commit.

    `attempt` counts the attempts of the current step. `intent` is the committed intent of an effect that has not been
    called yet, `doubtful` whether an earlier call under its key may have happened, and `call_until` when its call must be
    given up, in the clock's monotonic seconds. `needs` is the limit that the case has waited for in line, `permit` one that was taken for the call to come.
    `calling` is how many calls are under way, `counted` whether the store counts an attempt for them, `place` a thread that is kept for the call to come.
    `unsettled` are the keys of effects whose outcome is not known. `inbox` is
    how many messages were pending when the case was read, `mail` those that have been looked at, `waiting` the open pause of
    a case that was woken, `undoes` the key of the call that is being taken back. `origin` is what the case has from its start. `migrated` is what has been done to its fields since
    they were read, and is for the next commit to write.
    """

    process: AnyProcess
    snapshot: Snapshot
    fence: int
    status: Status
    attempt: int = 0
    step: str | None = None
    rule: str | None = None
    branches: dict[str, BranchRow] = field(default_factory=dict)
    intent: Intent | None = None
    doubtful: bool = False
    call_until: float = 0.0
    needs: str | None = None
    permit: "Permit | None" = None
    unsettled: set[str] = field(default_factory=set)
    inbox: int = 0
    calling: int = 0
    counted: bool = True
    place: "Call | None" = None
    mail: tuple[MessageRow, ...] = ()
    waiting: PauseRow | None = None
    undoes: str = ""
    origin: Origin = field(default_factory=Origin)
    migrated: Migrated | None = None


class Outcome(NamedTuple):
    """What came out of a step: the events, of which the last carries what was written.

    With `wake_at` (Unix seconds) the step goes on later; with `park` the case is parked for that reason; with `waits` it
    waits at its step for a message; with `finishes` it ends with that outcome. `needs` is the limit that it goes into the line for. `climbs` and `answered_by` are about the open pause.
    """

    events: tuple[Event, ...]
    wake_at: float | None = None
    park: str | None = None
    settlement: Settlement | None = None
    branches: tuple[BranchWrite, ...] = ()
    ends_branches: bool = False
    evidence: Mapping[str, Any] | None = None
    waits: bool = False
    finishes: str | None = None
    needs: str | None = None
    climbs: PauseClimb | None = None
    answered_by: str | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether nobody knows yet if an effect happened."""
        return self.settlement is not None and self.settlement.status is EffectStatus.IN_DOUBT


def hold_of(
    process: AnyProcess, row: CaseRow, fields: Sequence[FieldRow], branches: Sequence[BranchRow] = (), *, cells: Mapping[str, Cell] | None = None,
    corrected: Collection[str] = (),
) -> Hold:  # fmt: skip
    """Take up a stored case, as a case of this version of the process. With `cells` its fields are known already.

    Raises VersionNotAccepted where it cannot be brought to that version, ValueRefused where a stored value no longer fits its field, or a
    required input has none. Fields that are about to be `corrected` are not looked at.
    """
    hold = bare_hold(process, row)
    if row.version != process.version:
        hold.migrated = migrate(process, row.version, {row.field: (row.text, row.writer) for row in fields})
        fields = [FieldRow(name, text, writer, row.revision) for name, (text, writer) in hold.migrated.fields.items()]
    try:
        cells = _sound_cells(process, [row for row in fields if row.field not in corrected], corrected) if cells is None else cells
    except ValueRefused as error:
        if hold.migrated is None:
            raise ValueRefused(f"{error}; {UNFIT}") from None
        told = f"version {row.version} of {process.name!r} cannot be brought to version {process.version}"
        raise VersionNotAccepted(f"{told}: {error}; migrate it with accepts=") from None
    hold.snapshot = Snapshot(row.id, cells, row.revision, row.steps)
    # What is stored under an earlier name of a branch counts as long as nothing is stored under its present one.
    for branch in sorted(branches, key=lambda branch: process.called(branch.name) == branch.name):
        name = process.called(branch.name)
        # A result of before a migration is neither migrated nor trusted: it is computed again.
        outdated = hold.migrated is not None and hold.migrated.changes and (branch.outcome or branch.failure) is not None
        hold.branches[name] = BranchRow(name, 0, None, None) if outdated else branch._replace(name=name)
    return hold


def bare_hold(process: AnyProcess, row: CaseRow) -> Hold:
    """Take up a stored case for a transition that does not look at its fields."""
    return Hold(
        process=process,
        snapshot=Snapshot(row.id, {}, row.revision, row.steps),
        fence=row.fence,
        status=row.status,
        attempt=row.attempts,
        step=None if row.step is None else process.called(row.step),
        rule=row.rule,
        needs=row.needs,
        inbox=row.inbox,
        origin=Origin(row.version, row.key, row.tenant, row.priority, row.correlation, row.parent, row.created_at),
    )


def row_of(hold: Hold, t: Transition) -> CaseRow:
    """The case's row as a transition that has been committed has left it."""
    origin = hold.origin if t.new is None else Origin(*t.new[1:], created_at=t.at)
    return CaseRow(t.case, hold.process.name, t.migrated or origin.version, origin.key, t.status, t.revision + 1, t.fence + t.claims, t.wake_at, t.attempts,
                   t.steps, t.step, t.rule, t.reason, t.outcome, origin.created_at, t.at, origin.tenant, origin.priority, origin.correlation, origin.parent,
                   0, t.needs)  # fmt: skip


def cells_of(process: AnyProcess, fields: Sequence[FieldRow]) -> dict[str, Cell]:
    """Decode stored fields; those that the state no longer has stay in the store and are not looked at."""
    codec = codec_of(process.state)
    return {row.field: codec.decode(row.field, row.text, process.called(row.writer)) for row in fields if codec.knows(row.field)}


def _sound_cells(process: AnyProcess, fields: Sequence[FieldRow], corrected: Collection[str]) -> dict[str, Cell]:
    """Decode stored fields, of which none of the required ones is missing. Raises ValueRefused."""
    cells = cells_of(process, fields)
    missing = codec_of(process.state).missing({*cells, *corrected})
    if missing is not None:
        erased = "; its content was erased" if not fields and not corrected else ""
        raise ValueRefused(f"field {missing!r} is a required input, and the case has no value for it{erased}")
    return cells


def runnable(decision: Decision) -> bool:
    """Whether the decision names something for the engine to do."""
    return isinstance(decision.step, Node | Parallel | Child | Compensate)


def encode(hold: Hold, node: AnyNode, values: Mapping[str, object], *, place: str | None = None) -> dict[str, Cell]:
    """Check what a step returned and make the cells of it; with a `place` they are entries of fields. Raises ValueRefused."""
    codec = codec_of(hold.process.state)
    if place is not None:
        return {name: codec.encode_entry(name, place, value, node.name) for name, value in values.items()}
    return {name: codec.write(name, value, node.name) for name, value in values.items()}


def outcome_text(cells: Mapping[str, Cell]) -> str:
    """What a step wrote, as the ledger and the branches keep it: JSON per field."""
    return json.dumps({name: cell.text for name, cell in cells.items()})


def cells_from(process: AnyProcess, text: str, writer: str) -> dict[str, Cell]:
    """Read `outcome_text` back. Raises ValueRefused where a value no longer fits its field."""
    codec = codec_of(process.state)
    stored: dict[str, Any] = json.loads(text)
    unknown = [name for name in stored if not codec.knows(name)]
    if unknown:
        raise ValueRefused(f"the stored outcome of {writer!r} is for field {unknown[0]!r}, which the state no longer has")
    return {name: codec.written(name, value, writer) for name, value in stored.items()}


def failure_cells(hold: Hold, node: AnyNode, error: BaseException, attempts: int) -> dict[str, Cell]:
    """A `Failure` for each field that the step would have written."""
    failure = Failure(step=node.name, error=type(error).__name__, message=message_of(error), attempts=attempts)
    return encode(hold, node, dict.fromkeys(node.writes, failure))
