"""Drive a case from step to step: run what the rules chose, commit what came out with the next decision, until it rests."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pointsman.definition.children import Child
from pointsman.definition.effects import Effect
from pointsman.definition.nodes import AnyNode, Node
from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.rules import Compensate, Finish, Parallel
from pointsman.definition.transactions import AnyTransaction, Database, Transaction
from pointsman.errors import News, StoreError
from pointsman.kernel.codec import codec_of, message_of
from pointsman.kernel.decide import Decision, decide
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import Advance, advance, parked, rests_on_changes
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import Settlement, Transition
from pointsman.kernel.snapshot import Status
from pointsman.runtime.attempts import Attempts, failure_event, interrupted, progress_in, succeeded
from pointsman.runtime.branches import Branches
from pointsman.runtime.budgets import Budgets
from pointsman.runtime.calls import Calls
from pointsman.runtime.commits import Commits
from pointsman.runtime.effects import Effects
from pointsman.runtime.hold import Hold, Outcome, encode, runnable
from pointsman.runtime.inbox import CHILD_ENDED, NOTHING, Arrivals, Inbox, child_key
from pointsman.runtime.late import Late
from pointsman.runtime.limits import Limits
from pointsman.runtime.ports import Ports
from pointsman.runtime.undoing import Undoing
from pointsman.runtime.waits import woken

StartChild = Callable[[Hold, str, Mapping[str, Any], str], Awaitable[int]]
"""Starts a child of a case: the process's name, the inputs and the key; answers its number."""


