"""One attempt of a node, and what follows: its answer is held against its guard, another attempt, a recorded failure, or a parked case."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pointsman.definition.guards import Violation, unsafe_in
from pointsman.definition.nodes import AnyNode
from pointsman.errors import BudgetSpent, CheckError, DefinitionError, Rejected, ValueRefused
from pointsman.kernel.codec import codec_of, digest_of, message_of
from pointsman.kernel.events import NOTHING, Event, Kind
from pointsman.kernel.guarding import BEGINNING, Progress, free_model, next_model, next_try, objections, progress_of, taken_apart
from pointsman.kernel.rows import BranchRow, BranchWrite
from pointsman.kernel.snapshot import Cell
from pointsman.runtime.calls import Calls, GivenUp, ItemAt
from pointsman.runtime.evidence import evidence_of, raised_at
from pointsman.runtime.hold import Hold, Outcome, encode, failure_cells
from pointsman.runtime.limits import Permit, retry_seconds
from pointsman.runtime.ports import Ports

Facts = Mapping[str, Any]


class Written(NamedTuple):
    """What an attempt wrote, and what the journal is told of the answer, where it was one."""

    cells: dict[str, Cell]
    facts: Facts


class _Answered(Exception):
    """There was an answer, so what it used counts; `facts` tell of it."""

    def __init__(self, message: str, facts: Facts) -> None:
        super().__init__(message)
        self.facts = facts


class Objected(_Answered):
    """The answer does not pass its guard."""

    def __init__(self, violations: tuple[Violation, ...], raw: str, output: object, facts: Facts) -> None:
        super().__init__("; ".join(f"{violation.check}: {violation.message}" for violation in violations), facts)
        self.violations = violations
        self.raw = raw
        self.output = output


class Unjudged(_Answered):
    """A check failed, or the answer does not come apart, so nobody can say whether it passes."""


class Following(NamedTuple):
    """What a guard makes of a failed attempt: what comes next, and how far the step has come with that."""

    move: str
    progress: Progress


class Attempts:
    """Makes attempts; it keeps nothing of them."""

    def __init__(self, ports: Ports, calls: Calls) -> None:
        self._clock = ports.clock
        self._random = ports.random
        self._calls = calls

    async def make(self, hold: Hold, node: AnyNode, attempt: int, *, item: ItemAt | None = None, given_up: GivenUp | None = None,
                   permit: Permit | None = None, progress: Progress = BEGINNING) -> Written | Exception:  # fmt: skip
        """One attempt: what the node wrote, or why it wrote nothing. With an `item` the cells are entries of the fields."""
        try:
            result = await self._calls.call(
                hold, node, attempt=attempt, timeout_seconds=node.timeout_seconds, item=item, given_up=given_up, permit=permit,
                progress=progress,
            )  # fmt: skip
            place = None if item is None else item.place
            if node.guard is not None:
                return _judged(hold, node, result, place)
            return Written(encode(hold, node, node.split(result), place=place), NOTHING)
        except Exception as error:
            if isinstance(error, TimeoutError) and node.timeout_seconds is not None and not str(error):
                late = TimeoutError(f"no result within {node.timeout_seconds} seconds")
                late.__cause__ = error
                return late
            return error

    def again_at(self, node: AnyNode, attempt: int, error: Exception) -> float | None:
        """When a failed attempt is followed by another one (Unix seconds); None where it was the last."""
        if attempt >= node.retry.attempts_max or not _worth_another(node, error):
            return None
        wait = node.retry.wait_seconds(attempt, self._random.random())
        return self._clock.now() + max(wait, retry_seconds(error))

    def failed(self, hold: Hold, node: AnyNode, attempt: int, error: Exception, facts: Facts = NOTHING) -> Outcome:
        """What follows from a failed attempt: its wake-up time, its `Failure`, or the reason to park; and what its guard makes of it."""
        wake_at = self.again_at(node, attempt, error)
        follows = following(node, progress_in(hold, node), error) if wake_at is None else None
        failed = failure_event(node.name, attempt, error, facts, follows)
        if wake_at is not None:
            return Outcome((failed, Event(Kind.NODE_RETRIED, node.name, attempt, {"at": wake_at})), wake_at=wake_at)
        if follows is not None:
            return self._goes_on(hold, node, failed, follows)
        if isinstance(error, Objected) and node.guard is not None and node.guard.escalate == "unsafe":
            cells = unsafe_cells(hold, node, error, None)
            return Outcome((Event(failed.kind, failed.step, attempt, failed.facts, cells),))
        if node.on_failure == "record":
            return Outcome((Event(failed.kind, failed.step, attempt, failed.facts, failure_cells(hold, node, error, attempt)),))
        told = f"{node.name!r} failed after {attempt} attempt{'s' * (attempt > 1)}: {message_of(error)}"
        return Outcome((failed,), park=told, evidence=evidence_of(error, attempt), ends_branches=node.guard is not None)

    def interrupted(self, hold: Hold, node: AnyNode, attempts: int) -> Outcome:
        """The engine died in each attempt: most likely the step kills it, or the model that it asks."""
        follows = following(node, progress_in(hold, node), None)
        if follows is None:
            return interrupted(hold, node, attempts)
        return self._goes_on(hold, node, Event(Kind.NODE_INTERRUPTED, node.name, attempts, {"attempts": attempts}), follows)

    def _goes_on(self, hold: Hold, node: AnyNode, event: Event, follows: Following) -> Outcome:
        """The step is asked again at once; its attempts are counted anew for each answer."""
        reads = digest_of(hold.snapshot.cells, node.depends)
        write = BranchWrite(node.name, 0, None, None, None, reads, follows.progress.model_dump_json())
        hold.attempt, hold.branches[node.name] = 0, BranchRow(*write)
        return Outcome((event,), wake_at=self._clock.now(), branches=(write,))


def progress_in(hold: Hold, node: AnyNode) -> Progress:
    """How far a guarded step has come with what it reads now."""
    row = hold.branches.get(node.name) if node.guard is not None else None
    if row is None or row.reads != digest_of(hold.snapshot.cells, node.depends):
        return BEGINNING
    return progress_of(node.guard, row.guard)


def following(node: AnyNode, progress: Progress, error: Exception | None) -> Following | None:
    """What the guard makes of a failure for good, or of a step whose engine died (None): whom to ask next, if anybody."""
    if node.guard is None or isinstance(error, Unjudged):
        return None
    if isinstance(error, Objected):
        found = next_try(node.guard, progress, error.violations, error.raw)
    elif isinstance(error, BudgetSpent):
        found = free_model(node.guard, progress)
    else:
        found = next_model(node.guard, progress)
    return None if found is None else Following(*found)


def unsafe_cells(hold: Hold, node: AnyNode, error: Objected, place: str | None) -> dict[str, Cell]:
    """The answer as an `Unsafe`, for a person; where its value does not fit the field, without it."""
    field = node.writes[0]
    kind = unsafe_in(hold.process.state.model_fields[field].annotation, entry=place is not None or field in hold.process.logs)
    assert kind is not None, "it was looked for when the node was declared"
    bare = kind(violations=error.violations, raw=error.raw)
    try:
        return encode(hold, node, {field: bare.model_copy(update={"value": error.output})}, place=place)
    except ValueRefused:
        return encode(hold, node, {field: bare}, place=place)


def _judged(hold: Hold, node: AnyNode, result: object, place: str | None) -> Written:
    """Hold an answer against the types of its fields, then the checks. Raises Objected or Unjudged."""
    output, violations, raw, facts = taken_apart(result)
    assert node.guard is not None
    if violations:
        raise Objected(violations, raw, output, facts)
    try:
        cells = encode(hold, node, node.split(output), place=place)
    except ValueRefused as error:
        raise Objected((Violation(check="schema", message=message_of(error)),), raw, None, facts) from None
    except TypeError as error:  # no tuple of what the node writes: the node is wrong, and the answer is paid for
        raise Unjudged(message_of(error), facts) from error
    codec = codec_of(hold.process.state)
    present = {**hold.snapshot.cells, **cells} if place is None else hold.snapshot.cells
    entries = {} if place is None else {name: cell.value for name, cell in cells.items()}
    try:
        violations = objections(node.guard, lambda read: entries[read] if read in entries else codec.fresh(present, read))
    except CheckError as error:
        raise Unjudged(message_of(error), facts) from error
    if violations:
        raise Objected(violations, raw or ", ".join(cell.text for cell in cells.values()), output, facts)
    return Written(cells, facts)


def succeeded(node: AnyNode, attempt: int, cells: dict[str, Cell], facts: Facts = NOTHING) -> Event:
    """The event of an attempt that wrote these cells."""
    return Event(Kind.NODE_SUCCEEDED, node.name, attempt, {"fields": list(cells), **facts}, cells)


def failure_event(name: str, attempt: int, error: Exception, facts: Facts = NOTHING, follows: Following | None = None) -> Event:
    """The event of an attempt that failed, or whose answer did not pass its guard."""
    if isinstance(error, _Answered):
        facts = {**facts, **error.facts}
    if isinstance(error, Objected):
        violations = [violation.model_dump() for violation in error.violations]
        move = "escalate" if follows is None else follows.move
        return Event(Kind.GUARD_VIOLATED, name, attempt, {"violations": violations, "next": move, **facts})
    told = {"error": type(error).__name__, "message": message_of(error), "raised_at": raised_at(error)}
    return Event(Kind.NODE_FAILED, name, attempt, {**told, **facts})


def interrupted(hold: Hold, node: AnyNode, attempts: int) -> Outcome:
    """The engine died in each attempt: most likely the step kills it."""
    event = Event(Kind.NODE_INTERRUPTED, node.name, attempts, {"attempts": attempts})
    error = RuntimeError(f"the engine died during each of {attempts} attempts")
    if node.on_failure == "record" and hold.step == node.name:
        return Outcome((Event(event.kind, event.step, attempts, event.facts, failure_cells(hold, node, error, attempts)),))
    return Outcome(
        (event,),
        park=f"{hold.step!r} was begun {attempts} times and never ended: {error}; correct it and redrive the case",
        evidence=evidence_of(error, attempts),
    )


_NEVER_BETTER = (ValueRefused, Rejected, DefinitionError, BudgetSpent, _Answered)


def _worth_another(node: AnyNode, error: Exception) -> bool:
    return isinstance(error, node.retry.on) and not isinstance(error, _NEVER_BETTER)
