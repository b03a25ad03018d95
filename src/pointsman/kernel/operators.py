"""What operators tell the engine about a case: corrected fields, and the outcome of an effect in doubt."""

from collections.abc import Mapping
from typing import NamedTuple

from pointsman.definition.counts import format_count
from pointsman.definition.effects import Effect
from pointsman.errors import Refused, ValueRefused
from pointsman.kernel.case import cells_from, encode, outcome_text
from pointsman.kernel.codec import codec_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.happenings import Resolved
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.moment import Moment
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
            more = f" ({row.reason})"
        case _:
            more = f" at {row.step!r}"
    return f"it is {row.status}{more}"


def corrected(at: Moment, fields: Mapping[str, object]) -> dict[str, Cell]:
    """The cells of an operator's correction. Each keeps the writer of the value that it replaces. Raises Refused."""
    process, codec = at.process, codec_of(at.process.state)
    unknown = sorted(name for name in fields if not codec.knows(name))
    if unknown:
        raise Refused(f"{unknown[0]!r} is not a field of {process.state.__name__}; its fields are {', '.join(process.state.model_fields)}.")
    cells: dict[str, Cell] = {}
    for name, value in fields.items():
        writers = [step.name for step in process.steps.values() if name in step.writes]
        before = at.case.snapshot.cells.get(name)
        try:
            cells[name] = codec.encode(name, value, before.writer if before is not None else next(iter(writers), ""))
        except ValueRefused as error:
            raise Refused(f"the correction was refused: {error}") from None
    return cells


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
    cells = _outcome_cells(at, entry, came.outcome) if came.happened else None
    text = None if cells is None else outcome_text(cells)
    settlement = Settlement(came.key, EffectStatus.DONE if came.happened else EffectStatus.NOT_SENT, text, None)
    how = f"resolved: {'it happened' if came.happened else 'it did not happen'}"
    event = Event(Kind.EFFECT_SETTLED, entry.effect, 0, {"key": came.key, "how": how, "fields": [], "by": came.by, "why": came.why})
    if cells is not None and at.case.row.status in ENDED:
        cells = {name: cell for name, cell in cells.items() if cell.appends}  # nothing follows, but a log keeps what happened
    return Resolution(event, settlement, cells)


def _outcome_cells(at: Moment, entry: EffectRow, outcome: object) -> dict[str, Cell]:
    process, name = at.process, entry.effect
    effect = process.steps.get(process.called(name))
    if not isinstance(effect, Effect):
        raise Refused(f"effect {name!r} is no longer declared on process {process.name!r}; register the code that has it.")
    if outcome is None and effect.writes:
        fields = ", ".join(effect.writes)
        raise Refused(f"say with `outcome` what {name!r} returned: without it {fields} stays empty, and it would be called again.")
    try:
        text = outcome_text(encode(process, effect, effect.split(outcome)))
        return cells_from(process, text, process.called(name))
    except (ValueRefused, TypeError) as error:
        raise Refused(f"the outcome does not fit what {name!r} writes: {error}") from None
