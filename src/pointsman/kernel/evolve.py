"""How the fields of a case change, and what the program then chooses.

A start, a result, an answer, a message and a correction change the fields of a case here and nowhere else.

Theory of operation. A case is a record of cells: for each field the last value, and the step that wrote it. There is no program
counter: the program computes from the cells what comes next. So only one thing can go wrong between two steps: a cell can outlive the
values that it was computed from. `evolve` prevents that. When a field is rewritten, it clears every cell whose writer depends on that
field, then every cell whose writer depends on a cleared one, and so on, as in a spreadsheet. There are four exceptions:

- Fields that are written in one transition do not clear each other.
- A step does not depend on a field that it reads with `Peek`.
- A value that is written again with the same content has not changed.
- A log is history: an item stays even if the values that it was computed from change.

The writer of a cell is the step that wrote the present value, not every step that could write the field. So a status that a draft set is
not cleared because an effect that could set it later depends on another field.

`next_after` applies what happened and asks the program. It parks a case in two situations, because the case would never end: if the step
left every field as it was, and if the case has taken more steps than its process allows without anything from outside.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import AnyStep, Park
from pointsman.kernel.decide import Decision
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.program import Program
from pointsman.kernel.record import record
from pointsman.kernel.snapshot import NULL, Cell, LogCell, Snapshot, alike

_NOTHING: frozenset[str] = frozenset()

FROM_OUTSIDE = frozenset({Kind.ACCEPTED, Kind.MESSAGE_RECEIVED, Kind.RESUMED, Kind.DEADLINE_PASSED, Kind.WOKEN, Kind.REDRIVEN})
"""The events that come from outside: a case that waits for one is not in a loop."""

_MAY_REPEAT = frozenset({Kind.ACCEPTED, Kind.RESUMED, Kind.DEADLINE_PASSED, Kind.REDRIVEN})

TURNING_SHOWN = 20  # steps before the bound whose rules are named: a loop has fewer


@record
class Next:
    """A transition: the snapshot after it, the decision that follows, and the fields that were cleared on the way.

    `written` names the fields that were written, `dropped` those whose new value was out of date before it was committed. `undecided` is the
    same transition without what the decision writes, if it writes anything.
    """

    snapshot: Snapshot
    decision: Decision
    cleared: tuple[str, ...]
    written: Collection[str] = ()
    dropped: tuple[str, ...] = ()
    undecided: "Next | None" = None


def next_after(program: Program, snapshot: Snapshot, event: Event | None, arrivals: Sequence[Event] = ()) -> Next:
    """Take in what happened and decide what comes next; None decides afresh, after the rules may have changed.

    `arrivals` are the messages that came while the step ran. They are taken in first, and what the step computed from
    fields that they rewrote, or cleared, is dropped.
    """
    process, before, steps, turning = program.process, snapshot.cells, snapshot.steps, snapshot.turning
    dropped: tuple[str, ...] = ()
    written: Collection[str] = ()
    outside = event is not None and event.kind in FROM_OUTSIDE
    if arrivals:
        snapshot, event, dropped = _with_arrivals(process, snapshot, event, arrivals)
        written = set().union(*(arrival.writes for arrival in arrivals))
        outside = outside or any(arrival.kind in FROM_OUTSIDE for arrival in arrivals)
    cells, decision = snapshot.cells, None
    if event is not None and event.writes:
        cells, changes = _after_writes(process, cells, event.writes)
        written = {*written, *event.writes} if written else event.writes.keys()
        # A start changes nothing yet. A person may give the same answer twice, which is no endless loop.
        decision = None if changes or arrivals or event.kind in _MAY_REPEAT else _unchanged(event)
    if outside:
        steps, turning = 0, ()
    if steps < process.steps_max - TURNING_SHOWN:
        decision, turning = decision or program.next(snapshot.case, cells), ()
    else:
        decision = decision or _turns(process, steps, turning) or program.next(snapshot.case, cells)
        turning = (*turning, decision.rule)
    cleared = () if before.keys() <= cells.keys() else tuple(sorted(before.keys() - cells.keys()))
    after = Next(Snapshot(snapshot.case, cells, snapshot.revision + 1, steps + 1, turning), decision, cleared, written, dropped)
    return after if not decision.writes else _with_writes(after, decision.writes)


def _with_writes(after: Next, writes: Mapping[str, Cell]) -> Next:
    """The transition with the fields that the program itself writes with its decision."""
    before = after.snapshot
    cells = {**before.cells, **{name: standing_after(before.cells, name, write) for name, write in writes.items()}}
    snapshot = Snapshot(before.case, cells, before.revision, before.steps, before.turning)
    return Next(snapshot, after.decision, after.cleared, {*after.written, *writes}, after.dropped, after)


def _with_arrivals(
    process: AnyProcess, snapshot: Snapshot, event: Event | None, arrivals: Sequence[Event]
) -> tuple[Snapshot, Event | None, tuple[str, ...]]:
    """The snapshot after the messages, the event without results from fields that the messages rewrote, and the fields of those results."""
    before = snapshot.cells
    for arrival in arrivals:
        snapshot = evolve(process, snapshot, arrival)
    if event is None:
        return snapshot, None, ()
    dropped = tuple(name for name, cell in event.writes.items() if stale(process, name, cell.writer, before, snapshot.cells))
    return snapshot, replace(event, writes={name: cell for name, cell in event.writes.items() if name not in dropped}), dropped


def stale(process: AnyProcess, field: str, writer: str, before: Mapping[str, Cell], now: Mapping[str, Cell]) -> bool:
    """Whether the result of `writer` in `field` depends on a value that has changed between the two."""
    return any(not alike(before.get(read), now.get(read)) for read in _depends(process, field, writer))


def rests_on_changes(process: AnyProcess, step: AnyStep, before: Mapping[str, Cell], now: Mapping[str, Cell]) -> bool:
    """Whether anything that a step reads has changed between the two."""
    return any(not alike(before.get(read), now.get(read)) for read in process.depends(step))


@dataclass(frozen=True, slots=True)
class Block(Park):
    """Block the case until there is code that can continue it."""


def blocked(after: Next, reason: str) -> Next:
    """The same transition, but the case is blocked. The decision is not taken, so what it writes is not written."""
    return replace(after.undecided or after, decision=Decision(Block(reason)))


def parked(after: Next, reason: str) -> Next:
    """The same transition, but the case is parked. The decision is not taken, so what it writes is not written."""
    return replace(after.undecided or after, decision=Decision(Park(reason)))


def evolve(process: AnyProcess, snapshot: Snapshot, event: Event) -> Snapshot:
    """The snapshot after `event`: apply its writes, and clear everything that was computed from what they changed."""
    return replace(snapshot, cells=_after_writes(process, snapshot.cells, event.writes)[0]) if event.writes else snapshot


def _after_writes(process: AnyProcess, before: Mapping[str, Cell], writes: Mapping[str, Cell]) -> tuple[dict[str, Cell], bool]:
    """The cells after these writes, and whether any of them differs from before."""
    cells = {**before}
    changed: set[str] = set()
    for name, write in writes.items():
        # The first write of a field changes it as well: an earlier reader has read None. One more item always changes a log.
        if write.appends or not alike(cells.get(name), write):
            changed.add(name)
        if write.text == NULL and not write.appends:
            cells.pop(name, None)
        else:
            cells[name] = standing_after(cells, name, write) if write.appends else write
    if not changed.isdisjoint(process.reads):
        for name in _outdated(process, cells, changed, writes.keys()):
            del cells[name]
    return cells, bool(changed)


def standing_after(cells: Mapping[str, Cell], field: str, write: Cell) -> Cell:
    """The cell of a field after a write: the write itself, or the log with one more item."""
    if not write.appends:
        return write
    log = cells.get(field)
    return (log if isinstance(log, LogCell) else LogCell([], (), write.writer)).longer(write)


def _outdated(process: AnyProcess, cells: Mapping[str, Cell], changed: set[str], written: Collection[str]) -> set[str]:
    outdated: set[str] = set()
    while changed:
        unconcerned = _unconcerned(process, *changed)
        found = set()
        for name, cell in cells.items():
            if cell.writer in unconcerned or name in outdated or name in written:
                continue
            if not changed.isdisjoint(_depends(process, name, cell.writer)):
                found.add(name)
        outdated |= found
        changed = found
    return outdated


@lru_cache(maxsize=4_096)  # as many sets of fields as the steps of a program write together
def _unconcerned(process: AnyProcess, *changed: str) -> frozenset[str]:
    """Writers of which no cell depends on these fields. The others may have one that does."""
    steps = (name for name, step in process.steps.items() if not isinstance(step, Pause) and process.depends(step).isdisjoint(changed))
    return frozenset(("", *process.accepts_messages, *steps))


@lru_cache(maxsize=16_384)  # as many fields, each with its writers, as the processes of a program will have
def _depends(process: AnyProcess, field: str, writer: str) -> frozenset[str]:
    """The fields that a cell was computed from. For a writer that the code no longer has, those that the field's present writers read.

    A value that a person corrected at a pause also depends on what the shown value was computed from. A log depends on nothing.
    """
    if not writer or field in process.logs or writer in process.accepts_messages:
        return _NOTHING
    step = process.steps.get(writer)
    edited = isinstance(step, Pause) and field in step.edits
    if step is not None and not edited:
        return process.depends(step)
    writers = [one for one in process.steps.values() if field in one.writes or one is step]
    return frozenset().union(*(process.depends(one) for one in writers))


def _unchanged(event: Event) -> Decision:
    """Park a case whose step changed nothing: the rules would choose it again for ever."""
    fields = ", ".join(sorted(event.writes))
    return Decision(Park(f"{event.step!r} left {fields} as it was, and would be chosen again for ever; correct the step or its rule"))


def _turns(process: AnyProcess, steps: int, turning: tuple[str, ...]) -> Decision | None:
    """Park a case that has taken too many steps."""
    if steps < process.steps_max:
        return None
    rules = ", ".join(repr(rule) for rule in dict.fromkeys(turning)) or "unknown, because an engine died since"
    problem = f"it has taken {steps} steps without an answer, a message or a timer; the rules that repeat: {rules}"
    return Decision(Park(f"{problem}. Correct them, or raise steps_max of process {process.name!r}"))
