"""Drive a case from step to step: run what the rules chose, commit what came out with the next decision, until it rests."""

import asyncio
from collections.abc import Callable
from itertools import chain

from pointsman.definition.effects import Effect
from pointsman.definition.nodes import AnyNode, Node
from pointsman.definition.rules import Parallel
from pointsman.errors import ValueRefused
from pointsman.kernel.codec import message_of
from pointsman.kernel.decide import Decision, decide
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import Advance, advance, parked
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.snapshot import Cell, Status
from pointsman.runtime.calls import Calls
from pointsman.runtime.commits import Commits
from pointsman.runtime.effects import Effects
from pointsman.runtime.hold import Hold, Outcome, cells_from, encode, failure_cells, outcome_text, runnable
from pointsman.runtime.ports import Ports
from pointsman.store.base import BranchRow, BranchWrite, Settlement


class Runner:
    """Drives cases; it keeps nothing of a case beyond its `Hold`."""

    def __init__(self, ports: Ports, commits: Commits, calls: Calls, effects: Effects) -> None:
        self._clock = ports.clock
        self._random = ports.random
        self._commits = commits
        self._calls = calls
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
            return await self._run_branches(hold, step)
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
            return _interrupted(hold, node, node.retry.attempts_max)
        written = await self._attempt(hold, node, hold.attempt)
        if not isinstance(written, Exception):
            return Outcome((_succeeded(node, hold.attempt, written),))
        return self._failed(hold, node, hold.attempt, written)

    async def _attempt(self, hold: Hold, node: AnyNode, attempt: int) -> dict[str, Cell] | Exception:
        """One attempt: the cells that the node wrote, or why there are none."""
        try:
            result = await self._calls.call(hold, node, attempt=attempt, timeout_seconds=node.timeout_seconds)
            return encode(hold, node, node.split(result))
        except Exception as error:
            if isinstance(error, TimeoutError) and node.timeout_seconds is not None and not str(error):
                return TimeoutError(f"no result within {node.timeout_seconds} seconds")
            return error

    def _failed(self, hold: Hold, node: AnyNode, attempt: int, error: Exception) -> Outcome:
        failed = _failure_event(node, attempt, error)
        if attempt < node.retry.attempts_max and _worth_another(node, error):
            wake_at = self._clock.now() + node.retry.wait_seconds(attempt, self._random.random())
            return Outcome((failed, Event(Kind.NODE_RETRIED, node.name, attempt, {"at": wake_at})), wake_at=wake_at)
        if node.on_failure == "record":
            return Outcome((Event(failed.kind, failed.step, attempt, failed.facts, failure_cells(hold, node, error, attempt)),))
        return Outcome((failed,), park=f"{node.name!r} failed after {attempt} attempt{'s' * (attempt > 1)}: {message_of(error)}")

    # Several nodes at once.

    async def _run_branches(self, hold: Hold, parallel: Parallel) -> Outcome:
        """Run the branches that have not ended yet. Each one's end is durable by itself; the fields are written together."""
        budget = sum(node.retry.attempts_max for node in parallel.nodes)
        if hold.attempt > budget:
            return _interrupted(hold, parallel.nodes[0], budget)
        now = self._clock.now()
        due = [node for node in parallel.nodes if _open(row := _row(hold, node)) and (row.wake_at or 0.0) <= now]
        events, writes, reasons = await self._gather(hold, due)
        if reasons:
            return Outcome(events, park="; ".join(reasons), branches=writes)
        waiting = [row.wake_at or now for node in parallel.nodes if _open(row := _row(hold, node))]
        if waiting:
            return Outcome(events, wake_at=min(waiting), branches=writes)
        return self._join(hold, parallel, events)

    async def _gather(self, hold: Hold, due: list[AnyNode]) -> tuple[tuple[Event, ...], tuple[BranchWrite, ...], list[str]]:
        """Run branches and commit each one's end as it comes; the last ones are left for the commit that follows."""
        tasks = {asyncio.create_task(self._run_branch(hold, node)): position for position, node in enumerate(due)}
        pending = set(tasks)
        reasons: list[str] = []
        outcomes: list[Outcome] = []
        try:
            while pending:
                ended, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                outcomes = [task.result() for task in sorted(ended, key=tasks.__getitem__)]
                reasons += [outcome.park for outcome in outcomes if outcome.park is not None]
                for outcome in outcomes:
                    hold.branches |= {write.name: BranchRow(*write) for write in outcome.branches}
                if pending:
                    await self._commits.stay(hold, Status.RUNNING, _together(outcomes))
        finally:
            for task in pending:
                task.cancel()
        last = _together(outcomes)
        return last.events, last.branches, reasons

    def _join(self, hold: Hold, parallel: Parallel, events: tuple[Event, ...]) -> Outcome:
        """Write all branches' fields in one transition, in the order in which the rule names them."""
        cells: dict[str, Cell] = {}
        for node in parallel.nodes:
            cells |= cells_from(hold.process, _row(hold, node).outcome or "{}", node.name)
        joined = Event(Kind.NODE_SUCCEEDED, parallel.name, hold.attempt, {"fields": list(cells)}, cells)
        return Outcome((*events, joined), ends_branches=True)

    async def _run_branch(self, hold: Hold, node: AnyNode) -> Outcome:
        attempt = _row(hold, node).attempts + 1
        if attempt > node.retry.attempts_max:
            return Outcome((), park=f"{node.name!r} has used up its {node.retry.attempts_max} attempts")
        written = await self._attempt(hold, node, attempt)
        if isinstance(written, Exception):
            outcome = self._failed(hold, node, attempt, written)
            cells = outcome.events[-1].writes
            text = outcome_text(cells) if cells else None
            events = tuple(Event(event.kind, event.step, event.attempt, event.facts) for event in outcome.events)
            used = attempt if outcome.park is None else node.retry.attempts_max
            return Outcome(events, park=outcome.park, branches=(BranchWrite(node.name, used, outcome.wake_at, text),))
        succeeded = Event(Kind.NODE_SUCCEEDED, node.name, attempt, {"fields": list(written)})
        return Outcome((succeeded,), branches=(BranchWrite(node.name, attempt, None, outcome_text(written)),))


