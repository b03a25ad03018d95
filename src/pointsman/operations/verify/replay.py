"""Takes a way that a search has found once more, and forgets nothing: are there values with which a case takes exactly this way?"""

from collections.abc import Sequence
from typing import Any

from pointsman.kernel.machine import Plan
from pointsman.operations.verify.happens import Standing
from pointsman.operations.verify.places import Choice, Place, Unresolved
from pointsman.operations.verify.search import Search

TRIES_MAX = 3_000

Learned = tuple[tuple[Place, Choice], ...]


def replayed(search: Search, steps: Sequence[Standing]) -> list[Learned] | None:
    """For each step what is decided in it, or None if no values were found."""
    waiting: list[tuple[int, dict[Any, Any], tuple[Learned, ...]]] = [(0, {}, ((),))]
    for _ in range(TRIES_MAX):
        if not waiting:
            return None
        number, known, learned = waiting.pop()
        if number == len(steps):
            return list(learned[:-1])
        step = steps[number]
        try:
            plan = search.ask(step.move, known)
        except Unresolved as asked:
            before = dict(step.way.learned)
            place, found = asked.place, before.get(asked.place)
            first = [choice for choice in asked.choices if choice == found]
            waiting += [
                (number, {**known, place: choice}, (*learned[:-1], (*learned[-1], (place, choice))))
                for choice in (*(one for one in asked.choices if one != found), *first)  # the last one is tried first
            ]
            continue
        if isinstance(plan, Plan) and _same(plan, step):
            waiting.append((number + 1, known, (*learned, ())))
    return None


def _same(plan: Plan, step: Standing) -> bool:
    """Whether the plan leads where the search came."""
    before, after = step.case, plan.case
    same = (before.row.status, before.row.step, before.row.rule, before.row.reason) == (
        after.row.status,
        after.row.step,
        after.row.rule,
        after.row.reason,
    )
    return same and before.snapshot.cells.keys() == after.snapshot.cells.keys()
