"""Explains a case: why it is where it is, and what the engine would do next. It calls no step."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pointsman.definition.children import Child
from pointsman.definition.counts import format_count
from pointsman.definition.effects import Compensation, Effect
from pointsman.definition.fingerprint import SHORT
from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import TASKS
from pointsman.errors import UnknownProcess, ValueRefused, VersionNotAccepted
from pointsman.kernel import compensations
from pointsman.kernel.case import UNKNOWN
from pointsman.kernel.codec import codec_of, digest_of
from pointsman.kernel.decide import Decision, Tried
from pointsman.kernel.events import Kind, chosen_by
from pointsman.kernel.explain import possible_next, tried_rules
from pointsman.kernel.guarding import Progress
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.limits import LimitState
from pointsman.kernel.migrate import migrate
from pointsman.kernel.program import CallDescription, Description, program_of
from pointsman.kernel.rows import BranchRow, CaseRow, EffectRow
from pointsman.kernel.snapshot import ENDED, Cell, Status
from pointsman.operations.history import History, history_of
from pointsman.operations.times import format_duration, format_time
from pointsman.runtime.registry import Registry
from pointsman.store.base import Reader

_AWAITS: Mapping[str, str] = {
    Kind.PAUSED: "the answer",
    Kind.SLEEPING: "the end of the sleep",
    Kind.CHILD_STARTED: "the end of the child",
}
TASKS_SHOWN = 5  # named in one line
CALLS_SHOWN = 40  # of a body: a screen
SHOWN_MAX = 160  # characters of a value: two lines of a terminal


@dataclass(frozen=True, slots=True)
class RuleDescription:
    """A rule and the present value of its condition. `holds` is None if the condition raised; `problem` then says what.

    `note` says what the engine would do with the effect of this rule, if the effect has a call without an outcome.
    """

    name: str
    step: str
    holds: bool | None
    reads: tuple[str, ...]
    problem: str | None
    certain: bool = True
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of the case with this `history`.

    `description` is that of its program, or None if the case was erased. The rule that chose the present step read `reads`. `following` are the rules that can be chosen next: after the answer if
    the case waits for one, otherwise now. `stands` lists the steps whose results the engine would not compute again, with
    their fields. `effects` says of each effect whether it would be called, has an outcome, or is in doubt. `obstacles` lists what
    stops the case. The case of an entrypoint has no rules: `calls` are the calls of its body, `redrive` says what a redrive would do with them, and
    `fields_of_calls` are the fields that record them.
    """

    history: History
    description: Description | None
    rules: tuple[RuleDescription, ...]
    following: tuple[RuleDescription, ...]
    stands: Mapping[str, tuple[str, ...]]
    effects: Mapping[str, str]
    obstacles: tuple[str, ...]

    @property
    def calls(self) -> Sequence[CallDescription]:
        """The calls of a body; a process with rules has none."""
        return () if self.description is None else self.description.calls

    @property
    def redrive(self) -> str:
        """What a redrive would do with the calls of a body that is parked."""
        return self.description.redrive if self.description is not None and self.case.status is Status.PARKED else ""

    @property
    def fields_of_calls(self) -> frozenset[str]:
        """The fields that record the calls of a body."""
        return frozenset() if self.description is None else self.description.fields

    @property
    def reads(self) -> Mapping[str, Any]:
        """What the decision read."""
        return (
            {}
            if self.description is None
            else {name: self.history.state.get(name) for name in _reads_of(self.history, self.description.decision)}
        )

    @property
    def case(self) -> CaseRow:
        """Where the case stands."""
        return self.history.case

    @property
    def stands_at(self) -> str:
        """The step that the case stands at; while a body waits for tasks, these tasks, or else the body."""
        if self.case.step != TASKS:
            return self.case.step or "?"
        waits_for = list(dict.fromkeys(call.name.partition("[")[0] for call in self.calls if call.how == "open" and call.kind == "task"))
        more = f" and {format_count(len(waits_for) - TASKS_SHOWN, 'more task')}" if len(waits_for) > TASKS_SHOWN else ""
        return ", ".join(waits_for[:TASKS_SHOWN]) + more or "its body"

    @property
    def awaits(self) -> str | None:
        """What a waiting case waits for: "the answer", "the end of the sleep" or "the end of the child"; None if it does not wait."""
        waits = self.case.status is Status.WAITING
        return next((_AWAITS[event.kind] for event in reversed(self.history.events) if event.kind in _AWAITS), None) if waits else None

    @property
    def branches(self) -> Mapping[str, str]:
        """How the branches of an unfinished step have ended, without the calls of a body whose outcome is recorded."""
        recorded = {call.call for call in self.calls if call.how != "open"}
        return {branch.name: _branch(branch) for branch in self.history.branches if branch.name not in recorded}

    def lines(self, now: float) -> Iterator[str]:
        """The lines of a text for a person. `now` is in Unix seconds."""
        row = self.case
        yield f"case {row.id} is {row.status} at {self.stands_at}{_chosen(row.rule)}"
        yield from (f"  {obstacle}" for obstacle in self.obstacles)
        if row.wake_at is not None and row.needs is not None and row.wake_at <= now:
            yield f"  in the backlog since {format_time(row.wake_at)}"
        elif row.wake_at is not None:
            yield f"  due at {format_time(row.wake_at)}" + (f", in {format_duration(row.wake_at - now)}" if row.wake_at > now else "")
        yield from self._calls()
        if self.rules:
            yield "\nThe rules in order, and the fields that they read:"
        for rule in self.rules:
            mark = "!" if rule.holds is None else "✓" if rule.holds else "·"
            yield f"  {mark} {rule.name} -> {rule.step}  ({', '.join(rule.reads) or 'nothing'})"
        if self.reads:
            yield "\nThe fields that the decision read:"
        yield from (f"  {name} = {_short(value)}" for name, value in self.reads.items())
        if self.following:
            yield f"\nWhat can come next{f', after {self.awaits}' if self.awaits else ''}:"
        for rule in self.following:
            yield f"  {rule.name} -> {rule.step}  ({rule.note or ('next' if rule.certain else f'if {self.awaits} makes it hold')})"
        for title, entries in (("What the engine would not repeat", self.stands), ("Branches", self.branches), ("Effects", self.effects)):
            if entries:
                yield f"\n{title}:"
            for name, words in entries.items():
                yield f"  {name}: {words}" if isinstance(words, str) else f"  {name} has written {', '.join(words)}"

    def _calls(self) -> Iterator[str]:
        if self.redrive:
            yield f"  {self.redrive}"
        if self.calls:
            yield "\nThe calls of the body; what is recorded is not called again:"
        left_out = len(self.calls) - CALLS_SHOWN
        for at, call in enumerate(self.calls):
            if left_out > 0 and at == CALLS_SHOWN // 2:
                yield f"  ({left_out:,} calls are left out here; --json has them)"
            if left_out > 0 and 0 <= at - CALLS_SHOWN // 2 < left_out:
                continue
            yield f"  {'…' if call.how == 'open' else '!' if call.how == 'failed' else '✓'} {call.name} {_how(call)}"

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        row = self.case
        return {
            "case": row.id, "status": row.status, "step": row.step, "rule": row.rule, "reads": dict(self.reads),
            "rules": [_as_json(rule) for rule in self.rules], "following": [_as_json(rule) for rule in self.following],
            "stands": {step: list(fields) for step, fields in self.stands.items()}, "effects": dict(self.effects),
            "calls": [call._asdict() for call in self.calls], "redrive": self.redrive,
            "branches": self.branches, "obstacles": list(self.obstacles), "wake_at": row.wake_at,
        }  # fmt: skip


