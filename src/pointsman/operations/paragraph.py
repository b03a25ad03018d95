"""The first paragraph about a case: where it stands, whom it waits for, what happens next, what is not repeated, and what to type."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pointsman.definition.children import Child
from pointsman.definition.counts import format_count
from pointsman.definition.pauses import Expire, Pause, Reassign, Remind
from pointsman.definition.rules import Park
from pointsman.errors import BudgetSpent
from pointsman.kernel.events import Kind, chosen_by
from pointsman.kernel.ledger import say_what, say_whether
from pointsman.kernel.rows import CaseRow, EventRow
from pointsman.kernel.snapshot import Status
from pointsman.kernel.timers import expires_at, next_rung_at
from pointsman.operations.findings import Findings
from pointsman.operations.times import format_duration, format_time

NAMED_MAX = 4  # steps or keys in a sentence; the lists below it have all
_SINCE = {
    Status.WAITING: (Kind.PAUSED, Kind.SLEEPING, Kind.CHILD_STARTED),
    Status.PARKED: (Kind.PARKED,),
    Status.BLOCKED: (Kind.BLOCKED,),
    Status.DONE: (Kind.FINISHED,),
    Status.CANCELLED: (Kind.CANCELLED,),
}
NOTHING_TO_DO = "There is nothing to do."


@dataclass(frozen=True, slots=True)
class Paragraph:
    """What an operator reads first about a case, in sentences; each may be empty.

    `stands` says where the case stands and since when, `waits` whom or what it waits for, `follows` what happens next and when, `kept` what
    will not be repeated, and `do` what a person does. `commands` are what to type for that, without the options that name the database and
    the code.
    """

    stands: str
    waits: str
    follows: str
    kept: str
    do: str
    commands: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All sentences."""
        return " ".join(filter(None, (self.stands, self.waits, self.follows, self.kept, self.do)))

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {**asdict(self), "commands": list(self.commands), "text": self.text}


def paragraph_of(told: Findings, now: float) -> Paragraph:
    """Write the first paragraph about a case. `now` is in Unix seconds."""
    row = told.case
    if told.history.erased is not None:
        return Paragraph(f"The content of case {row.id} is erased: {_erased(told)}.", "", "", "", NOTHING_TO_DO)
    match row.status:
        case Status.READY:
            return _ready(told, now)
        case Status.RUNNING:
            return _running(told, now)
        case Status.WAITING:
            return _waiting(told, now)
        case Status.PARKED:
            return _parked(told, now)
        case Status.BLOCKED:
            return _blocked(told, now)
    return _ended(told, now)


# One status each.


def _ready(told: Findings, now: float) -> Paragraph:
    row, at, limit = told.case, told.stands_at, None
    failed = _last_failure(told)
    failed = f"The last attempt failed: {failed}." if failed else ""
    if row.needs is not None:
        limit = told.around.limits.get(row.needs) or told.history.limit
        stands = f"Case {row.id} is ready to run {at}{_chosen(row)}, and waits for a permit of {row.needs!r}{_since(told, now)}."
        waits = " ".join(filter(None, (_permits(limit), failed)))
        follows = f"It runs {at} when {row.needs!r} has a permit{_not_before(limit, now)}."
    elif row.wake_at is not None and row.wake_at > now:
        stands = f"Case {row.id} is at {at}{_chosen(row)}, and waits for its next attempt{_since(told, now)}."
        waits = failed
        follows = f"{_attempt(told)} begins {_when(row.wake_at, now)}."
    else:
        stands = f"Case {row.id} is ready to run {at}{_chosen(row)}, and is in the backlog{_since(told, now, row.wake_at)}."
        waits = failed
        follows = f"It runs {at} as soon as an engine has a free place."
    do, commands = _engine(told, f"an engine runs it by itself{' once the cause of the failure is gone' if failed else ''}")
    return Paragraph(stands, waits, follows, _kept(told), do, commands)


