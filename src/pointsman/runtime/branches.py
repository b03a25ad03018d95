"""Run the branches of a parallel step, and commit their ends as they come.

One commit takes every branch that has ended by then, so a slow disk makes fewer commits, not a slower step. A branch that is no longer
needed is cancelled. If it ends anyway, its late result is recorded as an event.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from pointsman.definition.nodes import AnyNode
from pointsman.definition.rules import Finish, Parallel, Park, Tasks
from pointsman.errors import BudgetSpent
from pointsman.kernel.attempts import CallEnd
from pointsman.kernel.codec import message_of
from pointsman.kernel.commands import Command
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.guarding import Progress, progress_of
from pointsman.kernel.happenings import BranchesEnded, BranchesRested, Happening
from pointsman.kernel.joins import Branch, BranchEnd, Branches, branch_ended, branch_waits, has_answered, late_event, waiting_since
from pointsman.kernel.moment import Moment, Offer
from pointsman.kernel.rows import BranchRow
from pointsman.runtime.calls import Calls, Request
from pointsman.runtime.clock import seconds_until
from pointsman.runtime.late import LateResults
from pointsman.runtime.limits import Limits
from pointsman.runtime.ports import Ports
from pointsman.runtime.session import CaseSession

CANCEL_SECONDS = 2.0  # the time for cancelled branches to clean up, before the case goes on without them

Advance = Callable[[CaseSession, Happening, Callable[[], Offer]], Awaitable[tuple[Command, ...]]]
BudgetSpentFor = Callable[[CaseSession, AnyNode, Progress], Awaitable[BudgetSpent | None]]


class _UnderWay:
    """The running attempts of one step's branches."""

    def __init__(self, branches: Branches) -> None:
        self.branches = branches
        self.tasks: dict[asyncio.Task[BranchEnd | str], Branch] = {}
        self.changed = asyncio.Event()
        self._ended: list[asyncio.Task[BranchEnd | str]] = []

    def begin(self, branch: Branch, attempt: asyncio.Task[BranchEnd | str]) -> None:
        self.tasks[attempt] = branch
        attempt.add_done_callback(self._has_ended)

    def leave(self, attempt: asyncio.Task[BranchEnd | str]) -> None:
        """Wait for an attempt no more."""
        del self.tasks[attempt]
        attempt.remove_done_callback(self._has_ended)
        self.branches.under_way -= 1

    def _has_ended(self, attempt: asyncio.Task[BranchEnd | str]) -> None:
        self._ended.append(attempt)
        self.changed.set()

    def take_ended(self) -> list[BranchEnd]:
        """Return the ends of the attempts that have ended since the last call."""
        self.changed.clear()
        ended, self._ended = self._ended, []
        ends = []
        for attempt in ended:
            branch, end = self.tasks.pop(attempt), attempt.result()
            if isinstance(end, str):
                self.branches.refuse(branch, end)
                continue
            self.branches.end(branch, end)
            ends.append(end)
        return ends


