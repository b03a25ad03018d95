"""Attempts: how a call of a node ended, and what follows. One pipeline for nodes, branches and transactions.

An attempt ends with a result or an error. A guard checks a result. After an error, the retry policy may allow another attempt. After
the last attempt, the guard names the next model to ask. If there is none, the failure is recorded, shown to a person as
`Unsafe`, or parks the case. A call that the other side refused to serve does not count as an attempt: it waits for a permit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

from pointsman.definition.counts import format_count
from pointsman.definition.guards import Violation, unsafe_in
from pointsman.definition.nodes import AnyNode
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Parallel, Tasks
from pointsman.errors import BudgetSpent, CheckError, DefinitionError, Rejected, ValueRefused
from pointsman.kernel.case import Case, encode, failure_cells
from pointsman.kernel.codec import codec_of, digest_of, message_of
from pointsman.kernel.events import NOTHING as NO_FACTS
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evidence import error_name, evidence_of, raised_at
from pointsman.kernel.guarding import BEGINNING, Progress, free_model, next_model, next_try, objections, progress_of, taken_apart
from pointsman.kernel.limits import ending_of
from pointsman.kernel.moment import Moment, StepResult
from pointsman.kernel.record import record
from pointsman.kernel.rows import BranchRow, UsageRow
from pointsman.kernel.snapshot import Cell

Facts = Mapping[str, Any]

_SUCCEEDED = Kind.NODE_SUCCEEDED  # to look a member of an enum up takes as long as a call

INTERRUPTIONS_MAX = 8
"""The number of crashes during a step that parks its case. After the second crash the scheduler runs the case apart from other suspects,
so the case most likely caused the last six. A machine that is switched off a few times, or a restart loop, does not reach the number."""


class CallEnd(NamedTuple):
    """How a call ended: its `result`, or the `error` that it raised.

    `facts` say how the call changed its limit. A call that was `refused` does not count as an attempt, and the limit gives no permit
    until `held_until` (Unix seconds).
    """

    result: object = None
    error: Exception | None = None
    facts: Facts = NO_FACTS
    refused: bool = False
    held_until: float | None = None


class Try(NamedTuple):
    """One attempt: of a step (`alone`), or of the branch `name` whose item has this `place`. `progress` is that of its guard."""

    name: str
    number: int
    progress: Progress
    place: str | None = None
    alone: bool = False


@record
class Written:
    """The cells that an attempt wrote, and the facts about its response."""

    cells: dict[str, Cell]
    facts: Facts


class Followed(NamedTuple):
    """What follows from an attempt that failed: events, and one of four results, or none of them if the call was refused.

    It `wrote` cells in spite of it, is repeated at `again_at` (Unix seconds), continues with the guard at `progress`, or is a final `failure`.
    """

    events: tuple[Event, ...]
    wrote: dict[str, Cell] | None = None
    again_at: float | None = None
    progress: Progress | None = None
    failure: Exception | None = None


class _Answered(Exception):
    """The model answered, so its usage counts; `facts` record it."""

    def __init__(self, message: str, facts: Facts) -> None:
        super().__init__(message)
        self.facts = facts


class Objected(_Answered):
    """The guard rejected the response."""

    def __init__(self, violations: tuple[Violation, ...], raw: str, output: object, facts: Facts) -> None:
        super().__init__("; ".join(f"{violation.check}: {violation.message}" for violation in violations), facts)
        self.violations = violations
        self.raw = raw
        self.output = output


class Unjudged(_Answered):
    """A check raised, or the result cannot be split into its fields, so the guard cannot judge the response."""

    wraps = True


_NEVER_BETTER = (ValueRefused, Rejected, DefinitionError, BudgetSpent, _Answered)


def node_ended(at: Moment, node: AnyNode, end: CallEnd) -> StepResult:
    """What follows from the call of a node outside a parallel step."""
    case, attempt = at.case, at.case.row.attempts
    written = written_by(at, node, end)
    if not isinstance(written, Exception):
        return StepResult((succeeded(node.name, attempt, end.facts, written, written.cells),))
    followed = follow(at, node, Try(node.name, attempt, progress_in(case, node), alone=True), end, written)
    if followed.wrote is not None:
        return StepResult(followed.events)
    if followed.again_at is not None:
        return StepResult(followed.events, wake_at=followed.again_at)
    if followed.progress is not None:
        return _asked_again(at, node, followed.events, followed.progress)
    if followed.failure is None:
        return wait_for_permit(at, node, followed.events, has_event=True)
    [failed] = followed.events
    if node.on_failure == "record":
        return StepResult((replace(failed, writes=failure_cells(at.process, node, followed.failure, attempt)),))
    reason = why_failed(node.name, error_name(followed.failure), attempt, message_of(followed.failure))
    return StepResult((failed,), park=reason, evidence=evidence_of(followed.failure, attempt), ends_branches=node.guard is not None)


def why_failed(name: str, error: str, attempts: int, message: str) -> str:
    """Why a node or a branch has failed for good; `error` is the name of the exception's type."""
    if error == Objected.__name__:  # `attempts` counts those that raised; this one got a response
        return f"no result of {name!r} passed its guard: {message}"
    if error == BudgetSpent.__name__:
        return f"{name!r} was not called: {message}"
    return f"{name!r} failed after {format_count(attempts, 'attempt')}: {message}"