async def explain_case(reader: Reader, processes: Sequence[AnyProcess], case: int) -> Explanation:
    """Explain a case under the present code. `processes` are the versions of its process, and possibly other processes.

    If a definition that is not among them is the newest one on the database, an obstacle says so. Raises UnknownCase, UnknownProcess.
    """
    registry = Registry(processes)
    history = await history_of(reader, case)
    row = history.case
    if row.process not in registry.names:
        problem = f"case {case} is of process {row.process!r}, not of {' or '.join(map(repr, registry.names))}"
        raise UnknownProcess(f"{problem}; name its process with --app module:attribute.")
    process = registry.accepting(row.process, row.version) or registry.for_start(row.process)
    explanation = explain(process, history)
    seen = [definition for definition in await reader.definitions() if definition.process == process.name]
    last = max(seen, key=lambda definition: definition.seen_at, default=None)
    here = {given.fingerprint for given in processes if given.name == process.name}
    if last is None or not here.isdisjoint(definition.fingerprint for definition in seen if definition.seen_at == last.seen_at):
        return explanation
    this, other = f"this definition ({process.fingerprint[:SHORT]})", last.fingerprint[:SHORT]
    if process.fingerprint in {definition.fingerprint for definition in seen}:  # the store knows when each was opened first, not last
        note = f"a newer definition ({other}) than {this} has been opened on the database; if an engine uses that one"
    else:
        note = f"{this} has never been opened on the database; if an engine uses the newest one there ({other})"
    return replace(explanation, obstacles=(*explanation.obstacles, f"{note}, its rules and policies may differ from those shown here"))