def _running(told: Findings, now: float) -> Paragraph:
    row, at, engines = told.case, told.stands_at, told.around.engines
    stands = f"Case {row.id} runs {at}{_chosen(row)}{_since(told, now)}."
    if engines is None or engines.runner is None:
        return Paragraph(stands, "", f"Rules choose the next step when {at} has ended.", _kept(told), NOTHING_TO_DO)
    if not engines.lost:
        lease = "" if engines.lease_until is None else f", whose lease runs until {format_time(engines.lease_until)} and is renewed"
        waits = f"It waits for the call in {engines.runner}{lease}."
        return Paragraph(stands, waits, f"The next step follows when {at} has ended.", _kept(told), NOTHING_TO_DO)
    waits = f"{engines.runner[0].upper()}{engines.runner[1:]} ran it, and is gone."
    over = engines.lease_until is not None and engines.lease_until > now
    taken = f"when its lease has run out, {_when(engines.lease_until or 0.0, now)}" if over else "at once"
    follows = f"The next engine takes the case over {taken}, and goes on with {at}; the attempt that was cut short does not count."
    do, commands = _engine(told, "another engine takes it over by itself")
    return Paragraph(stands, waits, follows, _kept(told), do, commands)


def _waiting(told: Findings, now: float) -> Paragraph:
    row, step = told.case, told.waits_at
    stands = f"Case {row.id} waits at {told.stands_at}{_chosen(row)}{_since(told, now)}."
    late = row.wake_at is not None and row.wake_at <= now
    after = f"After {told.awaits or 'that'} it goes on with {_likely(told)}." if _likely(told) else ""
    if isinstance(step, Child):
        child = told.around.children[-1] if told.around.children else None
        if child is None:
            return Paragraph(stands, f"It waits for the end of the child {step.name!r}.", after, _kept(told), NOTHING_TO_DO)
        waits = f"It waits for the end of case {child.id} of {child.process}, which is {child.status}{f': {child.reason}' if child.reason else ''}."
        do = f"Look at case {child.id}." if child.status is not Status.RUNNING else NOTHING_TO_DO
        return Paragraph(stands, waits, after, _kept(told), do, (f"pointsman explain {child.id}",))
    if isinstance(step, Pause):
        return _asking(told, step, now, after)
    until = row.wake_at
    waits = (
        f"It waits for {told.awaits or 'what comes'}."
        if until is None
        else f"It sleeps until {format_time(until)}{', which is over' if late else f' ({_in(until, now)})'}."
    )
    do, commands = _engine(told, "the timer wakes it") if late else (NOTHING_TO_DO, ())
    return Paragraph(stands, waits, after, _kept(told), do, commands)


def _asking(told: Findings, pause: Pause, now: float, after: str) -> Paragraph:
    """The paragraph of a case that waits for a person."""
    row, opened = told.case, told.history.pause
    stands = f"Case {row.id} waits at {pause.name}{_chosen(row)}{_since(told, now)}."
    who = None if opened is None else opened.assignee
    waits = [f"It waits for {who or 'anybody'} to answer; nobody has answered yet."]
    late = False
    if opened is not None:
        rung, ends = next_rung_at(pause, opened.opened_at, opened.rung), expires_at(pause, opened)
        if rung is not None and rung != ends:
            waits.append(f"{_rung_words(pause, opened.rung)} {_when(rung, now)}.")
        if ends is not None:
            waits.append(f"Its deadline is {format_time(ends)} ({_in(ends, now)}): {_at_the_deadline(pause)}.")
        late = any(at is not None and at <= now for at in (rung, ends))
    do = f"{who or 'Somebody'} answers. See what to decide on:"
    commands: tuple[str, ...] = (f"pointsman answer {row.id}",)
    if late:
        more, start = _engine(told, "an engine takes up what is overdue")
        do, commands = (f"{more} {do}", (*start, *commands)) if start else (do, commands)
    return Paragraph(stands, " ".join(waits), after, _kept(told), do, commands)


def _parked(told: Findings, now: float) -> Paragraph:
    row = told.case
    stands = f"Case {row.id} is parked{_at(told)}{_since(told, now)}: {_reason(told)}."
    waits = "It waits for an operator, and no engine goes on with it before that."
    follows, do, commands = _after_parking(told)
    return Paragraph(stands, waits, follows, _kept(told), do, commands)


