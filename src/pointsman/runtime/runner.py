"""The loop around the machine: advance, commit, perform, again, until the case rests."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pointsman.definition.children import Child
from pointsman.definition.durations import DAY_SECONDS
from pointsman.definition.nodes import AnyNode
from pointsman.definition.transactions import Database
from pointsman.errors import BudgetSpent, InboxChanged, StoreError
from pointsman.kernel.attempts import CallEnd, budget_spent, has_budget
from pointsman.kernel.codec import message_of
from pointsman.kernel.commands import (
    Acquire,
    CallEffect,
    CallNode,
    Command,
    Continue,
    LoadHistory,
    LookUpEffect,
    Rest,
    RunBranches,
    RunTransaction,
    StartChild,
)
from pointsman.kernel.events import Kind
from pointsman.kernel.guarding import Progress
from pointsman.kernel.happenings import (
    Acquired,
    CancelledBeforeCall,
    ChildRefused,
    ChildStarted,
    Claimed,
    Continued,
    EffectEnded,
    Happening,
    NodeEnded,
    PermitRefused,
    TransactionEnded,
)
from pointsman.kernel.joins import ItemAt
from pointsman.kernel.machine import Plan, Refusal
from pointsman.kernel.messages import CHILD_ENDED
from pointsman.kernel.moment import Offer
from pointsman.kernel.rows import Transition, UsageRow
from pointsman.runtime.branches import BranchRunner
from pointsman.runtime.calls import Calls, Request
from pointsman.runtime.commits import Commits
from pointsman.runtime.late import LateResults
from pointsman.runtime.limits import Limits
from pointsman.runtime.loading import Loader
from pointsman.runtime.ports import Ports
from pointsman.runtime.session import CaseSession
from pointsman.store.base import CaseStore

StartCase = Callable[[CaseSession, str, Mapping[str, Any], str], Awaitable[int]]
"""Starts a child of a case, given the process's name, the inputs and the key. Returns the child's number."""


Offers = Callable[[], Offer]
"""Returns what the engine has for the case at this moment."""


class _RolledBack(Exception):
    """A transaction's function raised, or its result was refused, so its rows are not committed."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


