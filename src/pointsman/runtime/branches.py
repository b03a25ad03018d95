"""The branches of a step: each end is durable by itself, and the fields are written together when the step ends.

Everything that has ended by the time of a commit is in it, so a thousand branches take as many commits as the disk is
slower than they are. Nothing else is shared between two commits: a crash in between repeats what was not in one, and the
verdict is computed afresh from what was. The verdict itself is in the commit that writes the fields, or that parks.
A branch that is no longer needed is cancelled. One that ends all the same is told as an event, and nothing follows from it.
"""

import asyncio
import heapq
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from pydantic_core import to_json

from pointsman.definition.nodes import AnyNode
from pointsman.definition.rules import Each, Parallel
from pointsman.definition.state import Failure
from pointsman.errors import BudgetSpent
from pointsman.kernel.codec import codec_of, digest, digest_of, message_of, short
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.guarding import Progress, progress_of, usage_in
from pointsman.kernel.rows import BranchRow, BranchWrite
from pointsman.kernel.snapshot import Cell, Status
from pointsman.kernel.verdict import Tally, Verdict, verdict_of
from pointsman.runtime.attempts import Attempts, Objected, Written, failure_event, following, interrupted, unsafe_cells
from pointsman.runtime.budgets import Budgets
from pointsman.runtime.calls import ItemAt
from pointsman.runtime.clock import seconds_until
from pointsman.runtime.commits import Commits
from pointsman.runtime.hold import Hold, Outcome, cells_from, encode, outcome_text
from pointsman.runtime.late import Late
from pointsman.runtime.limits import Limits, Permit
from pointsman.runtime.ports import Ports

CANCEL_SECONDS = 2.0  # what cancelled branches get to clean up before the case goes on without them
TOLD_MAX = 10  # failures that a reason tells of; the event of the verdict names all


class Branch(NamedTuple):
    """One branch: the name of its row and events, the digest of what it reads, and its item in an `each(...)`."""

    name: str
    node: AnyNode
    reads: str
    item: ItemAt | None = None


class End(NamedTuple):
    """What came out of one attempt of a branch."""

    events: tuple[Event, ...]
    write: BranchWrite


