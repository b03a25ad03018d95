"""Reads the history of a case: its status, its state and its events."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pointsman.definition.counts import format_count
from pointsman.definition.rules import TASKS
from pointsman.errors import StoreForeign, UnknownCase
from pointsman.kernel.events import ERASED_TEXT, Kind, chosen_by
from pointsman.kernel.guarding import usage_in
from pointsman.kernel.limits import LimitState, text_of
from pointsman.kernel.rows import BranchRow, CaseRow, EffectRow, EventRow, FieldRow, PauseRow
from pointsman.operations.times import format_time
from pointsman.store.base import Reader

NAMED_MAX = 5  # branches named in one line; the event names all of them
EVENTS_MAX = 10_000  # for one case: more than `steps_max` allows


@dataclass(frozen=True, slots=True)
class History:
    """A case as the store has it. `state` is what its `fields` hold. `events` are in the order of their commits.

    `limit` is the state of the limit that the case waits for, or None. Raises StoreForeign if a field is not JSON.
    """

    case: CaseRow
    fields: tuple[FieldRow, ...]
    events: tuple[EventRow, ...]
    effects: tuple[EffectRow, ...]
    pause: PauseRow | None
    branches: tuple[BranchRow, ...] = ()
    limit: LimitState | None = None
    state: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", {row.field: _value_of(self.case.id, row) for row in self.fields})

    @property
    def erased(self) -> EventRow | None:
        """The event that erased the content of the case, or None."""
        return next((event for event in reversed(self.events) if event.kind == Kind.ERASED), None)

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            **self.case._asdict(),
            "state": dict(self.state),
            "events": [{**event._asdict(), "facts": json.loads(event.facts)} for event in self.events],
            "branches": [branch._asdict() for branch in self.branches],
            "effects": [effect._asdict() for effect in self.effects],
            "pause": None if self.pause is None else without_token(self.pause),
            "limit": None if self.limit is None else json.loads(text_of(self.limit)),
        }


async def history_of(reader: Reader, case: int) -> History:
    """Read a case. Raises UnknownCase, StoreForeign."""
    row = await reader.case(case)
    if row is None:
        raise UnknownCase(case)
    return History(
        case=row,
        fields=tuple(await reader.fields(case)),
        events=tuple(await reader.events(case=case, limit=EVENTS_MAX)),
        effects=tuple(await reader.effects(case)),
        pause=await reader.pause(case),
        branches=await reader.branches(case),
        limit=None if row.needs is None else (await reader.limits()).get(row.needs),
    )


def without_token(pause: PauseRow) -> dict[str, Any]:
    """A pause as plain JSON values, without its token, because anybody with the token can answer."""
    return {name: value for name, value in pause._asdict().items() if name != "token"}


def _value_of(case: int, row: FieldRow) -> Any:
    try:
        return json.loads(row.text)
    except ValueError:
        raise StoreForeign(f"the database is damaged (field {row.field!r} of case {case} is not JSON); restore it from a backup.") from None


def with_task_names(events: Sequence[EventRow]) -> list[EventRow]:
    """The events of a case, with the name of the task alone where a body has called it once, without the digest of its arguments."""
    calls = {event.step for event in events if event.step and event.step.endswith("]")}
    several = Counter(call.partition("[")[0] for call in calls)
    once = {call: call.partition("[")[0] for call in calls if several[call.partition("[")[0]] == 1}
    rules = [json.loads(event.facts)["rule"] for event in events if event.kind == Kind.DECIDED]
    return (
        [*events]
        if any(chosen_by(rule) != rule for rule in rules)
        else [event._replace(step=once.get(event.step or "", event.step)) for event in events]
    )


def step_text(step: str | None, rule: str | None) -> str:
    """The name of the step at which a case stands. The calls of a body share a step, which has no name for people."""
    by_body = not rule or chosen_by(rule) == rule  # a step of a process always has a rule
    return "its tasks" if step == TASKS and by_body else step or ""


async def steps_of(reader: Reader, rows: Sequence[CaseRow]) -> dict[int, str]:
    """The names of the steps at which cases stand, for people, by the number of the case: of a body, the tasks that have not ended."""
    names = {row.id: step_text(row.step, row.rule) for row in rows}
    for row in rows:
        if row.step == TASKS and names[row.id] != TASKS:
            tasks = [branch.name.partition("[")[0] for branch in await reader.branches(row.id) if branch.outcome is None]
            names[row.id] = ", ".join(dict.fromkeys(tasks)) or names[row.id]
    return names


def event_text(event: EventRow) -> str:
    """The text of an event."""
    facts = json.loads(event.facts)
    listed = ", ".join(facts.get("fields") or ())
    attempt = f" (attempt {event.attempt})" if event.attempt > 1 else ""
    match event.kind:
        case "decided":
            read = f"  (read {', '.join(facts['reads']) or 'nothing'})" if chosen_by(facts["rule"]) != facts["rule"] else ""
            return f"{chosen_by(facts['rule'])} -> {facts['step']}{read}"
        case "effect.settled":
            by = f", by {facts['by']}: {facts['why']}" if "by" in facts else ""
            return f"{event.step} {facts['how']}: wrote {listed or 'nothing'}{by}  (key {facts['key'][:12]}…)"
        case "effect.intended" | "effect.in_doubt" | "effect.not_sent":
            return f"{event.step}{': ' + facts['message'] if 'message' in facts else ''}  (key {facts['key'][:12]}…)"
        case "node.succeeded":
            return f"{event.step} wrote {listed or 'nothing'}{attempt}{_used(facts)}"
        case "node.failed":
            return f"{event.step}: {facts['error']}: {facts['message']}{_at(facts)}{attempt}"
        case "guard.violated":
            found = "; ".join(f"{violation['check']}: {violation['message']}" for violation in facts["violations"])
            return f"{event.step}: {found or ERASED_TEXT} -> {facts['next']}{_used(facts)}"
        case "node.retried":
            return f"{event.step} is tried again at {format_time(facts['at'])}"
        case "node.interrupted":
            return f"{event.step}: engines that ended during it: {facts['interruptions']}"
        case "permit.waited":
            return f"{event.step} waits for a permit of {facts['limit']!r}{': ' + facts['why'] if facts['why'] else ''}"
        case "result.dropped":
            return f"{event.step}: dropped {listed}"
        case "accepted" if "version" in facts:
            return f"fields {listed}  (version {facts['version']}, definition {facts['fingerprint']})"
        case "migrated":
            return f"from version {facts['since']} to {facts['to']}: changed {listed or 'nothing'}  (definition {facts['fingerprint']})"
        case "joined":
            return f"{event.step}: {facts['why']}{_ended(facts)}: wrote {listed or 'nothing'}"
        case "node.late":
            return f"{event.step} ended too late, and its result is ignored: {facts['result']}{attempt}"
        case "paused":
            return f"{event.step} shows {', '.join(facts['shows'])}  (digest {facts['digest'][:12]})"
        case "resumed":
            return f"{event.step} answered by {facts['by']}: wrote {listed}"
        case _:
            return _of_the_case(event, facts, listed)


def _of_the_case(event: EventRow, facts: Mapping[str, Any], listed: str) -> str:
    """The text of an event that is not about the call of a step."""
    match event.kind:
        case "message.received" if "passed" in facts:
            return f"{event.step}: message {facts['message']} was not taken in: {facts['passed']}"
        case "message.received":
            return f"{event.step}: message {facts['message']} wrote {listed or 'nothing'}"
        case "reminded" | "reassigned":
            by = f" by {facts['by']}{': ' * bool(facts['note'])}{facts['note']}" if "by" in facts else ""
            return f"{event.step} is assigned to {facts['assignee'] or 'nobody'}{by}"
        case "deadline.passed":
            return f"{event.step}: no answer came{': wrote the default to ' + facts['answer'] if facts['answer'] else ''}"
        case "sleeping":
            return f"{event.step} until {format_time(facts['until'])}"
        case "woken":
            return f"{event.step}: wrote {listed}"
        case "child.started":
            return f"{event.step}: case {facts['child']}"
        case "child.ended":
            return f"{event.step}: case {facts['child']} is {facts['status']}: wrote {listed or 'nothing'}"
        case "compensated":
            return f"reversed {', '.join(facts['effects']) or 'nothing'}"
        case "redriven":
            return f"by {facts['by']}: {facts['why']}{'; corrected ' + listed if listed else ''}"
        case "cancelled" | "erased":
            return f"by {facts['by']}: {facts['why']}"
        case "parked" | "blocked":
            return f"{facts['reason']}{_at(facts)}"
        case "expired":
            return f"retention deleted {format_count(len(facts['cases']), 'case')} of {facts['process']!r}"
        case _:
            return ", ".join(f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in facts.items())


def _at(facts: Mapping[str, Any]) -> str:
    return f"  ({facts['raised_at']})" if facts.get("raised_at") else ""


def _used(facts: Mapping[str, Any]) -> str:
    """The usage of a model response."""
    used = usage_in(facts)
    if used is None:
        return ""
    model, usage = used
    cost = f", {usage.cost:f}" if usage.cost else ""
    return f"  ({model}: {usage.input_tokens} + {usage.output_tokens} tokens{cost})"


def _ended(facts: Mapping[str, Any]) -> str:
    """How the branches ended: the number that succeeded, and the first names of the others."""
    parts = [f"; {len(facts['succeeded'])} succeeded"]
    for how in ("failed", "cancelled"):
        names = facts[how]
        more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
        parts += [f", {how}: {', '.join(names[:NAMED_MAX])}{more}"] if names else []
    return "".join(parts)