def _blocked(told: Findings, now: float) -> Paragraph:
    row = told.case
    stands = f"Case {row.id} is blocked{_at(told)}{_since(told, now)}: {(row.reason or 'no code accepts it').rstrip('.')}."
    do = f"Start a worker with code that accepts version {row.version}; this tries the code first:"
    waits = f"It waits for an engine whose code accepts version {row.version} of {row.process}, and then goes on by itself."
    return Paragraph(stands, waits, "", _kept(told), do, ("pointsman check", "pointsman worker"))


def _ended(told: Findings, now: float) -> Paragraph:
    row = told.case
    how = f"ended as {row.outcome!r}" if row.status is Status.DONE else f"was cancelled ({row.reason})"
    stands = f"Case {row.id} {how} {_ago(_moment(told), now)}."
    doubt = told.ledger.keys("in doubt")
    if not doubt:
        return Paragraph(stands, "", "Nothing follows.", _kept(told, promise=False), NOTHING_TO_DO)
    do = "Find out whether the effect in doubt happened, and say so:"
    return Paragraph(stands, "", f"Nothing follows, but {_doubtful(told)}.", _kept(told, promise=False), do, _resolves(doubt[0]))


# What sets a parked case going again.


def _after_parking(told: Findings) -> tuple[str, str, tuple[str, ...]]:
    """What follows, what to do and what to type for a parked case, by what parked it."""
    case, redrive = told.case.id, f"pointsman redrive {told.case.id} --why TEXT"
    doubt, step = told.ledger.keys("in doubt"), told.next_step
    if doubt:
        follows = f"Nobody knows whether {_doubtful_name(told)} happened; the case goes on when an operator has said so."
        return follows, "Find out whether it happened, and say so (TEXT is your reason):", _resolves(doubt[0])
    unknown = [call for call in told.ledger.calls if call.stands == "settled" and call.words.startswith("done, but")]
    if unknown:
        do = f"Say what {unknown[0].name} returned:"
        return f"It goes on after {unknown[0].name}, which is not called again.", do, _resolves(str(unknown[0].key))[:1]
    rejected = next((call for call in told.ledger.calls if call.name == told.case.step and call.words.startswith("rejected")), None)
    if rejected is not None and not told.calls:
        follows = f"A redrive alone parks it again, because {rejected.name} was rejected and is not called again under its key."
        do = "Correct what it reads, or have it called again if the other side takes it now:"
        return follows, do, (f"{redrive} --set FIELD=VALUE", f"pointsman resolve {rejected.key} --call-again --why TEXT")
    if told.redrive:
        return f"{told.redrive[0].upper()}{told.redrive[1:]}.", "Mend the cause, then redrive:", (redrive,)
    child = _ended_child(told)
    if child is not None:
        do = f"Look at case {child}, mend the cause, then redrive this case, which starts the child again:"
        return f"Redriven, it goes on with {told.stands_at}.", do, (f"pointsman explain {child}", redrive)
    if isinstance(step, Park):
        by_rule = any(rule.name == told.rule and rule.step == step.name for rule in told.rules)
        if by_rule:
            follows = f"A redrive alone parks it again, because rule {told.rule!r} still holds{_reads(told)}."
            do = "Correct a field, so that another rule holds, or cancel the case:"
            return follows, do, (f"{redrive} --set FIELD=VALUE", f"pointsman cancel {case} --why TEXT")
        again = "for the same reason" if step.reason == told.case.reason else f"because {step.reason.rstrip('.')}"
        follows = f"A redrive alone parks it again, {again}."
        return follows, "Correct the rule and start the engine with it, or correct a field:", (f"{redrive} --set FIELD=VALUE",)
    return _by_redrive(told, redrive)


