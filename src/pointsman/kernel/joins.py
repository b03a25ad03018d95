"""Joins: the branches of a step, and when and how the step ends.

Each end of a branch is durable by itself; the fields are written together, in the transition that ends the step. The verdict
is computed from what is durable, so it is the same after any crash.
"""

import heapq
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import islice
from json.encoder import encode_basestring
from typing import Any, NamedTuple, TypeGuard

from pydantic_core import to_json

from pointsman.definition.nodes import AnyNode
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import TASKS, Each, Parallel, TaskCall, Tasks
from pointsman.definition.state import Failure
from pointsman.kernel.attempts import CallEnd, Try, follow, succeeded, waits_event, why_failed, written_by
from pointsman.kernel.case import Case, cells_from, encode, outcome_text
from pointsman.kernel.codec import codec_of, digest, digest_of, message_of, short
from pointsman.kernel.events import NOTHING, Event, Kind
from pointsman.kernel.evidence import error_name
from pointsman.kernel.guarding import progress_of
from pointsman.kernel.hiding import hiding
from pointsman.kernel.moment import NOTHING as NOTHING_HAPPENED
from pointsman.kernel.moment import Moment, StepResult
from pointsman.kernel.private_texts import private_texts
from pointsman.kernel.rows import BranchRow
from pointsman.kernel.snapshot import Cell
from pointsman.kernel.verdict import Tally, Verdict, verdict_of

RECORDED = "{}"  # the outcome in the row of a body's call: the record has what it returned
FAILURES_MAX = 10  # failures that a reason names; the event `joined` names all


class ItemAt(NamedTuple):
    """One item of a collection: its position, its position or key as text (`place`), and its value."""

    position: int
    place: str
    value: object


class Branch(NamedTuple):
    """One branch: the name of its row and events, the digest of what it reads, and its item in an `each(...)`.

    The end of one that is `recorded`, a call of a body, goes into the record at once. The others end in fields, with their step.
    """

    name: str
    node: AnyNode
    reads: str
    item: ItemAt | None = None
    recorded: bool = False


class BranchEnd(NamedTuple):
    """The result of one attempt of a branch: its events, its row, and what it wrote."""

    events: tuple[Event, ...]
    write: BranchRow
    cells: Mapping[str, Cell] = NOTHING