def succeeded(name: str, attempt: int, facts: Facts, written: Written, writes: Mapping[str, Cell]) -> Event:
    """The event of an attempt that has written cells. `facts` say how the call changed its limit."""
    fields: Facts = {"fields": (*written.cells,)}
    return Event(_SUCCEEDED, name, attempt, {**fields, **facts, **written.facts} if facts or written.facts else fields, writes)


def follow(at: Moment, node: AnyNode, tried: Try, end: CallEnd, error: Exception) -> Followed:
    """What follows from an attempt of a node that failed with this error."""
    name, attempt, progress, place, alone = tried
    if end.refused:
        return Followed((failure_event(name, attempt, error, end.facts),))
    again_at = _again_at(at, node, attempt, error)
    move = _next_move(node, progress, error) if again_at is None else None
    failed = failure_event(name, attempt, error, end.facts, move)
    if again_at is not None:
        return Followed((failed, Event(Kind.NODE_RETRIED, name, attempt, {"at": again_at})), again_at=again_at)
    if move is not None:
        return Followed((failed,), progress=move[1])
    if isinstance(error, Objected) and node.guard is not None and node.guard.escalate == "unsafe":
        cells = _unsafe_cells(at.process, node, error, place)
        return Followed((replace(failed, writes=cells) if alone else failed,), wrote=cells)
    return Followed((failed,), failure=error)


def interrupted(at: Moment, step: Parallel | AnyNode) -> StepResult:
    """What follows when engines crash repeatedly during a step: most likely the step, or the model that it asks, crashes them."""
    case, deaths = at.case, at.case.row.interruptions
    node = step.nodes[0] if isinstance(step, Parallel) else step
    event = Event(Kind.NODE_INTERRUPTED, node.name, case.row.attempts, {"interruptions": deaths})
    error = RuntimeError(f"the engine died {deaths} times while step {_running(step)!r} was running")
    if not isinstance(step, Parallel):
        move = _next_move(node, progress_in(case, node), None)
        if move is not None:
            return _asked_again(at, node, (event,), move[1])
        if node.on_failure == "record":
            return StepResult((replace(event, writes=failure_cells(at.process, node, error, deaths)),))
    return StepResult((event,), park=f"{error}; correct it and redrive the case", evidence=evidence_of(error, deaths))


def _running(step: Parallel | AnyNode) -> str:
    """The name of a step; of the calls of a body, those that were under way."""
    return ", ".join(call.name for call in step.calls[: step.concurrency]) if isinstance(step, Tasks) else step.name


def wait_for_permit(
    at: Moment, node: AnyNode, events: tuple[Event, ...] = (), *, has_event: bool = False, why: str | None = None
) -> StepResult:
    """Let the case wait for a permit. Its attempt does not count, because no call was made or the other side refused it."""
    assert node.limit is not None
    if not (has_event or at.case.row.needs == node.limit.name):
        events = (*events, waits_event(node.name, node.limit.name, at.case.row.attempts, why))
    return StepResult(events, wake_at=at.now, needs=node.limit.name, attempts=at.case.row.attempts - 1)


def waits_event(step: str, limit: str, attempt: int, why: str | None) -> Event:
    """The event of a case, or a branch, that waits for a permit."""
    return Event(Kind.PERMIT_WAITED, step, attempt, {"limit": limit, "why": why})


def progress_in(case: Case, node: AnyNode) -> Progress:
    """The progress of a step's guard for what the step reads now."""
    row = case.branches.get(node.name) if node.guard is not None else None
    if row is None or row.reads != digest_of(case.snapshot.cells, node.depends):
        return BEGINNING
    return progress_of(node.guard, row.guard)


def budget_spent(process: AnyProcess, tenant: str, of_case: Sequence[UsageRow], today: Sequence[UsageRow]) -> BudgetSpent | None:
    """Why a budget forbids the next call, or None. `today` is today's usage of the process, or at least of the tenant."""
    budget = process.budget
    if budget is None:
        return None
    of_tenant = [row for row in today if row.tenant == tenant]
    whose = f"tenant {tenant!r} today" if tenant else "its tenant today"
    for what, rows, cost, tokens in (
        ("the case", of_case, budget.case_cost, budget.case_tokens),
        (whose, of_tenant, budget.tenant_day_cost, budget.tenant_day_tokens),
        ("the process today", today, budget.day_cost, budget.day_tokens),
    ):
        reached = _reached(rows, cost, tokens)
        if reached is not None:
            return BudgetSpent(f"the budget of {what} is spent: {reached}; raise it, or let a person answer")
    return None


def has_budget(process: AnyProcess, node: AnyNode, progress: Progress) -> bool:
    """Whether a budget bounds the next call of the node. A budget does not bound the free models."""
    return process.budget is not None and node.guard is not None and progress.model < node.guard.models - node.guard.free_models