class _Failed(Exception):
    """The author's function raised."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Runner:
    """Drives cases; it keeps nothing of a case beyond its `Hold`."""

    def __init__(
        self, ports: Ports, commits: Commits, calls: Calls, effects: Effects, limits: Limits, inbox: Inbox, start: StartChild
    ) -> None:
        self._store = ports.store
        self._clock = ports.clock
        self._commits = commits
        self._limits = limits
        self._inbox = inbox
        self._start = start
        self._calls = calls
        self._undoing = Undoing(ports.store, commits, effects)
        self._attempts = Attempts(ports, calls)
        self._budgets = Budgets(ports)
        self._late = Late(commits)
        self._branches = Branches(ports, commits, limits, self._attempts, self._budgets, self._late)
        self._effects = effects

    async def drive(
        self,
        hold: Hold,
        decision: Decision | None,
        *,
        cancelled: Callable[[], Event | None],
        going_on: Callable[[], bool],
    ) -> None:
        """Take a case on until it rests or has to wait.

        `decision` is the one that has just been committed; None decides afresh, for a claimed case. `cancelled` gives
        the event of a cancel that was asked for meanwhile, or None; a case that is not `going_on` is given back when its
        step has ended. Raises StoreError.
        """

        def may_begin() -> bool:
            return going_on() and cancelled() is None

        decision = decision or await self._take_up(hold, going_on())
        while decision is not None:
            if isinstance(decision.step, Transaction) and cancelled() is None:
                decision = await self._transact(hold, decision.step, going_on=going_on)
                continue
            try:
                outcome = self._unbegun(hold) if cancelled() is not None else await self._perform(hold, decision, may_begin)
            except News:
                # It came before the intent of an effect was committed: nothing was called.
                await self._inbox.read(hold)
                outcome = Outcome(())
            decision = await self._conclude(hold, outcome, cancelled(), going_on=going_on())

    async def confirm(self, hold: Hold) -> None:
        """Take in what has come to a ready case at a pause, from outside and without a place: the pause stays open, or is void.

        Nothing is begun. Raises Conflict where an engine has the case in hand by now.
        """
        await self._take_up(hold, going_on=False)

    async def _take_up(self, hold: Hold, going_on: bool) -> Decision | None:
        """Decide afresh what comes next: the rules may have changed since the last decision was committed."""
        hold.unsettled = await self._effects.unsettled_keys(hold.snapshot.case)
        if hold.inbox:
            await self._inbox.read(hold)
        step = hold.process.steps.get(hold.step or "")
        if step is None or isinstance(step, Pause | Sleep):  # None: the code may no longer have the pause that is open
            pause = await self._store.pause(hold.snapshot.case)
            hold.waiting = pause if pause is not None and pause.closed is None else None
        if hold.waiting is not None:
            return await self._conclude(hold, woken(hold, self._clock.now()), None, going_on=going_on)
        decision = decide(hold.process, hold.snapshot.cells)
        # Messages wait while nobody knows whether an effect happened: its outcome comes first.
        first = not hold.mail or (isinstance(decision.step, Effect) and bool(hold.unsettled))
        if going_on and first and runnable(decision) and decision.step.name == hold.step:
            after, _, _ = await self._effects.prepare(hold, Advance(hold.snapshot, decision, ()), Outcome(()), going_on=False)
            if after.decision is decision:
                return decision
        return await self._conclude(hold, Outcome(()), None, going_on=going_on)

    def _unbegun(self, hold: Hold) -> Outcome:
        """Nothing came out of a step that was cancelled before it began."""
        if hold.intent is None:
            return Outcome(())
        return Outcome((), settlement=Settlement(hold.intent.key, EffectStatus.NOT_SENT, None, "cancelled before the call"))

    async def _perform(self, hold: Hold, decision: Decision, may_begin: Callable[[], bool]) -> Outcome:
        step = decision.step
        if isinstance(step, Parallel):
            return await self._branches.run(hold, step, may_begin=may_begin)
        if isinstance(step, Effect):
            return await self._effects.perform(hold, step)
        if isinstance(step, Child):
            return await self._start_child(hold, step)
        if isinstance(step, Compensate):
            return await self._undoing.run(hold, step)
        assert isinstance(step, Node)
        return await self._run_node(hold, step)

    async def _conclude(self, hold: Hold, outcome: Outcome, cancel: Event | None, *, going_on: bool) -> Decision | None:
        """Commit what came out of a step, together with the messages that have come meanwhile, and what follows from both."""
        while True:
            try:
                return await self._settle(hold, outcome, await self._inbox.arrivals(hold), cancel, going_on)
            except News:
                await self._inbox.read(hold)

    async def _settle(self, hold: Hold, outcome: Outcome, arrivals: Arrivals, cancel: Event | None, going_on: bool) -> Decision | None:
        cancel = cancel or arrivals.cancel
        if cancel is None and (outcome.in_doubt or not hold.mail) and (outcome.wake_at is not None or outcome.waits):
            await self._commits.stay(hold, Status.WAITING if outcome.waits else Status.READY, outcome, guarded=not outcome.in_doubt)
            return None
        if cancel is None and outcome.in_doubt:
            # It stays what it was when it was called, or nobody could say any more what may have been sent; what has come waits.
            arrivals = NOTHING
        after = advance(hold.process, hold.snapshot, outcome.events[-1] if outcome.events else None, arrivals.events)
        begun = await self._undoing.begun(hold)
        if begun is not None and after.decision.rule:
            after = after._replace(decision=Decision(begun, hold.rule or "", ()))
        moved = bool(arrivals.events) and self._moved(hold, after)
        if cancel is not None:
            # What the step did is kept; what would come next is not begun.
            await self._commits.land(hold, after, outcome, cancel=cancel, arrivals=arrivals)
            return None
        reason = arrivals.park or (None if moved else outcome.park)
        if reason is not None:
            after = parked(after, reason)
        elif outcome.finishes is not None and not moved:
            after = after._replace(decision=Decision(Finish(outcome.finishes), "", ()))
        if moved:
            outcome = outcome._replace(wake_at=None, waits=False, answered_by=None if after.dropped else outcome.answered_by)
        return await self._land(hold, after, outcome, arrivals, going_on=going_on)

    def _moved(self, hold: Hold, after: Advance) -> bool:
        """Whether the messages have rewritten what the present step reads, or led the rules to another one."""
        if after.decision.step.name != hold.step:
            return True
        step = after.decision.step
        steps = step.nodes if isinstance(step, Parallel) else (step,) if isinstance(step, Node | Child | Pause | Sleep) else ()
        return any(rests_on_changes(hold.process, one, hold.snapshot.cells, after.snapshot.cells) for one in steps)

    async def _land(self, hold: Hold, after: Advance, outcome: Outcome, arrivals: Arrivals, *, going_on: bool) -> Decision | None:
        queues = self._limits.queue(hold, after.decision.step)
        after, outcome, intent = await self._effects.prepare(hold, after, outcome, going_on=going_on and queues is None)
        await self._commits.land(hold, after, outcome, going_on=going_on, intent=intent, arrivals=arrivals, queues=queues)
        return after.decision if hold.status is Status.RUNNING else None

    # A transaction.

    async def _transact(self, hold: Hold, node: AnyTransaction, *, going_on: Callable[[], bool]) -> Decision | None:
        """Run the function where its rows are written, and commit them with what it returned and the decision that follows."""
        if hold.attempt > node.retry.attempts_max:
            return await self._conclude(hold, interrupted(hold, node, node.retry.attempts_max), None, going_on=going_on())
        landed: list[tuple[Advance, Transition]] = []

        def work(db: Database) -> Transition:
            try:
                result = self._calls.at_once(hold, node, db)
                event = succeeded(node, hold.attempt, encode(hold, node, node.split(result)))
            except Exception as error:
                raise _Failed(error) from error
            after = advance(hold.process, hold.snapshot, event)
            transition = self._commits.landing(hold, after, Outcome((event,)), going_on=going_on())
            landed[:] = [(after, transition)]
            return transition

        try:
            await self._store.transact(work)
        except News:
            await self._inbox.read(hold)
            return await self._conclude(hold, Outcome(()), None, going_on=going_on())
        except _Failed as failed:
            outcome = self._attempts.failed(hold, node, hold.attempt, failed.error)
            return await self._conclude(hold, outcome, None, going_on=going_on())
        [(after, transition)] = landed
        self._commits.taken(hold, transition)
        self._commits.landed(hold, after, transition)
        return after.decision if hold.status is Status.RUNNING else None

    # A child.

    async def _start_child(self, hold: Hold, child: Child) -> Outcome:
        """Start the child, or find the one that these inputs have started, and wait for its end."""
        codec = codec_of(hold.process.state)
        try:
            inputs = child.inputs(*(codec.fresh(hold.snapshot.cells, name) for name in child.signature.reads))
            started = await self._start(hold, child.process.name, inputs, child_key(hold.snapshot, child))
        except StoreError:
            raise
        except Exception as error:  # the author's function may raise anything, and the child's inputs may not fit
            return Outcome((), park=f"child {child.name!r} cannot be started: {type(error).__name__}: {message_of(error)}")
        begun = Event(Kind.CHILD_STARTED, child.name, facts={"child": started})
        row = await self._store.case(started)
        told = any(message.name == CHILD_ENDED for message in await self._store.messages(hold.snapshot.case))
        if row is not None and row.status is Status.DONE and not told:  # its end was taken in earlier, and nobody will tell it again
            ended, park = await self._inbox.child_end(hold, child, {"case": row.id, "status": row.status, "outcome": row.outcome})
            return Outcome((begun, ended), park=park)
        return Outcome((begun,), waits=True)

    # One node.

    async def _run_node(self, hold: Hold, node: AnyNode) -> Outcome:
        if hold.attempt > node.retry.attempts_max:
            return self._attempts.interrupted(hold, node, node.retry.attempts_max)
        progress = progress_in(hold, node)
        spent = await self._budgets.spent(hold, node, progress)
        if spent is not None:
            return self._attempts.failed(hold, node, hold.attempt, spent)
        permit = await self._limits.take(hold, node) if node.limit is not None else None
        if permit is None and node.limit is not None:
            return self._limits.to_line(hold, node)
        # Of a node by itself only an answer is worth telling late, because it is paid for.
        given_up = None if node.guard is None else self._late.given_up(hold.snapshot.case, node.name, node, hold.attempt)
        written = await self._attempts.make(hold, node, hold.attempt, given_up=given_up, permit=permit, progress=progress)
        facts = {} if permit is None else permit.facts
        if not isinstance(written, Exception):
            return Outcome((succeeded(node, hold.attempt, written.cells, {**facts, **written.facts}),))
        if permit is not None and permit.refused:
            return self._limits.to_line(hold, node, (failure_event(node.name, hold.attempt, written, facts),), told=True)
        return self._attempts.failed(hold, node, hold.attempt, written, facts)