class Branches:
    """The branches of one step: those not begun, running, waiting for another attempt, and ended."""

    def __init__(self, process: AnyProcess, case: Case, step: Parallel) -> None:
        self.step = step
        self.all: list[Branch] = []
        self.rows: dict[str, BranchRow] = {}
        self.over = False
        self._process = process
        self.under_way = 0
        self._refused: list[tuple[Branch, str]] = []
        self._shut: set[str] = set()
        self._open: deque[Branch] = deque()
        self._waiting: list[tuple[float, int, Branch]] = []
        self._succeeded = self._failed = self._fatal = 0
        self.take(case, step)

    def take(self, case: Case, step: Parallel) -> bool:
        """Take in the branches of `step` that are new; return whether there are any.

        A body asks for more calls while others run. Calls that it needs no more do not begin.
        """
        self.step = step
        if isinstance(step, Tasks):
            new = [_called(call, place) for place, call in enumerate(step.calls) if call.name not in self.rows]
            if len(step.calls) - len(new) < len(self.rows) - self._succeeded - self._failed:
                self._drop(self.rows.keys() - {call.name for call in step.calls})
        else:
            new = _branches_of(self._process, case, step)
        for place, branch in enumerate(new, len(self.all)):
            row = case.branches.get(branch.name)
            # If what it read was rewritten since, it runs again, and so does a call whose outcome was taken back.
            if row is None or row.reads != branch.reads or (isinstance(step, Tasks) and row.outcome is not None):
                row = BranchRow(branch.name, reads=branch.reads)
            self._keep(branch, place, row)
        self.all += new
        return bool(new)

    def _drop(self, names: Set[str]) -> None:
        """Begin these branches no more."""
        self._open = deque(branch for branch in self._open if branch.name not in names)
        self._waiting = [waiting for waiting in self._waiting if waiting[2].name not in names]
        heapq.heapify(self._waiting)
        self._refused = [refused for refused in self._refused if refused[0].name not in names]

    def time_out(self, name: str) -> BranchEnd:
        """End a branch that has no result in time. It may be running, or waiting for another attempt or a permit."""
        branch, row = next(branch for branch in self.all if branch.name == name), self.rows[name]
        assert isinstance(self.step, Tasks)
        assert self.step.waits is not None
        message = f"no result within {self.step.waits.seconds:g} seconds"
        failure = Failure(step=branch.node.name, error=TimeoutError.__name__, message=message, attempts=row.attempts)
        event = Event(Kind.NODE_FAILED, name, row.attempts, {"error": failure.error, "message": message})
        self._drop({name})
        end = BranchEnd((event,), row._replace(failure=failure.model_dump_json()))
        self._keep(branch, 0, end.write)
        return end

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on the branches that have ended so far. A body's calls have none: the body says when they are `over`."""
        if isinstance(self.step, Tasks):
            return None
        return verdict_of(self.step, Tally(len(self.all), self._succeeded, self._failed, self._fatal))

    @property
    def refused(self) -> tuple[Branch, str] | None:
        """The first branch without a permit, and the reason."""
        return self._refused[0] if self._refused else None

    def begin_next(self, now: float) -> Branch | None:
        """Return the next branch to begin, if there is one and a place for it. Branches whose limit refused a permit are left out."""
        if self.under_way >= self.step.concurrency:
            return None
        branch = None
        if self._waiting and self._waiting[0][0] <= now and not self._is_shut(self._waiting[0][2]):
            branch = heapq.heappop(self._waiting)[2]
        elif (place := self._next_open()) is not None:
            branch = self._open[place]
            del self._open[place]
        self.under_way += branch is not None
        return branch

    def wake_at(self, now: float) -> float | None:
        """When the next branch is due (Unix seconds), of those whose limit has not refused."""
        if self._next_open() is not None:
            return now
        return min((at for at, _, branch in self._waiting if not self._is_shut(branch)), default=None)

    def refuse(self, branch: Branch, why: str) -> None:
        """Record that a branch got no permit. Its limit is not asked again until a branch ends or `ask_again` is called."""
        self.under_way -= 1
        self._refused.append((branch, why))
        if branch.node.limit is not None:
            self._shut.add(branch.node.limit.name)

    def ask_again(self) -> None:
        """Allow the branches whose limit refused a permit to ask again."""
        self._open.extendleft(branch for branch, _ in reversed(self._refused))
        self._refused.clear()
        self._shut.clear()

    def end(self, branch: Branch, end: BranchEnd) -> None:
        """Record the end of a branch's attempt."""
        self.under_way -= 1
        self.ask_again()
        self._keep(branch, 0 if branch.item is None else branch.item.position, end.write)

    def _is_shut(self, branch: Branch) -> bool:
        return branch.node.limit is not None and branch.node.limit.name in self._shut

    def _next_open(self) -> int | None:
        kinds = len(self.step.nodes)  # the branches of one node share its limit, so the first of them answers for all
        return next((place for place, branch in enumerate(islice(self._open, kinds)) if not self._is_shut(branch)), None)

    def _keep(self, branch: Branch, place: int, row: BranchRow) -> None:
        self.rows[branch.name] = row
        if row.outcome is not None:
            self._succeeded += 1
        elif row.failure is not None:
            self._failed += 1
            self._fatal += not self.step.records(branch.node)
        elif row.wake_at is not None:
            heapq.heappush(self._waiting, (row.wake_at, place, branch))
        else:
            self._open.append(branch)


def waiting_since(process: AnyProcess, step: Tasks, now: float) -> Mapping[str, Cell]:
    """What records that the body waits for a call from now on, so that a restart does not begin its time anew."""
    assert step.waits is not None
    return {step.record: codec_of(process.state).write(step.record, [{"call": step.waits.name, "since": now}], step.name)}


