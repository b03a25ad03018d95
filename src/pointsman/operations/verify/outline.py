"""The outline of a search: which rules can be chosen with some fields, if all that is known of a field is who wrote it.

A search in outline forgets every value, so it has few states. It misses no way of a case, and takes some that no case can take.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

from pointsman.kernel.snapshot import Cell, LogCell
from pointsman.operations.verify.conditions import Kept, Way
from pointsman.operations.verify.proof import Constraint, Solver, TooMany
from pointsman.operations.verify.twin import MARK, Twin

ITEMS_MAX = 2  # of a log: an outline does not tell more items apart

Pattern = tuple[tuple[str, str], ...]
"""Fields, each with the types of its values: more than that a condition cannot tell."""


class _End(NamedTuple):
    """The rule of this number is chosen, or, with the values that are `known`, its condition raises."""

    number: int
    known: dict[Any, Any]


_NONE: Set[str] = frozenset()
_HOLDS, _FAILS = Kept((), holds=True), Kept((), holds=False)
_OUTCOMES = (True, False, None)


class Outline:
    """The rules that can be chosen. The names of those that were are in `chosen`, and are not looked for again where others lead to the same step."""

    def __init__(self, twin: Twin, chosen: set[str]) -> None:
        self._twin = twin
        self._chosen = chosen
        self._fields: dict[int, set[str]] = {}
        self._outcomes: dict[tuple[int, Pattern], tuple[bool | None, ...]] = {}
        self._ways: dict[tuple[Pattern, frozenset[tuple[int, bool]]], list[_End]] = {}
        self._first: dict[int, int] = {}
        self._types: dict[str, str] = {}
        for number, rule in enumerate(twin.process.ordered_rules):
            self._first.setdefault(id(rule.step), number)
        self._steps = [id(rule.step) for rule in twin.process.ordered_rules]

    def ways(self, cells: Mapping[str, Cell], memo: Mapping[int, Kept]) -> list[Way]:
        """For each step that can come next with these fields, a way through the conditions to a rule that leads to it."""
        results = {number: kept for number, kept in memo.items() if kept.stands(cells)}
        pattern = self._pattern(cells)
        key = pattern, frozenset((number, kept.holds) for number, kept in results.items())
        if key not in self._ways:
            self._ways[key] = [*self._ends(cells, pattern, results)]
        return [Way(end.known, self._ways_through(end)) for end in self._ways[key]]

    def remembered(self, cells: Mapping[str, Cell], chosen: int, written: Set[str]) -> dict[int, Kept]:
        """The results that are remembered after a rule was chosen, whose step writes fields.

        They are those of the rules above the first one that leads to the same step, so that it does not matter which of them was chosen.
        """
        first = self._first[self._steps[chosen]]
        unwritten = [number for number in range(first + 1) if self._fields.get(number, _NONE).isdisjoint(written)]
        kept = self._twin.conditions.kept
        return {number: kept(number, cells, self._fields.get(number, _NONE), holds=number == chosen) for number in unwritten}

    def _pattern(self, cells: Mapping[str, Cell]) -> Pattern:
        return tuple((name, self._shape(cell)) for name, cell in sorted(cells.items()))

    def _shape(self, cell: Cell) -> str:
        parts = cell.parts[-ITEMS_MAX:] if isinstance(cell, LogCell) else (cell.text,)
        return " ".join(self._type(part.partition(MARK)[0].lstrip('["')) for part in parts)

    def _type(self, name: str) -> str:
        """The number of the type of a token; any other text is its own type."""
        if name not in self._types:
            kinds = self._twin.codec.kinds
            alike = (other for other in self._types if other in kinds and name in kinds and kinds[other] == kinds[name])
            self._types[name] = next((self._types[other] for other in alike), f"{len(self._types)}" if name in kinds else name)
        return self._types[name]

    def _ways_through(self, end: "_End") -> dict[int, Kept]:
        """The results with which a rule is chosen; they are valid for this decision."""
        through: dict[int, Kept] = dict.fromkeys(range(end.number), _FAILS)
        return through if end.known else {**through, end.number: _HOLDS}

    def _ends(self, cells: Mapping[str, Cell], pattern: Pattern, results: Mapping[int, Kept]) -> Iterator["_End"]:
        above, steps = list[Constraint](), set[int]()
        for number, rule in enumerate(self._twin.process.ordered_rules):
            condition = self._twin.conditions.plain(number)
            outcomes: tuple[bool | None, ...] = (True,)
            if condition is not None:
                known = results.get(number)
                outcomes = self._outcomes_of(number, condition, cells, pattern) if known is None else (known.holds,)
            for outcome in outcomes:
                if outcome is False or (outcome and id(rule.step) in steps and rule.name in self._chosen):
                    continue
                wanted = [*above] if condition is None or number in results else [Constraint(condition, outcome), *above]
                values = self._solved(cells, wanted)
                if values is not None:
                    yield _End(number, {} if outcome else values)
                    steps |= {id(rule.step)} if outcome else set()
                    self._chosen.add(rule.name)
            if False not in outcomes:
                return
            if condition is not None and len(outcomes) > 1:
                above.append(Constraint(condition, holds=False))

    def _solved(self, cells: Mapping[str, Cell], constraints: list[Constraint]) -> dict[Any, Any] | None:
        try:
            found = Solver(self._twin, cells).solve(constraints)
        except TooMany:
            return {}  # perhaps
        return None if found is None else dict(found)

    def _outcomes_of(self, number: int, condition: Any, cells: Mapping[str, Cell], pattern: Pattern) -> tuple[bool | None, ...]:
        """What a condition can result in with these fields, whatever the others result in."""
        fields = self._fields.setdefault(number, set())
        read = _within(pattern, fields)
        if (number, read) not in self._outcomes:
            solver, found = Solver(self._twin, cells), list[bool | None]()
            for outcome in _OUTCOMES:
                try:
                    if solver.solve([Constraint(condition, outcome)]) is not None:
                        found.append(outcome)
                except TooMany:
                    found.append(outcome)
            fields.update(solver.reads)
            read = _within(pattern, fields)
            self._outcomes[number, read] = tuple(found)
        return self._outcomes[number, read]


def _within(pattern: Pattern, fields: set[str]) -> Pattern:
    return tuple(one for one in pattern if one[0] in fields)