class Fan:
    """The branches of one step while it is in hand: which are open, under way, waiting to be tried again, and have ended."""

    def __init__(self, hold: Hold, step: Parallel) -> None:
        self.step = step
        self.branches = _branches_of(hold, step)
        self.rows: dict[str, BranchRow] = {}
        self.running: dict[asyncio.Task[End], Branch] = {}
        self.news = asyncio.Event()
        self._ended: list[asyncio.Task[End]] = []
        self._open: deque[Branch] = deque()
        self._waiting: list[tuple[float, int, Branch]] = []
        self._succeeded = self._failed = self._fatal = 0
        for place, branch in enumerate(self.branches):
            row = hold.branches.get(branch.name)
            if row is None or row.reads != branch.reads:  # what it read has been rewritten since: it is as if it had not run
                row = BranchRow(branch.name, 0, None, None, None, branch.reads)
            self._keep(branch, place, row)

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

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on what has ended so far."""
        return verdict_of(self.step, Tally(len(self.branches), self._succeeded, self._failed, self._fatal))

    def next_due(self, now: float) -> Branch | None:
        """The next branch to begin, if there is one and room for it."""
        if len(self.running) >= self.step.concurrency:
            return None
        if self._waiting and self._waiting[0][0] <= now:
            return heapq.heappop(self._waiting)[2]
        return self._open.popleft() if self._open else None

    def wake_at(self, now: float) -> float | None:
        """When the next branch is due (Unix seconds)."""
        return now if self._open else self._waiting[0][0] if self._waiting else None

    def begin(self, branch: Branch, attempt: asyncio.Task[End]) -> None:
        """A branch is under way."""
        self.running[attempt] = branch
        attempt.add_done_callback(self._has_ended)

    def _has_ended(self, attempt: asyncio.Task[End]) -> None:
        self._ended.append(attempt)
        self.news.set()

    def take_ended(self) -> list[End]:
        """What has come out of the attempts that have ended since the last time."""
        self.news.clear()
        ended, self._ended = self._ended, []
        ends = []
        for attempt in ended:
            branch = self.running.pop(attempt)
            end = attempt.result()
            self._keep(branch, 0 if branch.item is None else branch.item.position, BranchRow(*end.write))
            ends.append(end)
        return ends


class Branches:
    """Runs steps of several branches."""

    def __init__(self, ports: Ports, commits: Commits, limits: Limits, attempts: Attempts, budgets: Budgets, late: Late) -> None:
        self._clock = ports.clock
        self._commits = commits
        self._limits = limits
        self._attempts = attempts
        self._budgets = budgets
        self._late = late
        self._left: set[asyncio.Task[Any]] = set()  # an event loop holds its tasks weakly

    async def run(self, hold: Hold, step: Parallel, *, may_begin: Callable[[], bool]) -> Outcome:
        """Run the branches that have not ended yet, until there is a verdict or only waiting is left.

        A branch is begun only while it `may_begin`; those that are under way go on to their end.
        """
        # Attempts are counted anew whenever a branch has ended: what they count is how often the engine died without one.
        # It may do so once more than a branch has attempts, as most of those under way have not been the cause.
        budget = 1 + max(node.retry.attempts_max for node in step.nodes)
        if hold.attempt > budget:
            return interrupted(hold, step.nodes[0], budget)
        fan = Fan(hold, step)
        try:
            ends = await self._work(hold, fan, may_begin)
            verdict = fan.verdict
            late = await self._cancel_rest(hold, fan) if verdict is not None else []
        finally:
            for attempt in fan.running:
                attempt.cancel()
        events = tuple(chain.from_iterable(end.events for end in ends))
        writes = tuple(end.write for end in ends)
        if verdict is not None:
            return _joined(hold, fan, verdict, (*events, *late), writes)
        hold.attempt = 0
        return Outcome(events, wake_at=fan.wake_at(self._clock.now()), branches=writes)

    async def _work(self, hold: Hold, fan: Fan, may_begin: Callable[[], bool]) -> list[End]:
        """Begin branches and commit their ends as they come; the last ones are left for the commit that follows."""
        ends: list[End] = []
        while fan.verdict is None:
            if any(_has_answered(end) for end in ends):  # before another answer is bought
                await self._keep(hold, ends)
                ends = []
            while may_begin() and (branch := fan.next_due(self._clock.now())) is not None:
                fan.begin(branch, asyncio.create_task(self._attempt(hold, branch, fan.rows[branch.name])))
            if not fan.running:
                break
            if ends:
                await self._keep(hold, ends)
            due = fan.wake_at(self._clock.now()) if len(fan.running) < fan.step.concurrency and may_begin() else None
            await self._clock.wait(fan.news, None if due is None else seconds_until(due, self._clock))
            ends = fan.take_ended()
            hold.branches |= {end.write.name: BranchRow(*end.write) for end in ends}
        return ends

    async def _keep(self, hold: Hold, ends: Sequence[End]) -> None:
        """Commit what has come out of branches while others are under way."""
        hold.attempt = int(hold.calling > 0)
        told = tuple(chain.from_iterable(end.events for end in ends))
        await self._commits.stay(hold, Status.RUNNING, Outcome(told, branches=tuple(end.write for end in ends)))

    async def _attempt(self, hold: Hold, branch: Branch, row: BranchRow) -> End:
        name, node, attempt = branch.name, branch.node, row.attempts + 1
        permit: Permit | None = None
        progress = progress_of(node.guard, row.guard)
        written: Written | Exception | None = await self._budgets.spent(hold, node, progress)
        if written is None and attempt > node.retry.attempts_max:
            written = RuntimeError("it has no attempt left")
            attempt = node.retry.attempts_max
        elif written is None and node.limit is not None:
            got = await self._limits.wait(hold, node)
            if isinstance(got, float):
                waits = self._limits.waits(name, node, attempt)
                return End((waits,), BranchWrite(name, attempt - 1, got, None, None, branch.reads, row.guard))
            permit = got
            written = await self._spent_meanwhile(hold, node, progress, permit)
        if written is None:
            given_up = self._late.given_up(hold.snapshot.case, name, node, attempt)
            written = await self._attempts.make(hold, node, attempt, item=branch.item, given_up=given_up, permit=permit, progress=progress)
        facts = {} if permit is None else permit.facts
        if not isinstance(written, Exception):
            succeeded = Event(Kind.NODE_SUCCEEDED, name, attempt, {"fields": list(written.cells), **facts, **written.facts})
            return End((succeeded,), BranchWrite(name, attempt, None, outcome_text(written.cells), None, branch.reads))
        if permit is not None and permit.refused:
            failed = failure_event(name, attempt, written, facts)
            return End((failed,), BranchWrite(name, attempt - 1, permit.end.holds, None, None, branch.reads, row.guard))
        return self._failed(hold, branch, row, attempt, written, facts)

    async def _spent_meanwhile(self, hold: Hold, node: AnyNode, progress: Progress, permit: Permit) -> BudgetSpent | None:
        """Whether the budget was spent while the branch waited for its permit, which is then given back."""
        spent: BudgetSpent | None = None
        begins = False
        try:
            spent = await self._budgets.spent(hold, node, progress)
            begins = spent is None
        finally:
            if not begins:
                permit.unused()
        return spent

    def _failed(self, hold: Hold, branch: Branch, row: BranchRow, attempt: int, error: Exception, facts: Mapping[str, Any]) -> End:
        """What follows from a failed attempt: another one, what the guard makes of it, or the branch's failure."""
        name, node = branch.name, branch.node
        wake_at = self._attempts.again_at(node, attempt, error)
        follows = following(node, progress_of(node.guard, row.guard), error) if wake_at is None else None
        failed = failure_event(name, attempt, error, facts, follows)
        if wake_at is not None:
            retried = Event(Kind.NODE_RETRIED, name, attempt, {"at": wake_at})
            return End((failed, retried), BranchWrite(name, attempt, wake_at, None, None, branch.reads, row.guard))
        if follows is not None:
            return End((failed,), BranchWrite(name, 0, None, None, None, branch.reads, follows.progress.model_dump_json()))
        if isinstance(error, Objected) and node.guard is not None and node.guard.escalate == "unsafe":
            place = None if branch.item is None else branch.item.place
            unsafe = outcome_text(unsafe_cells(hold, node, error, place))
            return End((failed,), BranchWrite(name, attempt, None, unsafe, None, branch.reads))
        failure = Failure(step=node.name, error=type(error).__name__, message=message_of(error), attempts=attempt)
        return End((failed,), BranchWrite(name, attempt, None, None, failure.model_dump_json(), branch.reads))

    # What is no longer needed.

    async def _cancel_rest(self, hold: Hold, fan: Fan) -> list[Event]:
        """Cancel what is under way, and wait a little for it to clean up; the events of what has ended all the same."""
        rest = dict(fan.running)
        for attempt in rest:
            attempt.cancel()
        until = self._clock.monotonic() + CANCEL_SECONDS
        while not all(attempt.done() for attempt in rest) and (remaining := until - self._clock.monotonic()) > 0:
            fan.news.clear()
            await self._clock.wait(fan.news, remaining)
        fan.running.clear()
        for attempt, branch in rest.items():
            if not attempt.done():
                self._left.add(attempt)
                attempt.add_done_callback(partial(self._ended_late, hold.snapshot.case, branch))
        return [event for attempt, branch in rest.items() if attempt.done() and (event := _late(branch, attempt)) is not None]

    def _ended_late(self, case: int, branch: Branch, attempt: asyncio.Task[End]) -> None:
        self._left.discard(attempt)
        event = _late(branch, attempt)
        if event is not None:
            self._late.tell(case, event)