def kept(at: Moment, step: Parallel, ends: Sequence[BranchEnd]) -> StepResult:
    """The ends of branches as they come. The ends of a body's calls go into its record, with the last event."""
    events = tuple([event for end in ends for event in end.events])
    writes = tuple([end.write for end in ends])
    if not isinstance(step, Tasks):
        return StepResult(events, branches=writes)
    entries = [_entry(end) for end in ends if end.write.outcome is not None or end.write.failure is not None]
    # A call that ended at its first attempt has no row, and needs none. The row of another one is marked as ended.
    rows = tuple([_ended(row) for row in writes if (row.outcome is None and row.failure is None) or row.name in at.case.branches])
    if not entries:
        return StepResult(events, branches=rows)
    last = events[-1]
    last = Event(last.kind, last.step, last.attempt, last.facts, _recorded(step, entries))
    return StepResult((*events[:-1], last), branches=rows)


_Entry = tuple[dict[str, Any], str]
"""An entry of a record, and its JSON."""


def _recorded(step: Tasks, entries: Sequence[_Entry]) -> dict[str, Cell]:
    """The item of a record that has these entries. What the calls returned was encoded when they ended."""
    if len(entries) == 1:
        [(value, text)] = entries
        return {step.record: Cell([value], f"[{text}]", TASKS, True)}
    values, texts = zip(*entries, strict=True)
    return {step.record: Cell([*values], f"[{','.join(texts)}]", TASKS, appends=True)}


def _entry(end: BranchEnd) -> _Entry:
    name, failure = end.write.name, end.write.failure
    if failure is not None:
        return {"call": name, "failure": json.loads(failure)}, f'{{"call":{encode_basestring(name)},"failure":{failure}}}'
    return _returned(name, end.cells)


def _returned(name: str, cells: Mapping[str, Cell]) -> _Entry:
    [cell] = cells.values()
    return {"call": name, "value": cell.value}, f'{{"call":{encode_basestring(name)},"value":{cell.text}}}'


def _ended(row: BranchRow) -> BranchRow:
    return BranchRow(row.name, outcome=RECORDED, reads=row.reads) if row.outcome is not None or row.failure is not None else row


def needs_no_branch(step: Parallel, case: Case) -> TypeGuard[Tasks]:
    """Whether a step is one call of a body that has not been tried yet. It is made like the call of a node."""
    return isinstance(step, Tasks) and len(step.calls) == 1 and step.waits is None and step.calls[0].name not in case.branches


def only_call(step: Tasks) -> Branch:
    """The only call of a body, as a branch."""
    return _called(step.calls[0], 0)


def only_call_ended(at: Moment, step: Tasks, end: CallEnd) -> StepResult:
    """What follows from the first attempt of the only call of a body. If another one follows, the call becomes a branch."""
    call = step.calls[0]
    written = written_by(at, call.node, end, call.name)
    if not isinstance(written, Exception):
        return StepResult((succeeded(call.name, 1, end.facts, written, _recorded(step, [_returned(call.name, written.cells)])),))
    ended = _branch_failed(at, only_call(step), BranchRow(call.name, reads=call.digest), end, written)
    result = kept(at, step, (ended,))
    if result.events[-1].writes:
        return result
    again_at = ended.write.wake_at
    return replace(result, wake_at=at.now if again_at is None else again_at, attempts=0)


def branch_ended(at: Moment, branch: Branch, row: BranchRow, end: CallEnd) -> BranchEnd:
    """What follows from one attempt of a branch: an outcome, another attempt, the guard's next move, or a failure."""
    if not at.process.private:
        return _branch_ended(at, branch, row, end)
    with hiding(lambda: private_texts(at, end)):
        return _branch_ended(at, branch, row, end)


def _branch_ended(at: Moment, branch: Branch, row: BranchRow, end: CallEnd) -> BranchEnd:
    written = written_by(at, branch.node, end, None if branch.item is None else branch.item.place)
    if isinstance(written, Exception):
        return _branch_failed(at, branch, row, end, written)
    after = BranchRow(branch.name, row.attempts + 1, reads=branch.reads)
    # The cells of a branch are entries of fields: they are kept with the branch until the step ends.
    return _has_written((succeeded(branch.name, after.attempts, end.facts, written, NOTHING),), branch, after, written.cells)