def _by_redrive(told: Findings, redrive: str) -> tuple[str, str, tuple[str, ...]]:
    """What follows, what to do and what to type for a case that a redrive sets going again."""
    if told.unreadable:
        follows = f"A redrive alone parks it again, as long as the code cannot read {_listed(told.unreadable)}."
        return follows, "Start the engine with code that can, and redrive, or correct the field:", (redrive, f"{redrive} --set FIELD=VALUE")
    if isinstance(told.next_step, Pause):
        follows = f"Redriven, it asks at {told.next_step.name} again, and its deadline begins anew."
        return follows, "If it is to be asked again, redrive:", (redrive,)
    if _last_error(told) == BudgetSpent.__name__:
        follows = f"Redriven, it goes on with {told.goes_on_with} if the budget has room by then, and parks again if not."
        return follows, "Raise the budget and start the engine with it, then redrive:", (redrive,)
    return (
        f"Redriven, it goes on with {told.goes_on_with}, with new attempts.",
        "Mend the cause, then redrive (TEXT is your reason):",
        (redrive,),
    )


def _resolves(key: str) -> tuple[str, ...]:
    return (
        f"pointsman resolve {key} --happened --outcome JSON --why TEXT",
        f"pointsman resolve {key} --call-again --why TEXT",
    )


def _ended_child(told: Findings) -> int | None:
    """The child whose end parked the case."""
    parked = next((event for event in reversed(told.history.events) if event.kind == Kind.PARKED), None)
    if parked is None:
        return None
    ended = [event for event in told.history.events if event.kind == Kind.CHILD_ENDED and event.revision == parked.revision]
    return json.loads(ended[-1].facts)["child"] if ended else None


# Parts of sentences.


def _moment(told: Findings) -> float:
    """When the case came to where it stands (Unix seconds)."""
    kinds = _SINCE.get(told.case.status, ())
    return next((event.at for event in reversed(told.history.events) if event.kind in kinds), told.case.updated_at)


def _since(told: Findings, now: float, at: float | None = None) -> str:
    moment = _moment(told) if at is None else at
    long = f" ({format_duration(now - moment)})" if now - moment >= 1 else ""
    return f", since {format_time(moment)}{long}"


def _ago(at: float, now: float) -> str:
    return f"at {format_time(at)}" + (f" ({format_duration(now - at)} ago)" if now - at >= 1 else "")


def _in(at: float, now: float) -> str:
    return f"in {format_duration(at - now)}" if at > now else f"{format_duration(now - at)} ago, and it has not been taken up"


def _when(at: float, now: float) -> str:
    return f"at {format_time(at)} ({_in(at, now)})"


def _chosen(row: CaseRow) -> str:
    """What chose the step of a case."""
    if not row.rule:
        return ""
    return f", by {chosen_by(row.rule)}" if chosen_by(row.rule) != row.rule else f", because {row.rule}"


def _reason(told: Findings) -> str:
    """Why the case is parked, without the commands that the end of the paragraph has."""
    reason = told.case.reason or "no reason is recorded"
    for call in told.ledger.calls:
        if call.key is not None:
            reason = reason.removesuffix(f"; {say_whether(call.key)}").removesuffix(f"; {say_what(call.key)}")
    return reason.rstrip(".")


def _at(told: Findings) -> str:
    return f" at {told.stands_at}" if told.case.step and told.case.step != "park" else ""


def _attempt(told: Findings) -> str:
    row, step = told.case, told.next_step
    most = getattr(getattr(step, "retry", None), "attempts_max", None)
    return f"The next attempt of {told.stands_at}, number {row.attempts + 1}{f' of {most}' if most else ''},"


def _last_failure(told: Findings) -> str:
    """What the last attempt of the present step failed with, if it has not succeeded since."""
    for event in reversed(told.history.events):
        if event.kind in {Kind.NODE_FAILED, Kind.EFFECT_NOT_SENT, Kind.EFFECT_IN_DOUBT, Kind.GUARD_VIOLATED}:
            return _failure(event)
        if event.kind in {Kind.DECIDED, Kind.REDRIVEN, Kind.NODE_SUCCEEDED, Kind.EFFECT_SETTLED}:
            return ""
    return ""


def _last_error(told: Findings) -> str:
    """The name of the last exception of the case, or ""."""
    failed = next((event for event in reversed(told.history.events) if event.kind == Kind.NODE_FAILED), None)
    return "" if failed is None else str(json.loads(failed.facts).get("error", ""))


