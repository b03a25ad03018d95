"""What operators tell the engine about a case: corrected fields, and the outcome of an effect in doubt."""

from collections.abc import Mapping
from typing import NamedTuple

from pointsman.definition.counts import format_count
from pointsman.definition.effects import Effect
from pointsman.definition.process import AnyProcess
from pointsman.errors import Refused, ValueRefused
from pointsman.kernel import people
from pointsman.kernel.case import cells_from, encode, outcome_text
from pointsman.kernel.codec import codec_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.happenings import Resolved
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.moment import Moment
from pointsman.kernel.program import Program
from pointsman.kernel.rows import CaseRow, EffectRow, Settlement
from pointsman.kernel.snapshot import ENDED, Cell, Status


class Resolution(NamedTuple):
    """The resolution of an effect: its event, its settlement, and, if it happened, the cells of its outcome."""

    event: Event
    settlement: Settlement
    cells: Mapping[str, Cell] | None


def standing(row: CaseRow) -> str:
    """The status of a case in words."""
    match row.status:
        case Status.DONE:
            more = f" ({row.outcome})"
        case Status.PARKED | Status.BLOCKED | Status.CANCELLED:
            more = f" ({row.reason})" if row.reason else ""
        case _:
            more = f" at {row.step!r}"
    return f"it is {row.status}{more}"


def corrected(at: Moment, fields: Mapping[str, object]) -> dict[str, Cell]:
    """The cells of an operator's correction, and those that withdraw what people answered to the corrected fields. Raises Refused.

    Each corrected field keeps the writer of the value that it replaces.
    """
    return corrections(at.program, at.case.snapshot.cells, fields)


def corrections(program: Program, before: Mapping[str, Cell], fields: Mapping[str, object]) -> dict[str, Cell]:
    """Like `corrected`, of a case with these fields. Raises Refused."""
    process = program.process
    taken, fields = program.taken_back(before, fields)
    cells = {name: correction(process, name, value, before.get(name)) for name, value in fields.items()}
    return {**taken, **cells, **people.withdrawn(process, before, cells.keys())}


def correction(process: AnyProcess, name: str, value: object, before: Cell | None = None) -> Cell:
    """The cell of one corrected field. What a person answers at a pause can be withdrawn (None), and not given. Raises Refused."""
    codec = codec_of(process.state)
    if not codec.knows(name):
        raise Refused(f"{name!r} is not a field of {process.state.__name__}; its fields are {', '.join(process.state.model_fields)}.")
    pause = people.asked_at(process, name)
    if pause is not None and value is not None:
        problem = f"{name!r} is what a person answers at pause {pause!r}, and a correction cannot give it"
        raise Refused(f"{problem}; redrive the case without it and use `answer`, or set it to null, so that the person is asked again.")
    writers = (step.name for step in process.steps.values() if name in step.writes)
    try:
        return codec.encode(name, value, before.writer if before is not None else next(writers, ""))
    except ValueRefused as error:
        raise Refused(f"the correction was refused: {error}") from None


def resolution(at: Moment, came: Resolved) -> Resolution:
    """Resolve an effect as a person says. Raises Refused."""
    entry, number = at.case.ledger[came.key], at.case.row.id
    if came.calls not in {None, entry.attempts}:
        problem = f"effect {entry.effect!r} of case {number} has been called again since ({format_count(entry.attempts, 'call')} in all)"
        raise Refused(f"{problem}; find out whether the last call happened.")
    recorded = entry.status is EffectStatus.DONE and (entry.outcome is not None or not came.happened)
    if recorded or at.case.row.status in {Status.RUNNING, Status.WAITING}:
        problem = f"effect {entry.effect!r} of case {number} is {entry.status}, and as to the case, {standing(at.case.row)}"
        raise Refused(f"{problem}; there is nothing to resolve.")
    cells = _outcome_cells(at, entry, came) if came.happened else None
    text = None if cells is None else outcome_text(cells)
    settlement = Settlement(came.key, EffectStatus.DONE if came.happened else EffectStatus.NOT_SENT, text, None)
    how = f"resolved: {'it happened' if came.happened else 'it did not happen'}"
    event = Event(Kind.EFFECT_SETTLED, entry.effect, 0, {"key": came.key, "how": how, "fields": [], "by": came.by, "why": came.why})
    if cells is not None and at.case.row.status in ENDED:
        cells = {name: cell for name, cell in cells.items() if cell.appends}  # nothing follows, but a log keeps what happened
    return Resolution(event, settlement, cells)


def _outcome_cells(at: Moment, entry: EffectRow, came: Resolved) -> dict[str, Cell]:
    process, name, outcome = at.process, entry.effect, came.outcome
    effect = process.steps.get(process.called(name))
    if not isinstance(effect, Effect):
        raise Refused(f"effect {name!r} is no longer declared on process {process.name!r}; register the code that has it.")
    if outcome is None and effect.writes:
        fields = ", ".join(effect.writes)
        raise Refused(f"say with `outcome` what {name!r} returned: without it {fields} stays empty, and it would be called again.")
    try:
        text = outcome_text(encode(process, effect, effect.split(outcome)))
        cells = cells_from(process, text, process.called(name))
    except (ValueRefused, TypeError) as error:
        raise Refused(f"the outcome does not fit what {name!r} writes: {error}") from None
    for field, cell in cells.items():
        if (problem := people.other_signer(cell.value, came.by)) is not None:
            raise Refused(f"the outcome {problem}, or say that {name!r} did not happen: {field!r} is a person's word.")
    return cells