def _branch_failed(at: Moment, branch: Branch, row: BranchRow, end: CallEnd, written: Exception) -> BranchEnd:
    name, node, number = branch.name, branch.node, row.attempts + 1
    place = None if branch.item is None else branch.item.place
    if number > node.retry.attempts_max and end.error is not None:
        number = node.retry.attempts_max
    after = BranchRow(name, number, reads=branch.reads)
    followed = follow(at, node, Try(name, number, progress_of(node.guard, row.guard), place), end, written)
    events = followed.events
    if followed.wrote is not None:
        return _has_written(events, branch, after, followed.wrote)
    if followed.again_at is not None:
        return BranchEnd(events, after._replace(wake_at=followed.again_at, guard=row.guard))
    if followed.progress is not None:
        return BranchEnd(events, after._replace(attempts=0, guard=followed.progress.model_dump_json()))
    if followed.failure is None:
        return BranchEnd(events, after._replace(attempts=number - 1, wake_at=end.held_until, guard=row.guard))
    error = followed.failure
    failure = Failure(step=node.name, error=error_name(error), message=message_of(error), attempts=number)
    return BranchEnd(events, after._replace(failure=failure.model_dump_json()))


def _has_written(events: tuple[Event, ...], branch: Branch, after: BranchRow, cells: Mapping[str, Cell]) -> BranchEnd:
    outcome = RECORDED if branch.recorded else outcome_text(cells)
    return BranchEnd(events, BranchRow(after.name, after.attempts, outcome=outcome, reads=after.reads), cells)


def branch_waits(branch: Branch, row: BranchRow, until: float, why: str | None) -> BranchEnd:
    """The result for a branch that got no permit: it tries again at `until` (Unix seconds)."""
    assert branch.node.limit is not None
    event = waits_event(branch.name, branch.node.limit.name, row.attempts + 1, why)
    return BranchEnd((event,), BranchRow(branch.name, row.attempts, until, reads=branch.reads, guard=row.guard))


def without_permit(at: Moment, branch: Branch, attempt: int, why: str | None, kept: StepResult = NOTHING_HAPPENED) -> StepResult:
    """No branch can go on without a permit, this one first: the case waits for one in the backlog."""
    limit = branch.node.limit
    assert limit is not None
    waits = waits_event(branch.name, limit.name, attempt, why)
    return replace(kept, events=(*kept.events, waits), wake_at=at.now, needs=limit.name, attempts=0)


def has_answered(end: BranchEnd) -> bool:
    """Whether the end has a response of a model, or the progress of a guard."""
    return end.write.guard is not None or any(event.facts.get("used") is not None for event in end.events)


def joined(at: Moment, branches: Branches, verdict: Verdict, events: tuple[Event, ...], writes: tuple[BranchRow, ...]) -> StepResult:
    """The end of the step: all fields in one transition, in the order of the rule and of the items; or the reason to park."""
    rows = [branches.rows[branch.name] for branch in branches.all]
    facts: dict[str, Any] = {
        "why": verdict.why,
        "succeeded": [row.name for row in rows if row.outcome is not None],
        "failed": [row.name for row in rows if row.failure is not None],
        "cancelled": [row.name for row in rows if row.outcome is None and row.failure is None],
        "fields": [],
    }
    step, attempt = branches.step, at.case.row.attempts
    if verdict.parked:
        end = Event(Kind.JOINED, step.name, attempt, facts)
        return StepResult((*events, end), park=_reason(branches, verdict, len(facts["cancelled"])), branches=writes)
    cells = (_collected if isinstance(step, Each) else _side_by_side)(at.process, branches, verdict)
    end = Event(Kind.JOINED, step.name, attempt, facts | {"fields": list(cells)}, cells)
    return StepResult((*events, end), ends_branches=True)


def late_event(branch: Branch, end: BranchEnd) -> Event | None:
    """The event of a branch that ended after the verdict; nothing follows from it. None if it was only waiting for a permit."""
    (first, *_), write, cells = end
    if first.kind is Kind.PERMIT_WAITED:
        return None
    if write.outcome is not None:
        result = short(", ".join(cell.text for cell in cells.values()))
    elif first.kind is Kind.GUARD_VIOLATED:
        result = "; ".join(f"{violation['check']}: {violation['message']}" for violation in first.facts["violations"])
    else:
        result = f"{first.facts['error']}: {first.facts['message']}"
    answer = {name: fact for name, fact in first.facts.items() if name in {"used", "raw"}}  # late or not, it was paid for
    return Event(Kind.NODE_LATE, branch.name, first.attempt, {"result": result, **answer})