def _branches_of(hold: Hold, step: Parallel) -> list[Branch]:
    cells, codec = hold.snapshot.cells, codec_of(hold.process.state)
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


def _joined(hold: Hold, fan: Fan, verdict: Verdict, events: tuple[Event, ...], writes: tuple[BranchWrite, ...]) -> Outcome:
    """The end of the step: all fields in one transition, in the order of the rule and of the items; or the reason to park."""
    rows = [fan.rows[branch.name] for branch in fan.branches]
    facts = {
        "why": verdict.why,
        "succeeded": [row.name for row in rows if row.outcome is not None],
        "failed": [row.name for row in rows if row.failure is not None],
        "cancelled": [row.name for row in rows if row.outcome is None and row.failure is None],
        "fields": [],
    }
    if verdict.parked:
        joined = Event(Kind.JOINED, fan.step.name, hold.attempt, facts)
        return Outcome((*events, joined), park=_reason(fan, verdict, len(facts["cancelled"])), branches=writes)
    cells = _collected(hold, fan, verdict) if isinstance(fan.step, Each) else _side_by_side(hold, fan, verdict)
    joined = Event(Kind.JOINED, fan.step.name, hold.attempt, facts | {"fields": list(cells)}, cells)
    return Outcome((*events, joined), ends_branches=True)


