"""The branches of a parallel step: each end is durable by itself, and the fields are written together at the join."""

import asyncio
from itertools import chain

from pointsman.definition.nodes import AnyNode
from pointsman.definition.rules import Parallel
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.snapshot import Cell, Status
from pointsman.runtime.attempts import Attempts, interrupted
from pointsman.runtime.commits import Commits
from pointsman.runtime.hold import Hold, Outcome, cells_from, outcome_text
from pointsman.runtime.ports import Ports
from pointsman.store.base import BranchRow, BranchWrite


class Branches:
    """Runs the branches of parallel steps."""

    def __init__(self, ports: Ports, commits: Commits, attempts: Attempts) -> None:
        self._clock = ports.clock
        self._commits = commits
        self._attempts = attempts

    async def run(self, hold: Hold, parallel: Parallel) -> Outcome:
        """Run the branches that have not ended yet. Each one's end is durable by itself; the fields are written together."""
        budget = sum(node.retry.attempts_max for node in parallel.nodes)
        if hold.attempt > budget:
            return interrupted(hold, parallel.nodes[0], budget)
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
        tasks = {asyncio.create_task(self._run_one(hold, node)): position for position, node in enumerate(due)}
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

    async def _run_one(self, hold: Hold, node: AnyNode) -> Outcome:
        attempt = _row(hold, node).attempts + 1
        if attempt > node.retry.attempts_max:
            return Outcome((), park=f"{node.name!r} has used up its {node.retry.attempts_max} attempts")
        written = await self._attempts.make(hold, node, attempt)
        if isinstance(written, Exception):
            outcome = self._attempts.failed(hold, node, attempt, written)
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


def _open(row: BranchRow | None) -> bool:
    return row is None or row.outcome is None


def _row(hold: Hold, node: AnyNode) -> BranchRow:
    return hold.branches.get(node.name) or BranchRow(node.name, 0, None, None)
