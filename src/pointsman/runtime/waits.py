"""Steps that wait, woken by their timer: the rungs of a pause's ladder, the end of a sleep."""

from datetime import UTC, datetime

from pointsman.definition.pauses import Expire, Pause, Reassign, Remind, Sleep
from pointsman.definition.signature import fits
from pointsman.kernel.codec import codec_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.rows import PauseClimb, PauseRow
from pointsman.kernel.snapshot import Cell
from pointsman.runtime.hold import Hold, Outcome


def woken(hold: Hold, now: float) -> Outcome:
    """What is due of the step that the case waits at; nothing, where it was woken by something else."""
    step = hold.process.steps.get(hold.step or "")
    if hold.waiting is None:
        return Outcome(())
    if isinstance(step, Sleep) and hold.waiting.expires_at is not None and hold.waiting.expires_at <= now:
        cells = {name: _time_cell(hold, step, name, now) for name in step.writes}
        return Outcome((Event(Kind.WOKEN, step.name, facts={"fields": list(cells)}, writes=cells),))
    return _climbed(hold, step, hold.waiting, now) if isinstance(step, Pause) else Outcome(())


def next_rung_at(pause: Pause, opened_at: float, rung: int) -> float | None:
    """When the next rung is due (Unix seconds), or None behind the last one."""
    return opened_at + (pause.ladder[rung].after_seconds or 0.0) if rung < len(pause.ladder) else None


def wake_time(value: object) -> float:
    """The Unix seconds of a field that says when. Raises ValueError where it is no time."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; give the field an aware datetime.")
        return value.timestamp()
    if isinstance(value, int | float):
        return float(value)
    raise ValueError(f"{value!r} is no time; give the field a float (Unix seconds) or a datetime.")


def _climbed(hold: Hold, pause: Pause, row: PauseRow, now: float) -> Outcome:
    """Climb every rung that is due, after a long standstill several at once."""
    events: list[Event] = []
    rung, assignee = row.rung, row.assignee
    while (due := next_rung_at(pause, row.opened_at, rung)) is not None and due <= now:
        match pause.ladder[rung]:
            case Remind():
                events.append(Event(Kind.REMINDED, pause.name, facts={"assignee": assignee}))
            case Reassign(to=to):
                assignee = to
                events.append(Event(Kind.REASSIGNED, pause.name, facts={"assignee": to}))
            case Expire() as end:
                return _expired(hold, pause, end, events)
        rung += 1
    return Outcome(tuple(events), climbs=PauseClimb(rung, assignee) if events else None)


def _expired(hold: Hold, pause: Pause, end: Expire, events: list[Event]) -> Outcome:
    if end.reason is not None:
        events.append(Event(Kind.DEADLINE_PASSED, pause.name, facts={"answer": None}))
        return Outcome(tuple(events), park=end.reason)
    [field] = pause.writes
    cells = {field: codec_of(hold.process.state).write(field, end.default, pause.name)}
    events.append(Event(Kind.DEADLINE_PASSED, pause.name, facts={"answer": field}, writes=cells))
    return Outcome(tuple(events), answered_by="the deadline")


def _time_cell(hold: Hold, sleep: Sleep, field: str, now: float) -> Cell:
    annotation = hold.process.state.model_fields[field].annotation
    value = now if fits(float, annotation) else datetime.fromtimestamp(now, UTC)
    return codec_of(hold.process.state).encode(field, value, sleep.name)
