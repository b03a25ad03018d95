"""An explanation as lines for a person, and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pointsman.definition.counts import format_count
from pointsman.definition.pauses import Pause, Reassign, Remind, Sleep
from pointsman.kernel.limits import LimitState
from pointsman.kernel.program import CallDescription
from pointsman.kernel.rows import MessageRow
from pointsman.kernel.timers import next_rung_at
from pointsman.operations.findings import Findings, RuleDescription, short
from pointsman.operations.ledger import EFFECT_STANDS
from pointsman.operations.paragraph import Paragraph
from pointsman.operations.times import format_duration, format_time

CALLS_SHOWN = 40  # of a body: a screen
_MARKS = {"wins": "✓", "fails": "·", "would hold": "-", "not reached": " "}


def lines_of(told: Findings, first: str, commands: Sequence[str], now: float) -> Iterator[str]:
    """The lines of a text for a person: the `first` paragraph, the `commands` to type, and the rest. `now` is in Unix seconds."""
    yield first
    yield from (f"  {command}" for command in commands)
    needs = told.case.needs
    of_limit = () if needs is None else (f"it waits for a permit of {needs!r}", f"{needs!r} ")  # the paragraph and the limits say it
    notes = [obstacle for obstacle in told.obstacles if obstacle != told.case.reason and not (of_limit and obstacle.startswith(of_limit))]
    yield from (f"{chr(10) if not at else ''}Note: {note}." for at, note in enumerate(notes))
    yield from _calls(told)
    yield from _rules(told)
    if told.reads:
        yield "\nThe fields that the decision read:"
    yield from (f"  {name} = {short(value)}" for name, value in told.reads.items())
    yield from _next(told)
    yield from _entries(
        "What the engine would not repeat", {step: f"has written {', '.join(fields)}" for step, fields in told.stands.items()}
    )
    yield from _entries("Branches", told.branches)
    for stands in EFFECT_STANDS:
        calls = [call for call in told.ledger.calls if call.stands == stands]
        yield from _section(f"Effects {stands}", [f"{call.name}: {call.text}" for call in calls])
    yield from _section("Timers", _timers(told, now))
    yield from _entries("Limits", {name: _limit(state, now) for name, state in told.around.limits.items()})
    yield from _section("Messages", [_message(message) for message in told.around.messages])
    yield from _section("Children", [f"case {child.id} of {child.process} is {child.status}" for child in told.around.children])


def json_of(told: Findings, first: Paragraph) -> dict[str, Any]:
    """An explanation as plain JSON values."""
    row, beside = told.case, told.around
    return {
        "case": row.id, "paragraph": first.as_json(), "status": row.status, "step": row.step, "rule": row.rule, "reads": dict(told.reads),
        "rules": [_as_json(rule) for rule in told.rules], "following": [_as_json(rule) for rule in told.following],
        "stands": {step: list(fields) for step, fields in told.stands.items()}, "effects": dict(told.effects),
        "ledger": [asdict(call) for call in told.ledger.calls], "calls": [call._asdict() for call in told.calls], "redrive": told.redrive,
        "branches": dict(told.branches), "obstacles": list(told.obstacles), "wake_at": row.wake_at,
        "limits": {name: _limit_json(state) for name, state in beside.limits.items()},
        "messages": [{"id": one.id, "name": one.name, "key": one.key, "status": one.status, "at": one.at} for one in beside.messages],
        "children": [{"case": child.id, "process": child.process, "status": child.status} for child in beside.children],
        "engines": None if beside.engines is None else beside.engines._asdict(),
    }  # fmt: skip


def _rules(told: Findings) -> Iterator[str]:
    if told.rules:
        yield "\nThe rules in order, and the fields that they read; the first that holds wins:"
    for rule in told.rules:
        mark = "!" if rule.stands == "wins" and rule.holds is None else _MARKS[rule.stands]
        more = f"  {rule.problem}" if mark == "!" else "  would hold, but an earlier rule wins" if rule.stands == "would hold" else ""
        yield f"  {mark} {rule.name} -> {rule.step}  ({', '.join(rule.reads) or 'nothing'}){more}"


def _next(told: Findings) -> Iterator[str]:
    """What can come next: a line for each step, with its rules; then, in one line, what only an edit brings."""
    if told.following:
        yield f"\nWhat can come next{f', after {told.awaits}' if told.awaits else ''}:"
    for step, rules in told.likely.items():
        note = next((rule.note for rule in rules if rule.note), None)
        yield f"  {step}  (by {', '.join(rule.name for rule in rules)}){f': {note}' if note else ''}"
    others = dict.fromkeys(rule.step for rule in told.following if not rule.likely and rule.step not in told.likely)
    if others:
        yield f"  less likely: {', '.join(others)}"


def _timers(told: Findings, now: float) -> list[str]:
    row = told.case
    if row.wake_at is None:
        return []
    if row.needs is not None and row.wake_at <= now:
        return [f"in the backlog since {format_time(row.wake_at)}"]
    away = f", in {format_duration(row.wake_at - now)}" if row.wake_at > now else ""
    return [f"due at {format_time(row.wake_at)}{away}{_of_timer(told)}"]


def _of_timer(told: Findings) -> str:
    """What the timer of a waiting case is for, if the present code says so."""
    step, opened = told.waits_at, told.history.pause
    if isinstance(step, Sleep):
        return ": the end of the sleep"
    if not isinstance(step, Pause) or opened is None or next_rung_at(step, opened.opened_at, opened.rung) != told.case.wake_at:
        return ""
    match step.ladder[min(opened.rung, len(step.ladder) - 1)]:
        case Remind():
            return ": a reminder"
        case Reassign(to=to):
            return f": reassignment to {to}"
    return ": the deadline"


def _limit(state: LimitState, now: float) -> str:
    said = [
        f"case {case} at {step!r} has a permit until {format_time(until)}"
        for holder, until in sorted(state.permits.items())
        for case, step, *_ in [holder.split("/")]
    ]
    if state.open_until:
        said.append(
            f"its circuit breaker is open until {format_time(state.open_until)}, after {format_count(state.failures, 'failure')} in a row"
        )
    if state.held_until > now:
        said.append(f"it asked callers to wait until {format_time(state.held_until)}")
    return "; ".join(said) or "no call is running"


def _limit_json(state: LimitState) -> dict[str, Any]:
    return {
        "permits": dict(state.permits), "open_until": state.open_until or None, "held_until": state.held_until or None, "failures": state.failures,
    }  # fmt: skip


def _message(message: MessageRow) -> str:
    named = f" with key {message.key}" if message.key else ""
    where = "in the inbox" if message.status == "pending" else "held until this case has ended"
    return f"{message.name} (message {message.id}{named}) is {where}"


def _entries(title: str, entries: Any) -> Iterator[str]:
    yield from _section(title, [f"{name}: {words}" for name, words in entries.items()])


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"\n{title}:"
    yield from (f"  {line}" for line in lines)


def _calls(told: Findings) -> Iterator[str]:
    if told.calls:
        yield "\nThe calls of the body; what is recorded is not called again:"
    left_out = len(told.calls) - CALLS_SHOWN
    for at, call in enumerate(told.calls):
        if left_out > 0 and at == CALLS_SHOWN // 2:
            yield f"  ({left_out:,} calls are left out here; --json has them)"
        if left_out > 0 and 0 <= at - CALLS_SHOWN // 2 < left_out:
            continue
        yield f"  {'…' if call.how == 'open' else '!' if call.how == 'failed' else '✓'} {call.name} {_how(call)}"


def _how(call: CallDescription) -> str:
    if call.how == "open":
        given = "" if call.value in (None, {}) else f" with {short(call.value)}"
        return f"has no outcome yet{given}"
    now = ", and the body no longer asks for it" if call.how == "left out" else ""
    return f"{'returned' if now else call.how}: {short(call.value)}{now}"


def _as_json(rule: RuleDescription) -> dict[str, Any]:
    return {**asdict(rule), "reads": list(rule.reads)}