def _side_by_side(hold: Hold, fan: Fan, verdict: Verdict) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for branch in fan.branches:
        row, node = fan.rows[branch.name], branch.node
        if row.outcome is not None:
            cells |= cells_from(hold.process, row.outcome, node.name)
        else:
            cells |= encode(hold, node, dict.fromkeys(node.writes, _failure(branch, row, verdict)))
    return cells


def _collected(hold: Hold, fan: Fan, verdict: Verdict) -> dict[str, Cell]:
    """The results of an `each(...)` per field: a list in the order of the items, or a dict with their keys."""
    node, codec = fan.step.nodes[0], codec_of(hold.process.state)
    entries: list[tuple[str, dict[str, str]]] = []
    for branch in fan.branches:
        row = fan.rows[branch.name]
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


def _reason(fan: Fan, verdict: Verdict, cancelled: int) -> str:
    """Why the case is parked: what is known of each branch that failed, as far as a reason should go."""
    told = list(_told(fan))
    more = [f"and {len(told) - TOLD_MAX} more failed"] if len(told) > TOLD_MAX else []
    rest = [f"{cancelled} more {'was' if cancelled == 1 else 'were'} cancelled"] if cancelled else []
    quorum = [verdict.why] if not isinstance(fan.step.failures, str | None) else []
    return "; ".join([*quorum, *told[:TOLD_MAX], *more, *rest])


def _told(fan: Fan) -> Iterator[str]:
    for branch in fan.branches:
        row = fan.rows[branch.name]
        if row.failure is not None and not (fan.step.failures is None and fan.step.records(branch.node)):
            failure = Failure.model_validate_json(row.failure)
            yield f"{branch.name!r} failed after {failure.attempts} attempt{'s' * (failure.attempts > 1)}: {failure.message}"


def _has_answered(end: End) -> bool:
    """Whether the end tells of an answer, or of how far a guard has come."""
    return end.write.guard is not None or any(usage_in(event.facts) is not None for event in end.events)


def _late(branch: Branch, attempt: asyncio.Task[End]) -> Event | None:
    """The event of a branch that ended after the verdict; none where it let itself be cancelled."""
    if attempt.cancelled():
        return None
    error = attempt.exception()
    if error is not None:
        return Event(Kind.NODE_LATE, branch.name, 0, {"result": f"{type(error).__name__}: {message_of(error)}"})
    (first, *_), write = attempt.result()
    if first.kind is Kind.PERMIT_WAITED:
        return None
    if write.outcome is not None:
        texts: Sequence[str] = list(json.loads(write.outcome).values())
        result = short(", ".join(texts))
    elif first.kind is Kind.GUARD_VIOLATED:
        result = "; ".join(f"{violation['check']}: {violation['message']}" for violation in first.facts["violations"])
    else:
        result = f"{first.facts['error']}: {first.facts['message']}"
    answer = {name: fact for name, fact in first.facts.items() if name in {"used", "raw"}}  # late or not, it was paid for
    return Event(Kind.NODE_LATE, branch.name, first.attempt, {"result": result, **answer})