def renewed(branches: Iterable[BranchRow]) -> tuple[BranchRow, ...]:
    """Branches that have not succeeded, as if they had not run."""
    return tuple(BranchRow(branch.name) for branch in branches if branch.outcome is None)


def _called(call: TaskCall, position: int) -> Branch:
    return Branch(call.name, call.node, call.digest, ItemAt(position, call.name, call.arguments), recorded=True)


def _branches_of(process: AnyProcess, case: Case, step: Parallel) -> list[Branch]:
    cells, codec = case.snapshot.cells, codec_of(process.state)
    if not isinstance(step, Each):
        return [Branch(node.name, node, digest_of(cells, node.depends)) for node in step.nodes]
    node = step.nodes[0]
    shared = digest_of(cells, node.depends)
    items = codec.fresh(cells, step.over)
    stored = json.loads(cells[step.over].text if step.over in cells else to_json(items))
    if isinstance(items, dict):
        places, items, stored = list(items), items.values(), stored.values()
    else:
        places = [str(position) for position in range(len(items))]
    return [
        Branch(f"{node.name}[{place}]", node, digest((shared, json.dumps(text))), ItemAt(position, place, item))
        for position, (place, item, text) in enumerate(zip(places, items, stored, strict=True))
    ]


def _side_by_side(process: AnyProcess, branches: Branches, verdict: Verdict) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for branch in branches.all:
        row, node = branches.rows[branch.name], branch.node
        if row.outcome is not None:
            cells |= cells_from(process, row.outcome, node.name)
        else:
            cells |= encode(process, node, dict.fromkeys(node.writes, _failure(branch, row, verdict)))
    return cells


def _collected(process: AnyProcess, branches: Branches, verdict: Verdict) -> dict[str, Cell]:
    """The results of an `each(...)` per field: a list in the order of the items, or a dict with their keys."""
    node, codec = branches.step.nodes[0], codec_of(process.state)
    entries: list[tuple[str, Mapping[str, str]]] = []
    for branch in branches.all:
        row = branches.rows[branch.name]
        assert branch.item is not None
        failed = row.outcome is None and dict.fromkeys(node.writes, _failure(branch, row, verdict).model_dump_json())
        entries.append((branch.item.place, failed or json.loads(row.outcome or "{}")))
    cells: dict[str, Cell] = {}
    for name in node.writes:
        if codec.keyed(name):
            text = "{" + ",".join(f"{json.dumps(place)}:{texts[name]}" for place, texts in entries) + "}"
        else:
            text = "[" + ",".join(texts[name] for _, texts in entries) + "]"
        cells[name] = codec.encode(name, codec.decode(name, text, node.name).value, node.name)
    return cells


def _failure(branch: Branch, row: BranchRow, verdict: Verdict) -> Failure:
    if row.failure is not None:
        return Failure.model_validate_json(row.failure)
    return Failure(step=branch.node.name, error="Cancelled", message=verdict.why, attempts=row.attempts)


def _reason(branches: Branches, verdict: Verdict, cancelled: int) -> str:
    """Why the case is parked: the failures of its branches, at most `FAILURES_MAX` of them."""
    failed = list(_failed(branches))
    more = [f"and {len(failed) - FAILURES_MAX} more failed"] if len(failed) > FAILURES_MAX else []
    rest = [f"{cancelled} more {'was' if cancelled == 1 else 'were'} cancelled"] if cancelled else []
    quorum = [verdict.why] if not isinstance(branches.step.failures, str | None) else []
    return "; ".join([*quorum, *failed[:FAILURES_MAX], *more, *rest])


def _failed(branches: Branches) -> Iterator[str]:
    step = branches.step
    for branch in branches.all:
        row = branches.rows[branch.name]
        if row.failure is not None and not (step.failures is None and step.records(branch.node)):
            failure = Failure.model_validate_json(row.failure)
            yield why_failed(branch.name, failure.error, failure.attempts, failure.message)
