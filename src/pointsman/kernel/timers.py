"""Timers: the rungs of a pause's ladder, and the end of a sleep."""

from datetime import UTC, datetime

from pointsman.definition.pauses import Expire, Pause, Reassign, Remind, Sleep
from pointsman.definition.process import AnyProcess
from pointsman.definition.signature import fits
from pointsman.kernel.codec import codec_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.moment import NOTHING, Moment, StepResult
from pointsman.kernel.rows import PauseClimb, PauseRow
from pointsman.kernel.snapshot import Cell


def due(at: Moment) -> StepResult:
    """The result of the timer of the open pause or sleep; nothing if something else woke the case."""
    name, pause = at.case.row.step or "", at.case.pause
    if pause is None:
        return NOTHING
    step = at.process.steps.get(name) or at.program.pause(at.case.row.id, at.case.snapshot.cells, name)
    if isinstance(step, Sleep) and pause.expires_at is not None and pause.expires_at <= at.now:
        cells = {name: _time_cell(at.process, step, name, at.now) for name in step.writes}
        return StepResult((Event(Kind.WOKEN, step.name, facts={"fields": list(cells)}, writes=cells),))
    return _climbed(at, step, pause) if isinstance(step, Pause) else NOTHING


def next_rung_at(pause: Pause, opened_at: float, rung: int) -> float | None:
    """When the next rung is due (Unix seconds), or None after the last rung."""
    rung = _to_climb(pause, rung)
    return opened_at + (pause.ladder[rung].after_seconds or 0.0) if rung < len(pause.ladder) else None


def expires_at(pause: Pause, row: PauseRow) -> float | None:
    """When an open pause expires by the present code (Unix seconds), or None. Its deadline may have changed since the pause opened."""
    return None if pause.expires_seconds is None else row.opened_at + pause.expires_seconds


def escalates_to(pause: Pause, assignee: str | None) -> str:
    """To whom the ladder passes the pause next, or "" if nobody comes after the person who is asked now."""
    names = [rung.to for rung in pause.ladder if isinstance(rung, Reassign)]
    behind = names[names.index(assignee) + 1 :] if assignee in names else names
    return next(iter(behind), "")


def wake_time(value: object) -> float:
    """The time in a field, in Unix seconds. Raises ValueError if it is not a time."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; give the field an aware datetime.")
        return value.timestamp()
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"{value!r} is not a time; give the field a float (Unix seconds) or a datetime.")


def _climbed(at: Moment, pause: Pause, row: PauseRow) -> StepResult:
    """Climb every rung that is due; after a long stop that may be several."""
    events: list[Event] = []
    rung, assignee = _to_climb(pause, row.rung), row.assignee
    while (when := next_rung_at(pause, row.opened_at, rung)) is not None and when <= at.now:
        match pause.ladder[rung]:
            case Remind():
                events.append(Event(Kind.REMINDED, pause.name, facts={"assignee": assignee}))
            case Reassign(to=to):
                assignee = to
                events.append(Event(Kind.REASSIGNED, pause.name, facts={"assignee": to}))
            case Expire() as end:
                return _expired(at.process, pause, end, events)
        rung += 1
    return StepResult(tuple(events), climbs=PauseClimb(rung, assignee) if events else None)


def _to_climb(pause: Pause, climbed: int) -> int:
    """The next rung. For an open pause the deadline is always still ahead, even if a deploy has removed rungs before it."""
    return climbed if pause.expires_seconds is None else min(climbed, len(pause.ladder) - 1)


def _expired(process: AnyProcess, pause: Pause, end: Expire, events: list[Event]) -> StepResult:
    if end.reason is not None:
        events.append(Event(Kind.DEADLINE_PASSED, pause.name, facts={"answer": None}))
        return StepResult(tuple(events), park=end.reason)
    [field] = pause.writes
    cells = {field: codec_of(process.state).write(field, end.default, pause.name)}
    events.append(Event(Kind.DEADLINE_PASSED, pause.name, facts={"answer": field}, writes=cells))
    return StepResult(tuple(events), answered_by="the deadline")


def _time_cell(process: AnyProcess, sleep: Sleep, field: str, now: float) -> Cell:
    annotation = process.state.model_fields[field].annotation
    value = now if fits(float, annotation) else datetime.fromtimestamp(now, UTC)
    return codec_of(process.state).encode(field, value, sleep.name)