def _together(outcomes: list[Outcome]) -> Outcome:
    return Outcome(
        tuple(chain.from_iterable(o.events for o in outcomes)),
        branches=tuple(chain.from_iterable(o.branches for o in outcomes)),
    )


def _succeeded(node: AnyNode, attempt: int, cells: dict[str, Cell]) -> Event:
    return Event(Kind.NODE_SUCCEEDED, node.name, attempt, {"fields": list(cells)}, cells)


def _failure_event(node: AnyNode, attempt: int, error: Exception) -> Event:
    return Event(Kind.NODE_FAILED, node.name, attempt, {"error": type(error).__name__, "message": message_of(error)})


def _interrupted(hold: Hold, node: AnyNode, attempts: int) -> Outcome:
    """The engine died in each attempt: most likely the step kills it."""
    event = Event(Kind.NODE_INTERRUPTED, node.name, attempts, {"attempts": attempts})
    error = RuntimeError(f"the engine died during each of {attempts} attempts")
    if node.on_failure == "record" and hold.step == node.name:
        return Outcome((Event(event.kind, event.step, attempts, event.facts, failure_cells(hold, node, error, attempts)),))
    return Outcome(
        (event,),
        park=f"{hold.step!r} was begun {attempts} times and never ended: {error}; correct it and redrive the case",
    )


def _worth_another(node: AnyNode, error: Exception) -> bool:
    return isinstance(error, node.retry.on) and not isinstance(error, ValueRefused)


def _open(row: BranchRow | None) -> bool:
    return row is None or row.outcome is None


def _row(hold: Hold, node: AnyNode) -> BranchRow:
    return hold.branches.get(node.name) or BranchRow(node.name, 0, None, None)
