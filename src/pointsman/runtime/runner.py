"""Drive a case from step to step: run what the rules chose, commit what came out with the next decision, until it rests."""

from collections.abc import Callable

from pointsman.definition.effects import Effect
from pointsman.definition.nodes import AnyNode, Node
from pointsman.definition.rules import Parallel
from pointsman.kernel.decide import Decision, decide
from pointsman.kernel.events import Event
from pointsman.kernel.evolve import Advance, advance, parked
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.snapshot import Status
from pointsman.runtime.attempts import Attempts, interrupted, succeeded
from pointsman.runtime.branches import Branches
from pointsman.runtime.calls import Calls
from pointsman.runtime.commits import Commits
from pointsman.runtime.effects import Effects
from pointsman.runtime.hold import Hold, Outcome, runnable
from pointsman.runtime.ports import Ports
from pointsman.store.base import Settlement


class Runner:
    """Drives cases; it keeps nothing of a case beyond its `Hold`."""

    def __init__(self, ports: Ports, commits: Commits, calls: Calls, effects: Effects) -> None:
        self._commits = commits
        self._attempts = Attempts(ports, calls)
        self._branches = Branches(ports, commits, self._attempts)
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
        decision = decision or await self._take_up(hold, going_on())
        while decision is not None:
            outcome = self._unbegun(hold) if cancelled() is not None else await self._perform(hold, decision)
            decision = await self._conclude(hold, outcome, cancelled(), going_on=going_on())

    async def _take_up(self, hold: Hold, going_on: bool) -> Decision | None:
        """Decide afresh what comes next: the rules may have changed since the last decision was committed."""
        hold.unsettled = await self._effects.unsettled_keys(hold.snapshot.case)
        decision = decide(hold.process, hold.snapshot.cells)
        if going_on and runnable(decision) and decision.step.name == hold.step:
            after, _, _ = await self._effects.prepare(hold, Advance(hold.snapshot, decision, ()), Outcome(()), going_on=False)
            if after.decision is decision:
                return decision
        return await self._land(hold, advance(hold.process, hold.snapshot, None), Outcome(()), going_on=going_on)

    def _unbegun(self, hold: Hold) -> Outcome:
        """Nothing came out of a step that was cancelled before it began."""
        if hold.intent is None:
            return Outcome(())
        return Outcome((), settlement=Settlement(hold.intent.key, EffectStatus.NOT_SENT, None, "cancelled before the call"))

    async def _perform(self, hold: Hold, decision: Decision) -> Outcome:
        step = decision.step
        if isinstance(step, Parallel):
            return await self._branches.run(hold, step)
        if isinstance(step, Effect):
            return await self._effects.perform(hold, step)
        assert isinstance(step, Node)
        return await self._run_node(hold, step)

    async def _conclude(self, hold: Hold, outcome: Outcome, cancel: Event | None, *, going_on: bool) -> Decision | None:
        if outcome.wake_at is not None and cancel is None:
            await self._commits.stay(hold, Status.READY, outcome)
            return None
        after = advance(hold.process, hold.snapshot, outcome.events[-1] if outcome.events else None)
        if cancel is not None:
            # What the step did is kept; what would come next is not begun.
            await self._commits.land(hold, after, outcome, cancel=cancel)
            return None
        if outcome.park is not None:
            after = parked(after, outcome.park)
        return await self._land(hold, after, outcome, going_on=going_on)

    async def _land(self, hold: Hold, after: Advance, outcome: Outcome, *, going_on: bool) -> Decision | None:
        after, outcome, intent = await self._effects.prepare(hold, after, outcome, going_on=going_on)
        await self._commits.land(hold, after, outcome, going_on=going_on, intent=intent)
        return after.decision if hold.status is Status.RUNNING else None

    # One node.

    async def _run_node(self, hold: Hold, node: AnyNode) -> Outcome:
        if hold.attempt > node.retry.attempts_max:
            return interrupted(hold, node, node.retry.attempts_max)
        written = await self._attempts.make(hold, node, hold.attempt)
        if not isinstance(written, Exception):
            return Outcome((succeeded(node, hold.attempt, written),))
        return self._attempts.failed(hold, node, hold.attempt, written)