def explain(process: AnyProcess, history: History) -> Explanation:
    """Explain a case under the present code."""
    row = history.case
    if history.erased is not None:
        return _nothing_left(process, history, json.loads(history.erased.facts))
    obstacles: list[str] = [row.reason] if row.reason else []
    cells = _cells(process, _migrated(process, history, obstacles), obstacles)
    stands_at = None if row.step is None else process.called(row.step)
    rules = tuple(_rule(tried) for tried in tried_rules(process, cells))
    effects, unsettled = _effects(process, history, cells)
    step = process.steps.get(stands_at or "")
    waits_at = step if row.status is Status.WAITING and isinstance(step, Pause | Sleep | Child) else None
    unknown = frozenset() if waits_at is None else _open_fields(process, cells, waits_at)
    described = program_of(process).describe(cells)
    decision, begun = described.decision, compensations.begun(process, stands_at, history.effects)
    following = tuple(
        _rule(tried, certain=certain, note=unsettled.get(tried.rule.step.name)) for tried, certain in possible_next(process, cells, unknown)
    )
    if begun is not None:
        note = "next: a compensation that has begun is completed, whatever the rules choose by now"
        following = tuple(replace(rule, note=note) for rule in rules if rule.step == begun.name)
    elif row.status in {Status.WAITING, Status.READY} and decision.step.name != stands_at:
        chooses = f"rule {decision.rule!r} would choose" if rules else "the body would go on with"
        obstacles.append(f"under the present code {chooses} {decision.step.name} instead of {row.step}")
    obstacles += [f"under the present code {name} runs anew, because its arguments have changed" for name in described.anew]
    obstacles += [
        f"the body has not asked for {name}, which is recorded; if it returns without it, the case parks" for name in described.left
    ]
    if row.inbox and row.status not in ENDED:
        obstacles.append(f"in its inbox: {format_count(row.inbox, 'message')}, which may change what comes next")
    if row.needs is not None and row.status is Status.READY:
        obstacles += _limit(row, history.limit or LimitState())
    return Explanation(
        history=history,
        description=described,
        rules=rules,
        following=() if row.status in {Status.DONE, Status.CANCELLED} else following,
        stands={} if described.calls else _stands(cells),
        effects=effects,
        obstacles=tuple(obstacles),
    )


def _chosen(rule: str | None) -> str:
    """What chose the step of a case."""
    return "" if not rule else f": {rule}" if chosen_by(rule) == rule else f", by {chosen_by(rule)}"


def _how(call: CallDescription) -> str:
    if call.how == "open":
        given = "" if call.value in (None, {}) else f" with {_short(call.value)}"
        return f"has no outcome yet{given}"
    now = ", and the body no longer asks for it" if call.how == "left out" else ""
    return f"{'returned' if now else call.how}: {_short(call.value)}{now}"