class Runner:
    """Drives cases. All that it knows about a case is in the case's session."""

    def __init__(self, ports: Ports, commits: Commits, calls: Calls, limits: Limits, loader: Loader, start: StartCase) -> None:
        self._ports = ports
        self._store: CaseStore = ports.store
        self._clock = ports.clock
        self._commits = commits
        self._calls = calls
        self._limits = limits
        self._loader = loader
        self._start = start
        self._late = LateResults(commits)
        self._branches = BranchRunner(ports, calls, limits, self._late, self.advance, self._budget_spent)
        self._performs: Mapping[type[Command], Callable[[CaseSession, Any, Offers], Awaitable[Happening]]] = {
            CallNode: self._call_node,
            RunBranches: self._run_branches,
            Continue: self._continue,
            Acquire: self._acquire,
            CallEffect: self._call_effect,
            LookUpEffect: self._look_up,
            StartChild: self._start_child,
            LoadHistory: self._load_history,
        }

    async def drive(self, session: CaseSession, commands: tuple[Command, ...] | None, *, going_on: Callable[[], bool]) -> None:
        """Drive a case until it rests or has to wait.

        `commands` are those of the plan that was committed last, or None for a case that was just claimed. When `going_on` returns False, the case
        is given back at the end of its step. A cancel comes before the next call, unless only that call can resolve the doubt about an earlier
        one. Raises StoreError.
        """
        everything = Offer(shut=partial(self._limits.shut, session.case.row.id), given_up=self._calls.threads.abandoned_calls)

        def offer() -> Offer:
            goes_on, cancel = going_on(), session.cancel
            return everything if goes_on and cancel is None else replace(everything, place=goes_on, cancel=cancel)

        with self._calls.watchdog:
            if commands is None:
                commands = await self.advance(session, Claimed(), offer)
            while commands and not isinstance(commands[0], Rest):
                [command] = commands
                if session.cancel is not None and not (isinstance(command, CallEffect) and command.doubtful):
                    happening: Happening = CancelledBeforeCall(command if isinstance(command, CallEffect) else None)
                elif isinstance(command, RunTransaction):
                    commands = await self._transact(session, command, offer)
                    continue
                else:
                    happening = await self._performs[type(command)](session, command, offer)
                commands = await self.advance(session, happening, offer)
                if (session.permit is not None or session.reserved is not None) and not (commands and isinstance(commands[0], CallEffect)):
                    self._give_back(session)

    async def advance(self, session: CaseSession, happening: Happening, offer: Offers) -> tuple[Command, ...]:
        """Ask the machine for a plan and commit it. If a message arrived in between, read it and ask again."""
        while True:
            if isinstance(session.process.steps.get(session.case.row.step or ""), Child):
                session.case = await self._loader.with_children(session.case)
            plan = session.advance(self._ports, happening, offer())
            if isinstance(plan, Refusal):
                raise AssertionError(f"case {session.case.row.id}: {plan.reason}")  # noqa: TRY004 - it is the machine that refuses
            if plan.transition is None:
                return plan.commands
            try:
                await self._store.commit(plan.transition)
            except InboxChanged:
                session.case = await self._loader.with_messages(session.case)
            else:
                self._commits.committed(session, plan)
                return plan.commands

    async def confirm(self, session: CaseSession) -> None:
        """Take in the inbox of a ready case at a pause, without using a place. The pause stays open or becomes void.

        Raises Conflict if an engine runs the case by now.
        """
        await self.advance(session, Claimed(), lambda: Offer(place=False))

    def _give_back(self, session: CaseSession) -> None:
        """Give back a permit and a thread that were reserved for a call that does not come."""
        if session.permit is not None:
            session.permit.unused()
            session.permit = None
        if session.reserved is not None:
            self._calls.threads.let_go(session.reserved)
            session.reserved = None

    # Commands.

    async def _call_node(self, session: CaseSession, call: CallNode, _: Offers) -> Happening:
        node, case = call.node, session.case
        if session.process.budget is not None:
            spent = await self._budget_spent(session, node, call.progress)
            if spent is not None:
                return NodeEnded(call, CallEnd(error=spent))
        permit = None
        if node.limit is not None:
            permit = await self._limits.take(case, node)
            if permit is None:
                return PermitRefused(call, self._limits.why_shut(node.limit.name))
        name, item = node.name, None
        if call.tasks is not None:
            only = call.tasks.calls[0]
            name, item = only.name, ItemAt(0, only.name, only.arguments)
        # A node that is a step by itself records a late result only if it calls a model, because the response costs money.
        given_up = None if node.guard is None and item is None else self._late.given_up(case.row.id, name, node, call.attempt)
        request = Request(node, case.snapshot.cells, call.attempt, permit=permit, progress=call.progress, item=item, given_up=given_up)
        return NodeEnded(call, await self._calls.call(session, request))

    async def _run_branches(self, session: CaseSession, wanted: RunBranches, offer: Offers) -> Happening:
        return await self._branches.run(session, wanted.step, offer)

    async def _continue(self, _: CaseSession, wanted: Continue, __: Offers) -> Happening:
        return Continued(wanted.step)

    async def _load_history(self, session: CaseSession, _: LoadHistory, __: Offers) -> Happening:
        session.case = await self._loader.with_history(session.process, session.case)
        name = session.case.row.step or ""
        return Continued(session.process.compensates.get(name) or session.process.steps[name])

    async def _acquire(self, session: CaseSession, wanted: Acquire, _: Offers) -> Happening:
        """Reserve a thread and a permit before the intent is committed, so that the wait for them does not use up the call's time."""
        effect = wanted.effect
        if not effect.asynchronous and session.reserved is None:
            await self._reserve_thread(session)
        if effect.limit is not None:
            session.permit = await self._limits.take(session.case, effect)
            if session.permit is None:
                return PermitRefused(wanted, self._limits.why_shut(effect.limit.name))
        return Acquired(wanted)

    async def _reserve_thread(self, session: CaseSession) -> None:
        session.reserved = await self._calls.reserve_thread(session)

    async def _call_effect(self, session: CaseSession, call: CallEffect, _: Offers) -> Happening:
        clock, lease, until, deadline = self._clock, self._ports.lease, session.call_until, call.intent.deadline

        def late() -> bool:
            # Check both clocks: the monotonic one may stop while the machine sleeps, and the wall clock may be set back.
            return clock.monotonic() >= until or clock.now() >= deadline or not lease.held()

        permit, session.permit = session.permit, None
        left = until - clock.monotonic()
        request = Request(call.effect, call.cells, call.attempt, call.intent.key, timeout_seconds=left, late=late, permit=permit)
        return EffectEnded(call, await self._calls.call(session, request))

    async def _look_up(self, session: CaseSession, asked: LookUpEffect, _: Offers) -> Happening:
        return await self._calls.look_up(session, asked)

    async def _start_child(self, session: CaseSession, wanted: StartChild, _: Offers) -> Happening:
        child = wanted.child
        try:
            number = await self._start(session, child.process.name, wanted.inputs, wanted.key)
        except StoreError:
            raise
        except Exception as error:  # the child may refuse its inputs
            return ChildRefused(child, f"child {child.name!r} cannot be started: {type(error).__name__}: {message_of(error)}")
        row = await self._store.case(number)
        assert row is not None, "a child outlives its parent's wait"
        end_pending = any(message.name == CHILD_ENDED for message in await self._store.messages(session.case.row.id))
        return ChildStarted(child, row, end_pending, await self._loader.fields_of(number))

    async def _transact(self, session: CaseSession, command: RunTransaction, offer: Offers) -> tuple[Command, ...]:
        """Run a transaction's function inside the store's transaction. Commit its rows with its result and the next decision."""
        node, plans, ends = command.node, list[Plan](), list[CallEnd]()
        here = replace(offer(), shut=Offer().shut)

        def work(db: Database) -> Transition:
            try:
                end = CallEnd(self._calls.at_once(session, node, db))
            except Exception as error:
                end = CallEnd(error=error)
            plan = session.advance(self._ports, TransactionEnded(node, end), replace(here, cancel=session.cancel))
            assert isinstance(plan, Plan)
            assert plan.transition is not None
            plans[:], ends[:] = [plan], [end]
            if not any(event.kind == Kind.NODE_SUCCEEDED for event in plan.transition.events):
                raise _RolledBack(plan)
            return plan.transition

        try:
            await self._store.transact(work)
        except InboxChanged:
            session.case = await self._loader.with_messages(session.case)
            return await self.advance(session, Claimed(), offer)
        except _RolledBack:
            return await self.advance(session, TransactionEnded(node, ends[0]), offer)
        self._commits.committed(session, plans[0])
        return plans[0].commands

    async def _budget_spent(self, session: CaseSession, node: AnyNode, progress: Progress) -> BudgetSpent | None:
        """Return the error that forbids to call a guarded node now, or None."""
        process, row = session.process, session.case.row
        budget = process.budget
        if budget is None or not has_budget(process, node, progress):
            return None
        of_case: list[UsageRow] = []
        today: list[UsageRow] = []
        if (budget.case_cost, budget.case_tokens) != (None, None):
            of_case = await self._store.usage_of_case(row.id)
        of_all = (budget.day_cost, budget.day_tokens) != (None, None)
        if of_all or (budget.tenant_day_cost, budget.tenant_day_tokens) != (None, None):
            day = int(self._clock.now() // DAY_SECONDS)
            today = await self._store.usage_of_days(process.name, day, day, tenant=None if of_all else row.tenant)
        return budget_spent(process, row.tenant, of_case, today)