class BranchRunner:
    """Runs parallel steps."""

    def __init__(
        self, ports: Ports, calls: Calls, limits: Limits, late: LateResults, advance: Advance, budget_spent: BudgetSpentFor
    ) -> None:
        self._clock = ports.clock
        self._random = ports.random
        self._calls = calls
        self._limits = limits
        self._late = late
        self._advance = advance
        self._budget_spent = budget_spent
        self._left: set[asyncio.Task[Any]] = set()  # an event loop holds its tasks weakly

    async def run(self, session: CaseSession, step: Parallel, offer: Callable[[], Offer]) -> BranchesRested:
        """Run the branches that have not ended, until there is a verdict or all that are left have to wait.

        A branch begins only while the engine keeps the case and nobody has asked to cancel it. Running branches run to their end.
        """
        branches = Branches(session.process, session.case, step)
        under_way = _UnderWay(branches)
        try:
            ends = await self._work(session, under_way, offer)
            late = await self._cancel_rest(session, under_way) if branches.verdict is not None or branches.over else []
        finally:
            for attempt in under_way.tasks:
                attempt.cancel()
        return BranchesRested(branches, tuple(ends), tuple(late))

    async def _work(self, session: CaseSession, under_way: _UnderWay, offer: Callable[[], Offer]) -> list[BranchEnd]:
        """Begin branches and commit their ends as they come. Return the last ends, which the next commit takes."""
        branches, ends, retried = under_way.branches, list[BranchEnd](), False
        while branches.verdict is None and not branches.over:
            if any(has_answered(end) for end in ends):  # before the next branch pays for a response
                await self._keep(session, branches.step, ends, offer)
                ends = []
            until = await self._waits_until(session, under_way, offer)
            over = until is not None and self._clock.now() >= until
            while not over and _may_begin(offer()) and (branch := branches.begin_next(self._clock.now())) is not None:
                attempt = self._attempt(session, branch, branches.rows[branch.name], offer)
                under_way.begin(branch, asyncio.create_task(attempt))
            if not under_way.tasks and (until is None or ends):
                if retried or branches.refused is None or not _may_begin(offer()):
                    break
                await self._limits.given_so_far()  # permits that this step gave back are on their way to the store
                branches.ask_again()
                retried = True
                continue
            if ends:
                await self._keep(session, branches.step, ends, offer)
                ends = []
                if isinstance(branches.step, Tasks) and await self._asks_more(session, under_way, offer):
                    continue
            more = branches.under_way < branches.step.concurrency and _may_begin(offer())
            due = branches.wake_at(self._clock.now()) if more else None
            first = min((time for time in (due, until) if time is not None), default=None)
            await self._clock.wait(under_way.changed, None if first is None else seconds_until(first, self._clock))
            ends = under_way.take_ended()
            if until is not None and self._clock.now() >= until:
                ends += self._time_out(session, under_way)
            retried = retried and not ends
        return ends

    async def _keep(self, session: CaseSession, step: Parallel, ends: Sequence[BranchEnd], offer: Callable[[], Offer]) -> None:
        """Commit the ends of branches while others are running."""
        await self._advance(session, BranchesEnded(step, tuple(ends), session.calling > 0), offer)

    async def _asks_more(self, session: CaseSession, under_way: _UnderWay, offer: Callable[[], Offer]) -> bool:
        """Ask a body what it does with the ends that are recorded now. Return whether it asks for more calls, or needs none any more.

        What it decides by itself is committed before anything follows from it. Running calls that it no longer needs are cancelled.
        """
        branches, case = under_way.branches, session.case
        decision = session.program.next(case.row.id, case.snapshot.cells)
        step = decision.step
        if not isinstance(step, Tasks):
            branches.over = isinstance(step, Finish | Park)
            return branches.over
        if decision.writes:
            await self._advance(session, BranchesEnded(branches.step, (), session.calling > 0, decision.writes), offer)
        wanted = {call.name for call in step.calls}
        for attempt, branch in [*under_way.tasks.items()]:
            if branch.name not in wanted and not attempt.done():
                self._cancel(session.case.row.id, under_way, attempt)
        return branches.take(session.case, step) or step.waits is not None

    def _cancel(self, case: int, under_way: _UnderWay, attempt: asyncio.Task[BranchEnd | str]) -> None:
        """Cancel one attempt, and wait for it no more."""
        branch = under_way.tasks[attempt]
        under_way.leave(attempt)
        attempt.cancel()
        self._leave(case, branch, attempt)

    async def _waits_until(self, session: CaseSession, under_way: _UnderWay, offer: Callable[[], Offer]) -> float | None:
        """When a body stops waiting for a call (Unix seconds), or None. The time begins when the body begins to wait, and that is recorded."""
        step = under_way.branches.step
        if not isinstance(step, Tasks) or step.waits is None or _has_ended(under_way.branches.rows[step.waits.name]):
            return None
        if session.waits is None or session.waits[0][:2] != step.waits[:2]:
            since = self._clock.now() if step.waits.since is None else step.waits.since
            session.waits = (step.waits, since + step.waits.seconds)
            if step.waits.since is None:
                notes = waiting_since(session.process, step, since)
                await self._advance(session, BranchesEnded(step, (), session.calling > 0, notes), offer)
        return session.waits[1]

    def _time_out(self, session: CaseSession, under_way: _UnderWay) -> list[BranchEnd]:
        """End the call that a body has waited for in vain. If it runs, it is cancelled, and nothing waits for it."""
        branches = under_way.branches
        step = branches.step
        assert isinstance(step, Tasks)
        assert step.waits is not None
        if _has_ended(branches.rows[step.waits.name]):
            return []
        for attempt, branch in under_way.tasks.items():
            if branch.name == step.waits.name:
                if attempt.done():  # just now
                    return []
                self._cancel(session.case.row.id, under_way, attempt)
                break
        return [branches.time_out(step.waits.name)]

    async def _attempt(self, session: CaseSession, branch: Branch, row: BranchRow, offer: Callable[[], Offer]) -> BranchEnd | str:
        """Make one attempt of a branch: check its budget, take its permit, call it, and decide what follows.

        Return a text instead if the branch was not called, which says why it got no permit.
        """
        node, progress = branch.node, progress_of(branch.node.guard, row.guard)
        error: Exception | None = await self._budget_spent(session, node, progress)
        permit = None
        if error is None and row.attempts >= node.retry.attempts_max:
            error = RuntimeError("it has no attempt left")
        elif error is None and node.limit is not None:
            until = self._limits.rests_until(node.limit.name)
            permit = None if until is not None else await self._limits.take(session.case, node)
            if permit is None:
                why = self._limits.why_shut(node.limit.name)
                return why if until is None else branch_waits(branch, row, until, why)
        if error is not None:
            end = CallEnd(error=error)
        else:
            given_up = self._late.given_up(session.case.row.id, branch.name, node, row.attempts + 1)
            cells, number = session.case.snapshot.cells, row.attempts + 1
            request = Request(node, cells, number, permit=permit, progress=progress, item=branch.item, given_up=given_up)
            end = await self._calls.call(session, request)
        at = Moment(session.program, session.case, self._clock.now(), self._random, offer(), session.process)
        return branch_ended(at, branch, row, end)

    async def _cancel_rest(self, session: CaseSession, under_way: _UnderWay) -> list[Event]:
        """Cancel the running branches and give them time to clean up. Return the events of those that ended anyway."""
        rest = dict(under_way.tasks)
        for attempt in rest:
            attempt.cancel()
        until = self._clock.monotonic() + CANCEL_SECONDS
        while not all(attempt.done() for attempt in rest) and (remaining := until - self._clock.monotonic()) > 0:
            under_way.changed.clear()
            await self._clock.wait(under_way.changed, remaining)
        under_way.tasks.clear()
        for attempt, branch in rest.items():
            if not attempt.done():
                self._leave(session.case.row.id, branch, attempt)
        return [event for attempt, branch in rest.items() if attempt.done() and (event := _late(branch, attempt)) is not None]

    def _leave(self, case: int, branch: Branch, attempt: asyncio.Task[BranchEnd | str]) -> None:
        self._left.add(attempt)
        attempt.add_done_callback(partial(self._ended_late, case, branch))

    def _ended_late(self, case: int, branch: Branch, attempt: asyncio.Task[BranchEnd | str]) -> None:
        self._left.discard(attempt)
        event = _late(branch, attempt)
        if event is not None:
            self._late.tell(case, event)


def _has_ended(row: BranchRow) -> bool:
    return row.outcome is not None or row.failure is not None


def _may_begin(offer: Offer) -> bool:
    return offer.place and offer.cancel is None


def _late(branch: Branch, attempt: asyncio.Task[BranchEnd | str]) -> Event | None:
    """Return the event of a branch that ended after the verdict, or None if it was cancelled or had not been called."""
    if attempt.cancelled():
        return None
    error = attempt.exception()
    if error is not None:
        return Event(Kind.NODE_LATE, branch.name, 0, {"result": f"{type(error).__name__}: {message_of(error)}"})
    end = attempt.result()
    return None if isinstance(end, str) else late_event(branch, end)
