"""Compensation: reverse the effects of a case, the last one first.

A compensation reads the fields as they were at the intent of the call that it reverses, and the outcome of that call, because the
case may have moved on since. Each compensation is itself an effect, with its own policy and ledger entry. Its key is derived from
the key of the call that it reverses, so after a crash the ledger shows how far compensation has come.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pointsman.definition.effects import Compensation
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Compensate
from pointsman.errors import ValueRefused, VersionNotAccepted
from pointsman.kernel.case import PastIntent, cells_from, cells_of
from pointsman.kernel.codec import message_of
from pointsman.kernel.commands import LoadHistory
from pointsman.kernel.effects import Move, declared, effect_key, reach, unknown_outcome
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import standing_after
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.migrate import migrate
from pointsman.kernel.moment import Moment, StepResult
from pointsman.kernel.rows import EffectRow, FieldRow
from pointsman.kernel.snapshot import Cell, LogCell

_CALLED = frozenset({EffectStatus.DONE, EffectStatus.INTENDED, EffectStatus.IN_DOUBT})


def next_move(at: Moment, step: Compensate) -> Move:
    """The next compensation to call, or the result that ends the case if none is left."""
    history = at.case.history
    if history is None:
        return LoadHistory()
    done = {entry.key: entry for entry in at.case.ledger.values() if entry.status is EffectStatus.DONE}
    # Order by position among the events: times may be equal or out of order if the clock was set back.
    to_undo = sorted((entry for entry in done.values() if entry.key in history.intents), key=lambda one: history.intents[one.key].position)
    named: list[str] = []
    for entry in reversed(to_undo):
        effect = declared(at.process, entry)
        if effect is None or effect.undo is None:
            continue
        named.append(entry.effect)
        if entry.outcome is None:
            return StepResult(park=f"{unknown_outcome(entry, entry.effect)}; its compensation needs the outcome")
        try:
            cells = _cells_then(at.process, entry, history.intents[entry.key])
        except (VersionNotAccepted, ValueRefused) as error:
            reason = f"{effect.undo.name!r} cannot be called: {message_of(error)}"
            return StepResult(park=f"{reason}; reverse {entry.effect!r} by hand, and cancel the case")
        then = as_of(at, cells)
        if effect_key(at.case.incarnation, at.process, then.case.snapshot, effect.undo, entry.key)[0] not in done:
            return reach(then, effect.undo, entry.key)
    return StepResult((Event(Kind.COMPENSATED, facts={"effects": named}),), finishes=step.outcome)


def begun(process: AnyProcess, step: str | None, entries: Iterable[EffectRow]) -> Compensate | None:
    """The compensation that a case at this step has begun: once a compensation has been called, all of them run."""
    found = process.compensates.get(step or "")
    if found is None:
        return None
    return found if any(entry.status in _CALLED and isinstance(declared(process, entry), Compensation) for entry in entries) else None


def as_of(at: Moment, cells: Mapping[str, Cell]) -> Moment:
    """The same moment with the fields of another time."""
    return at if cells is at.case.snapshot.cells else replace(at, case=at.case.with_cells(cells))


def _cells_then(process: AnyProcess, entry: EffectRow, intent: PastIntent) -> dict[str, Cell]:
    """The fields as they were at an effect's intent, and what the effect wrote, both migrated to the present version.

    Raises VersionNotAccepted, ValueRefused.
    """
    if intent.version == process.version:
        cells = cells_of(process, intent.fields)
        writes = cells_from(process, entry.outcome or "{}", entry.effect)
        return cells | {name: standing_after(cells, name, write) for name, write in writes.items()}
    texts = {row.field: (row.text, row.writer) for row in intent.fields}
    for name, outcome in json.loads(entry.outcome or "{}").items():
        text = outcome
        if name in process.logs:
            standing = (texts[name][0],) if name in texts else ()
            text = LogCell([], (*standing, f"[{outcome}]"), entry.effect).text
        texts[name] = (text, entry.effect)
    migrated = migrate(process, intent.version, texts)
    return cells_of(process, [FieldRow(name, *cell, 0) for name, cell in migrated.fields.items()])
