"""The outline of a search: which rules can be chosen with some fields, if all that is known of a field is who wrote it.

A search in outline forgets every value, so it has few states. It misses no way of a case, and takes some that no case can take.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from pointsman.definition.rules import Park
from pointsman.kernel.decide import Decision, decide
from pointsman.kernel.snapshot import Cell, LogCell
from pointsman.operations.verify.conditions import Kept
from pointsman.operations.verify.places import NOTHING_KNOWN, Choice, Known, Place, Unresolved
from pointsman.operations.verify.proof import Constraint, Solver, TooMany
from pointsman.operations.verify.twin import MARK, Looked, Twin

ITEMS_MAX = 2  # of a log: an outline does not tell more items apart

Pattern = tuple[tuple[str, str], ...]
"""Fields, each with the types of its values: more than that a condition cannot tell."""

Results = tuple[tuple[int, bool], ...]
"""What conditions resulted in, by their numbers."""

_Wanted = tuple[int, bool | None]
"""The number of a condition, and what it should result in."""

_HOLDS, _FAILS = Kept((), holds=True), Kept((), holds=False)
_OUTCOMES = (True, False, None)
_NONE: Set[str] = frozenset()


class Recalled(NamedTuple):
    """What an outline remembers of a decision.

    A rule that leads to the same step as the rule `first`, and none above that, was chosen with these `cells`. The `results` are those of
    the conditions that read no field that was `lost` since, or is about to be written.
    """

    cells: Mapping[str, Cell]
    first: int
    lost: Set[str]
    results: Results


class _End(NamedTuple):
    """The rule of this number is chosen, or its condition raises, which is `raised`."""

    number: int
    raised: Decision | None


class Outline:
    """The rules that can be chosen. The names of those that were are in `chosen`, and are not looked for again where others lead to the same step."""

    def __init__(self, twin: Twin, chosen: set[str]) -> None:
        self._twin = twin
        self._chosen = chosen
        self._fields: dict[int, Set[str]] = {}
        self._looked_at: Set[str] = _NONE
        self._outcomes: dict[tuple[int, Pattern], tuple[bool | None, ...]] = {}
        self._found: dict[tuple[Pattern, Results], list[_End]] = {}
        self._possible: dict[tuple[tuple[_Wanted, ...], Pattern], bool] = {}
        self._parted: dict[tuple[_Wanted, ...], list[tuple[_Wanted, ...]]] = {}
        self._decisions: dict[tuple[int, frozenset[str]], Decision] = {}
        self._results: dict[tuple[int, Set[str]], Results] = {}
        self._types: dict[str, str] = {}
        self._conditions = {
            number: condition
            for number in range(len(twin.process.ordered_rules))
            if (condition := twin.conditions.plain(number)) is not None
        }
        self._steps = [id(rule.step) for rule in twin.process.ordered_rules]
        self._places = {rule.name: number for number, rule in enumerate(twin.process.ordered_rules)}

    def decisions(self, cells: Mapping[str, Cell], recalled: Recalled | None) -> list[Decision]:
        """A decision for each step that can come next with these fields, and for each condition that can raise."""
        results = () if recalled is None else self.still(cells, recalled).results
        known = self._twin.imagination.known
        decisions = [end.raised or self._chosen_by(end.number, cells) for end in self._ends(cells, results)]
        self._twin.imagination.known = known
        return decisions

    def recalled(self, cells: Mapping[str, Cell], rule: str, written: Set[str]) -> Recalled:
        """What is remembered after a rule was chosen, whose step writes fields."""
        first = self._steps.index(self._steps[self._places[rule]])
        return Recalled(cells, first, written, self._results_of(first, written))

    def still(self, cells: Mapping[str, Cell], recalled: Recalled) -> Recalled:
        """What is still remembered, with the fields that a case has now."""
        then = recalled.cells
        lost = recalled.lost | {name for name in self._looked_at if _differ(then.get(name), cells.get(name))}
        return Recalled(then, recalled.first, lost, self._results_of(recalled.first, lost))

    def _results_of(self, first: int, lost: Set[str]) -> Results:
        """The results of the conditions above this rule. Its own counts if no other rule leads to the same step."""
        key = first, frozenset(lost)
        if key not in self._results:
            sole = self._steps.count(self._steps[first]) == 1
            kept = (number for number in range(first + sole) if self._fields.get(number, _NONE).isdisjoint(lost))
            self._results[key] = tuple((number, number == first) for number in kept)
        return self._results[key]

    def _pattern(self, cells: Mapping[str, Cell]) -> Pattern:
        """The fields that conditions read."""
        return self._within(cells, self._looked_at)

    def _within(self, cells: Mapping[str, Cell], fields: Set[str]) -> Pattern:
        return tuple([(name, self._type_of(cells[name])) for name in sorted(fields) if name in cells])

    def _type_of(self, cell: Cell) -> str:
        return " ".join([self._type(one) for one in shape_of(cell)])

    def _type(self, name: str) -> str:
        """The number of the type of a token; any other text is its own type."""
        if name not in self._types:
            kinds = self._twin.codec.kinds
            alike = (other for other in self._types if other in kinds and name in kinds and kinds[other] == kinds[name])
            self._types[name] = next((self._types[other] for other in alike), f"{len(self._types)}" if name in kinds else name)
        return self._types[name]

    def _chosen_by(self, number: int, cells: Mapping[str, Cell]) -> Decision:
        """The decision if the rule of this number holds. It depends on nothing but the rule and which fields have a value."""
        key = number, frozenset(cells)
        if key not in self._decisions:
            self._twin.conditions.memo = {**dict.fromkeys(range(number), _FAILS), number: _HOLDS}
            self._decisions[key] = decide(self._twin.process, Looked(cells))
        return self._decisions[key]

    def _raised_by(self, number: int, cells: Mapping[str, Cell], known: Known) -> Decision:
        """The decision if the condition of the rule of this number raises, which it does with the values that are known."""
        self._twin.conditions.memo = dict.fromkeys(range(number), _FAILS)
        self._twin.imagination.known = known
        try:
            return decide(self._twin.process, Looked(cells))
        except Unresolved:  # too many values would have to be tried to know whether it raises
            rule = self._twin.process.ordered_rules[number].name
            return Decision(Park(f"the condition of rule {rule!r} may raise"), rule)

    def _ends(self, cells: Mapping[str, Cell], results: Results) -> list[_End]:
        key = self._pattern(cells), results
        if key not in self._found:
            found = [*self._search(cells, dict(results))]
            self._found[self._pattern(cells), results] = found  # by then it may be known that conditions read more fields
            return found
        return self._found[key]

    def _search(self, cells: Mapping[str, Cell], results: Mapping[int, bool]) -> Iterator[_End]:
        above, steps = list[_Wanted](), set[int]()
        for number, rule in enumerate(self._twin.process.ordered_rules):
            condition = self._conditions.get(number)
            outcomes: tuple[bool | None, ...] = (True,)
            if condition is not None:
                outcomes = (results[number],) if number in results else self._outcomes_of(number, condition, cells)
            for outcome in outcomes:
                if outcome is False or (outcome and id(rule.step) in steps and rule.name in self._chosen):
                    continue
                wanted = above if condition is None or number in results else [(number, outcome), *above]
                if outcome and self._can_be(cells, wanted):
                    yield _End(number, None)
                    steps.add(id(rule.step))
                    self._chosen.add(rule.name)
                elif outcome is None and (known := self._solved(cells, wanted)) is not None:
                    yield _End(number, self._raised_by(number, cells, known))
            if False not in outcomes:
                return
            if condition is not None and len(outcomes) > 1:
                above.append((number, False))

    def _can_be(self, cells: Mapping[str, Cell], wanted: Sequence[_Wanted]) -> bool:
        """Whether the conditions can result in this together. Those that read none of the same fields are looked at apart."""
        for part in self._parts(tuple(wanted)):
            read = frozenset[str]().union(*(self._fields.get(number, _NONE) for number, _ in part))
            key = part, self._within(cells, read)
            if key not in self._possible:
                self._possible[key] = self._solved(cells, part) is not None
            if not self._possible[key]:
                return False
        return True

    def _parts(self, wanted: tuple[_Wanted, ...]) -> list[tuple[_Wanted, ...]]:
        if wanted not in self._parted:
            parts: list[tuple[Set[str], list[_Wanted]]] = []
            for one in wanted:
                read = self._fields.get(one[0], _NONE)
                joined = [part for part in parts if not part[0].isdisjoint(read)]
                parts = [part for part in parts if part[0].isdisjoint(read)]
                parts.append(
                    (frozenset(read).union(*(fields for fields, _ in joined)), [*chain.from_iterable(many for _, many in joined), one])
                )
            self._parted[wanted] = [tuple(many) for _, many in parts]
        return self._parted[wanted]

    def _solved(self, cells: Mapping[str, Cell], wanted: Sequence[_Wanted]) -> Known | None:
        constraints = [Constraint(self._conditions[number], outcome) for number, outcome in wanted]
        try:
            return Solver(self._twin, cells).solve(constraints)
        except TooMany:
            return NOTHING_KNOWN  # perhaps

    def _outcomes_of(self, number: int, condition: Callable[[Any], bool], cells: Mapping[str, Cell]) -> tuple[bool | None, ...]:
        """What a condition can result in with these fields, whatever the others result in."""
        fields = self._fields.get(number, _NONE)
        key = number, self._within(cells, fields)
        if key not in self._outcomes:
            outcomes, reads = every_outcome(self._twin, condition, cells)
            if not reads <= fields:
                self._fields[number] = fields = fields | reads
                self._looked_at |= reads
                self._results.clear()
                self._parted.clear()
                key = number, self._within(cells, fields)
            self._outcomes[key] = outcomes
        return self._outcomes[key]


def every_outcome(twin: Twin, condition: Callable[[Any], bool], cells: Mapping[str, Cell]) -> tuple[tuple[bool | None, ...], Set[str]]:
    """What a condition can result in with these fields (None: it raises), and the fields that it reads on any way there."""
    solver, found = Solver(twin, cells), set[bool | None]()

    def noted(view: Any) -> bool:
        try:
            found.add(condition(view))
        except Exception:
            found.add(None)
        return True

    try:
        solver.solve([Constraint(noted, holds=False)])  # nothing fulfils it, so every way is taken
    except TooMany:
        return _OUTCOMES, frozenset(twin.process.state.model_fields)
    return tuple(outcome for outcome in _OUTCOMES if outcome in found), frozenset(solver.reads)


def _differ(one: Cell | None, other: Cell | None) -> bool:
    return one is not other and (one is None or other is None or one.text != other.text)


def shape_of(cell: Cell) -> tuple[str, ...]:
    """The names of the tokens in a cell, without their numbers; of a log, those of the last items."""
    return _shape_of(cell.parts[-ITEMS_MAX:] if isinstance(cell, LogCell) else (cell.text,))


@lru_cache(maxsize=65_536)  # as many texts as the cells of a search have, or the newest of them
def _shape_of(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([text.partition(MARK)[0].lstrip('["') for text in texts])


@dataclass(slots=True)
class _Open:
    """A decision, or the value of a place: what it can be, and which of that is taken."""

    place: Place | None
    options: Sequence[Any]
    taken: int = 0


class Choices:
    """What comes next for one move after the other. Where a move asks for a decision or a value that is open, each is taken in turn."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self._recalled: Recalled | None = None
        self._open: list[_Open] = []
        self._next = 0
        self._answered: tuple[Any, Any] = (None, None)  # the fields, and the decision

    def each(self, recalled: Recalled | None) -> Iterator[Known]:
        """Once for each way to answer what a move asks for: the values that are known then."""
        self._recalled, self._open = recalled, []
        while True:
            self._next, self._answered = 0, (None, None)
            yield {one.place: one.options[one.taken] for one in self._open if one.place is not None}
            while self._open and self._open[-1].taken + 1 == len(self._open[-1].options):
                self._open.pop()
            if not self._open:
                return
            self._open[-1].taken += 1

    def next(self, cells: Mapping[str, Cell]) -> Decision:
        """The decision that is taken now with these fields. With the same ones it is the same."""
        asked, decision = self._answered
        if asked is not cells:
            while self._next < len(self._open) and self._open[self._next].place is not None:
                self._next += 1
            if self._next == len(self._open):
                self._open.append(_Open(None, self.outline.decisions(cells, self._recalled)))
            one = self._open[self._next]
            decision = one.options[one.taken]
            self._next, self._answered = self._next + 1, (cells, decision)
        return decision  # type: ignore[no-any-return]

    def ask(self, place: Place, options: tuple[Choice, ...]) -> None:
        """Take each of these values of a place in turn, from the next time on."""
        self._open.append(_Open(place, options, -1))