def _limit(row: CaseRow, limit: LimitState) -> Iterator[str]:
    """Why a case waits for a permit, as far as the store knows."""
    holders = [holder.split("/") for holder in sorted(limit.permits)]
    under_way = ", ".join(f"case {case} at {step!r}" for case, step, *_ in holders)
    yield f"it waits for a permit of {row.needs!r}; running calls: {under_way or 'none'}"
    if limit.held_until > row.updated_at:
        yield f"{row.needs!r} asked callers to wait until {format_time(limit.held_until)}"
    if limit.open_until:
        yield f"{row.needs!r} failed {format_count(limit.failures, 'time')} in a row; no call is made until {format_time(limit.open_until)}, and then one is tried"


def _nothing_left(process: AnyProcess, history: History, facts: Mapping[str, Any]) -> Explanation:
    """The explanation of an erased case; `facts` are those of the erasure."""
    note = f"its content was erased by {facts['by']} ({facts['why']}); its events still say what happened, when and by whom"
    return Explanation(history, None, (), (), {}, _effects(process, history, {})[0], (note,))


def _migrated(process: AnyProcess, history: History, obstacles: list[str]) -> Mapping[str, tuple[str, str]]:
    """The JSON and the writer of each field, after their migration to the present version."""
    row, texts = history.case, {field.field: (field.text, field.writer) for field in history.fields}
    if row.version == process.version:
        return texts
    try:
        Registry([process]).for_case(row.process, row.version)
        migrated = migrate(process, row.version, texts).fields
    except VersionNotAccepted as error:
        obstacles += [str(error)] if str(error) not in obstacles else []
    else:
        obstacles.append(f"version {row.version} wrote it; the next step migrates it to version {process.version}, as shown here")
        return migrated
    return texts


def _cells(process: AnyProcess, texts: Mapping[str, tuple[str, str]], obstacles: list[str]) -> dict[str, Cell]:
    codec = codec_of(process.state)
    cells: dict[str, Cell] = {}
    for name, (text, writer) in texts.items():
        if not codec.knows(name):
            continue
        try:
            cells[name] = codec.decode(name, text, process.called(writer))
        except ValueRefused as error:
            obstacles.append(str(error))
    return cells


def _open_fields(process: AnyProcess, cells: Mapping[str, Cell], step: Pause | Sleep | Child) -> frozenset[str]:
    """The fields that the end of a wait may change: those that it writes, or an answer edits, and everything that is computed from them."""
    open_fields = {*step.writes, *(step.edits if isinstance(step, Pause) else ())}
    while True:
        more = {
            name
            for name, cell in cells.items()
            if cell.writer in process.steps and not open_fields.isdisjoint(process.depends(process.steps[cell.writer]))
        }
        if more <= open_fields:
            return frozenset(open_fields)
        open_fields |= more


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"


def _reads_of(history: History, decision: Decision) -> tuple[str, ...]:
    """The fields that the recorded decision read, or, if none is recorded, those that the present code reads."""
    decided = [event for event in history.events if event.kind == "decided"]
    return tuple(json.loads(decided[-1].facts)["reads"]) if decided else decision.reads


def _stands(cells: Mapping[str, Cell]) -> dict[str, tuple[str, ...]]:
    written: dict[str, tuple[str, ...]] = {}
    for name, cell in cells.items():
        if cell.writer:
            written[cell.writer] = (*written.get(cell.writer, ()), name)
    return written