def _failure(event: EventRow) -> str:
    facts = json.loads(event.facts)
    if event.kind == Kind.GUARD_VIOLATED:
        return "; ".join(f"{one['check']}: {one['message']}" for one in facts["violations"])
    return str(facts.get("message", "")).rstrip(".")


def _permits(limit: Any) -> str:
    """Who has the permits of a limit, and whether its breaker is open."""
    if limit is None:
        return ""
    holders = [holder.split("/") for holder in sorted(limit.permits)]
    under_way = ", ".join(f"case {case} at {step}" for case, step, *_ in holders[:NAMED_MAX])
    more = f" and {format_count(len(holders) - NAMED_MAX, 'more')}" if len(holders) > NAMED_MAX else ""
    held = f"Running calls have its permits: {under_way}{more}." if holders else ""
    failed = f"Its circuit breaker is open, because {format_count(limit.failures, 'call')} in a row failed." if limit.open_until else ""
    return " ".join(filter(None, (held, failed)))


def _not_before(limit: Any, now: float) -> str:
    until = 0.0 if limit is None else max(limit.open_until, limit.held_until)
    return f", not before {format_time(until)} ({_in(until, now)})" if until > now else ""


def _rung_words(pause: Pause, rung: int) -> str:
    match pause.ladder[min(rung, len(pause.ladder) - 1)]:
        case Remind():
            return "Next on its ladder, a reminder is due"
        case Reassign(to=to):
            return f"Next on its ladder, it passes to {to}"
    return "The ladder ends"


def _at_the_deadline(pause: Pause) -> str:
    end = pause.ladder[-1]
    if isinstance(end, Expire) and end.reason is not None:
        return f"then the case parks ({end.reason})"
    return f"then the deadline answers {_plain(getattr(end, 'default', None))}"


def _plain(value: Any) -> str:
    return str(value.model_dump(mode="json")) if hasattr(value, "model_dump") else repr(value)


def _likely(told: Findings) -> str:
    """The steps that probably come next, in words."""
    steps = list(told.likely)
    shown = [*steps[:NAMED_MAX], *([format_count(len(steps) - NAMED_MAX, "other step")] if len(steps) > NAMED_MAX else [])]
    return " or ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - NAMED_MAX} more"] if len(names) > NAMED_MAX else []
    shown = [*names[:NAMED_MAX], *more]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""


def _kept(told: Findings, *, promise: bool = True) -> str:
    """What will not be repeated."""
    calls = dict.fromkeys(call.name.partition("[")[0] for call in told.calls if call.how not in {"open", "left out"})
    recorded = list(calls) or list(told.stands)
    done = list(dict.fromkeys(call.name for call in told.ledger.calls if call.stands == "settled" and call.words.startswith("done")))
    steps = [name for name in recorded if name not in done]
    effects = f"{'the effect' if len(done) == 1 else 'the effects'} {_listed(done)}" if done else ""
    if not promise:
        return f"Done, and never called again: {effects}." if effects else ""
    if not steps and not effects:
        return "Nothing is recorded yet that could be repeated."
    return f"It will not repeat {' or '.join(filter(None, (_listed(steps), effects)))}."


def _doubtful_name(told: Findings) -> str:
    return next((call.name for call in told.ledger.calls if call.stands == "in doubt"), "the effect")


def _doubtful(told: Findings) -> str:
    return f"nobody knows whether {_doubtful_name(told)} happened"


def _reads(told: Findings) -> str:
    reads = next((rule.reads for rule in told.rules if rule.name == told.rule), ())
    return f" (it reads {_listed(reads)})" if reads else ""


def _erased(told: Findings) -> str:
    erased = told.history.erased
    assert erased is not None
    facts = json.loads(erased.facts)
    return f"by {facts['by']} at {format_time(erased.at)} ({facts['why']})"


def _engine(told: Findings, otherwise: str) -> tuple[str, tuple[str, ...]]:
    """What to do about a case that an engine goes on with: nothing, or start an engine."""
    engines = told.around.engines
    if engines is not None and not engines.open:
        return "No engine has the database open. Start one:", ("pointsman worker",)
    return f"There is nothing to do: {otherwise}.", ()