def failure_event(name: str, attempt: int, error: Exception, facts: Facts = NO_FACTS, move: tuple[str, Progress] | None = None) -> Event:
    """The event of an attempt that failed or whose response the guard rejected."""
    if isinstance(error, _Answered):
        facts = {**facts, **error.facts}
    if isinstance(error, Objected):
        violations = [violation.model_dump() for violation in error.violations]
        return Event(
            Kind.GUARD_VIOLATED, name, attempt, {"violations": violations, "next": "escalate" if move is None else move[0], **facts}
        )
    error_facts = {"error": error_name(error), "message": message_of(error), "raised_at": raised_at(error)}
    return Event(Kind.NODE_FAILED, name, attempt, {**error_facts, **facts})


def retry_seconds(error: Exception) -> float:
    """The seconds for which the other side asked to wait, or 0."""
    ending = ending_of(error)
    return ending if isinstance(ending, float) and math.isfinite(ending) else 0.0


def written_by(at: Moment, node: AnyNode, end: CallEnd, place: str | None = None) -> Written | Exception:
    """What an attempt wrote, or the error for which it wrote nothing. For the item at `place`, the cells are entries of fields."""
    error = end.error
    if error is None:
        try:
            if node.guard is not None:
                return _judged(at, node, end.result, place)
            return Written(encode(at.process, node, node.split(end.result), place=place), NO_FACTS)
        except Exception as refused:
            return refused
    if isinstance(error, TimeoutError) and node.timeout_seconds is not None and not str(error):
        late = TimeoutError(f"no result within {node.timeout_seconds} seconds")
        late.__cause__ = error
        return late
    return error


def _judged(at: Moment, node: AnyNode, result: object, place: str | None) -> Written:
    """Check a result against the types of its fields, then against the guard's checks. Raises Objected or Unjudged."""
    output, violations, raw, facts = taken_apart(result)
    assert node.guard is not None
    if violations:
        raise Objected(violations, raw, output, facts)
    try:
        cells = encode(at.process, node, node.split(output), place=place)
    except ValueRefused as error:
        raise Objected((Violation(check="schema", message=message_of(error)),), raw, None, facts) from None
    except TypeError as error:  # not a tuple of the fields that the node writes: a bug in the node, and the response was paid for
        raise Unjudged(message_of(error), facts) from error
    codec = codec_of(at.process.state)
    present = {**at.case.snapshot.cells, **cells} if place is None else at.case.snapshot.cells
    entries = {} if place is None else {name: cell.value for name, cell in cells.items()}
    try:
        violations = objections(node.guard, lambda read: entries[read] if read in entries else codec.fresh(present, read))
    except CheckError as error:
        raise Unjudged(message_of(error), facts) from error
    if violations:
        raise Objected(violations, raw or ", ".join(cell.text for cell in cells.values()), output, facts)
    return Written(cells, facts)


def _again_at(at: Moment, node: AnyNode, attempt: int, error: Exception) -> float | None:
    """When to make another attempt after a failed one (Unix seconds), or None after the last."""
    if attempt >= node.retry.attempts_max or not isinstance(error, node.retry.on) or isinstance(error, _NEVER_BETTER):
        return None
    return at.now + max(node.retry.wait_seconds(attempt, at.chance.random()), retry_seconds(error))


def _next_move(node: AnyNode, progress: Progress, error: Exception | None) -> tuple[str, Progress] | None:
    """The guard's next move after a final failure, or after crashes (`error` is None). None if no model is left."""
    if node.guard is None or isinstance(error, Unjudged):
        return None
    if isinstance(error, Objected):
        return next_try(node.guard, progress, error.violations, error.raw)
    if isinstance(error, BudgetSpent):
        return free_model(node.guard, progress)
    return next_model(node.guard, progress)


def _asked_again(at: Moment, node: AnyNode, events: tuple[Event, ...], progress: Progress) -> StepResult:
    """Run the step again at once, with a new count of attempts for the next response."""
    reads = digest_of(at.case.snapshot.cells, node.depends)
    write = BranchRow(node.name, reads=reads, guard=progress.model_dump_json())
    return StepResult(events, wake_at=at.now, branches=(write,), attempts=0)


def _unsafe_cells(process: AnyProcess, node: AnyNode, error: Objected, place: str | None) -> dict[str, Cell]:
    """The rejected response as an `Unsafe`, for a person; without its value if that does not fit the field."""
    field = node.writes[0]
    kind = unsafe_in(process.state.model_fields[field].annotation, entry=place is not None or field in process.logs)
    assert kind is not None, "it was looked for when the node was declared"
    bare = kind(violations=error.violations, raw=error.raw)
    try:
        return encode(process, node, {field: bare.model_copy(update={"value": error.output})}, place=place)
    except ValueRefused:
        return encode(process, node, {field: bare}, place=place)


def _reached(rows: Sequence[UsageRow], cost: Decimal | None, tokens: int | None) -> str | None:
    paid = sum((row.paid for row in rows), Decimal(0))
    used = sum(row.input_tokens + row.output_tokens for row in rows)
    if cost is not None and paid >= cost:
        return f"{paid:f} of {cost:f}"
    if tokens is not None and used >= tokens:
        return f"{used} of {tokens} tokens"
    return None