def _effects(process: AnyProcess, history: History, cells: Mapping[str, Cell]) -> tuple[dict[str, str], dict[str, str]]:
    """The state of each effect, and, for each effect without an outcome, what the engine would do with it.

    A call that certainly did not happen, or was rejected, says nothing of a call that reads other values: that has another key.
    """
    states: dict[str, str] = {}
    unsettled: dict[str, str] = {}
    for name, step in process.steps.items():
        if isinstance(step, Effect):
            when = "its effect is reversed" if isinstance(step, Compensation) else "a rule chooses it"
            if not process.ordered_rules:
                when = "the body asks for it"
            then = "not called" if history.case.status in ENDED else f"not called yet; it will be called when {when}"
            states[name] = f"{then} ({type(step.safety).__name__})"
    policies = {facts["key"]: facts["safety"] for facts in _facts_of(history, Kind.EFFECT_INTENDED) if "safety" in facts}
    for entry in history.effects:
        name = process.called(entry.effect)
        effect = process.steps.get(name)
        policy = policies.get(entry.key) or (type(effect.safety).__name__ if isinstance(effect, Effect) else "unknown")
        words = _of_call(history.case, entry, policy, effect.retry.attempts_max if isinstance(effect, Effect) else None)
        states[name] = f"{words} (key {entry.key}, {policy})"
        reads_others = isinstance(effect, Effect) and effect.key is None and entry.arguments != digest_of(cells, effect.depends)
        if entry.status is EffectStatus.DONE or (entry.status not in UNKNOWN and reads_others):
            unsettled.pop(name, None)
        else:
            unsettled[name] = words
    return states, unsettled


def _of_call(row: CaseRow, entry: EffectRow, policy: str, calls_max: int | None) -> str:
    """The state of a call, and what the engine would do about it."""
    due = row.wake_at if row.status is Status.READY else None
    when = "" if due is None else f" at {format_time(due)}" if row.needs is None else f" when {row.needs!r} has a permit"
    most = "" if calls_max is None else f" of {calls_max}"
    ended = row.status in ENDED
    match entry.status:
        case EffectStatus.DONE:
            return "done; it will not be called again under this key"
        case EffectStatus.FAILED:
            return f"rejected: {entry.error}; it will not be called again under this key, unless an operator says so"
        case EffectStatus.NOT_SENT if ended:
            return f"not sent ({entry.error or 'an operator said so'})"
        case EffectStatus.NOT_SENT:
            again = f"{when}, call {entry.attempts + 1}{most}" if row.status is Status.READY else " once the case goes on"
            return f"not sent ({entry.error or 'an operator said so'}); it will be called again{again}"
        case EffectStatus.INTENDED if row.status is Status.RUNNING:
            return "intended; its call may be running"
    doubt = f"in doubt ({entry.error or 'the engine ended during the call'})"
    if ended:
        return f"{doubt}; the case has ended, and an operator can still say whether it happened"
    if policy == "Reconcile" and row.status is Status.READY:
        return f"{doubt}; a look-up finds out whether it happened{when}, and it will not be called again before that"
    if policy in {"Idempotent", "AtLeastOnce"} and row.status is Status.READY:
        unless = ", unless a message in the inbox changes what it reads" if row.inbox else ""
        return f"{doubt}; it will be called again under the same key{when}{unless}"
    return f"{doubt}; an operator must decide whether to call it again"


def _facts_of(history: History, kind: Kind) -> list[dict[str, Any]]:
    return [json.loads(event.facts) for event in history.events if event.kind == kind]


def _branch(branch: BranchRow) -> str:
    if branch.outcome is not None:
        return "has succeeded; it would not run again"
    if branch.failure is not None:
        return f"has failed: {json.loads(branch.failure)['message']}; a redrive runs it again"
    asked = "it would run again" if branch.guard is None else _asks(Progress.model_validate_json(branch.guard))
    return f"has failed {format_count(branch.attempts, 'time')}; {asked}" if branch.wake_at is not None else f"has not ended; {asked}"


def _asks(progress: Progress) -> str:
    """The model that a guard asks next, and the reason."""
    if not progress.violations:
        return f"its model {progress.model} is asked afresh"
    found = "; ".join(f"{violation.check}: {violation.message}" for violation in progress.violations)
    return f"its model {progress.model} is asked for repair {progress.repair} ({found})"


def _rule(tried: Tried, *, certain: bool = True, note: str | None = None) -> RuleDescription:
    holds = None if tried.error else tried.holds
    return RuleDescription(tried.rule.name, tried.rule.step.name, holds, tried.reads, tried.error, certain, note)


def _as_json(rule: RuleDescription) -> dict[str, Any]:
    return {**asdict(rule), "reads": list(rule.reads)}
