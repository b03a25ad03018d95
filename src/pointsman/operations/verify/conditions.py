"""The conditions of a twin: what they may look at, and what the search remembers of their results.

In one decision everything that a later condition may look at is remembered. From one decision to the next, the search remembers the results of
the rules down to the one that was chosen, and what invariants may look at. If a rule further down is evaluated later, what it looks at is
decided anew. So the search also takes ways that no case can take, and misses none: it can only find too much.
"""

import dis
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Set
from functools import lru_cache
from typing import Any, NamedTuple

from pointsman.kernel.snapshot import Cell
from pointsman.operations.verify.imagined import Imagination
from pointsman.operations.verify.places import Choice, Look, Place, Unresolved, look_of

WAYS_MAX = 100  # through one condition before the search; what it looks at on others is found during the search


class Kept(NamedTuple):
    """The result of a condition, and the fields that it read, each with its text."""

    reads: tuple[tuple[str, str | None], ...]
    holds: bool

    def stands(self, cells: Mapping[str, Cell]) -> bool:
        """Whether the fields still are what they were."""
        return all(text_of(cells, field) == text for field, text in self.reads)


class Way(NamedTuple):
    """One way through the conditions: what is decided, the results so far, and what was decided on the way."""

    known: dict[Any, Any]
    memo: dict[int, Kept]
    learned: tuple[tuple[Place, Choice], ...] = ()


_Way = tuple[dict[Any, Any], tuple[tuple[Place, Choice], ...]]
Ways = list[_Way]


class _Side(NamedTuple):
    reads: dict[str, None]
    ways: Ways


class Conditions:
    """The conditions of the rules, numbered, and those of the invariants. `memo` has the results that are known now.

    Invariants are searched one at a time, because what each of them looks at is always remembered: `searched` names the one.
    """

    def __init__(self, imagination: Imagination) -> None:
        self.memo: dict[int, Kept] = {}
        self.searched = ""
        self._imagination = imagination
        self._looks: list[set[Look]] = []
        self._fields: list[frozenset[str]] = []
        self._evaluations: dict[int, Callable[[Any], bool]] = {}
        self._later: list[set[Look]] = []
        self._guarded: dict[str, set[Look]] = {}
        self._outside: set[Look] = set()

    def of_a_rule(self, condition: Callable[[Any], object] | None) -> Callable[[Any], object] | None:
        """The condition of a rule, which keeps its result."""
        number, shallow = len(self._looks), none_tests_of(condition)
        self._looks.append(set())
        self._fields.append(frozenset())
        if condition is None:
            return None
        looks = self._looks[number]

        def evaluate(view: Any) -> bool:
            return self._evaluate(lambda: bool(condition(view)), shallow, looks)

        def keeping(view: Any) -> bool:
            cells = view._cells  # noqa: SLF001 - of `decide`
            known = self.memo.get(number)
            if known is not None and known.stands(cells):
                return known.holds
            reads: dict[str, None] = {}
            holds = evaluate(type(view)(cells, reads))
            self.memo = {**self.memo, number: self.kept(number, cells, reads, holds=holds)}
            return holds

        self._evaluations[number] = evaluate
        return keeping

    def plain(self, number: int) -> Callable[[Any], bool] | None:
        """The condition of the rule of this number, which keeps nothing; None if it always holds."""
        return self._evaluations.get(number)

    def of_an_invariant(self, name: str, condition: Callable[[Any], object]) -> Callable[[Any], object]:
        """The condition of an invariant, which counts while it is searched."""
        shallow = none_tests_of(condition)
        looks = self._guarded[name] = set()

        def watched(view: Any) -> bool:
            return self.searched == name and self._evaluate(lambda: bool(condition(view)), shallow, looks)

        return watched

    def search(self, name: str) -> None:
        """Search the invariant of this name from here on; "" is none."""
        self.searched, self._later = name, []

    def looks_of(self, name: str) -> Set[Look]:
        """Where the invariant of this name has looked."""
        return self._guarded.get(name, set())

    @property
    def _always(self) -> set[Look]:
        return self._guarded.get(self.searched, set())

    def explore(self, condition: Callable[[Any], object], view: Callable[[], Any]) -> None:
        """Find out where a condition may look, with `view` on fields that are decided as it goes."""
        waiting: deque[dict[Any, Any]] = deque([{}])
        for _ in range(WAYS_MAX):
            if not waiting:
                return
            self._imagination.known = known = waiting.popleft()
            self.memo = {}
            try:
                condition(view())
            except Unresolved as asked:
                waiting += [{**known, asked.place: choice} for choice in asked.choices]
            except Exception:  # noqa: S112 - a condition may raise where the rules never evaluate it
                continue

    def decisions(self, cells: Mapping[str, Cell], way: Way, view_class: Any) -> list[Way]:
        """The ways through all conditions with these fields, down to a rule that holds.

        The conditions are evaluated one after the other, each for all ways that are left. Ways that agree in what may still be looked at are one
        way from there on, which depends on everything that they have read.
        """
        layer, memo, ends = [(way.known, way.learned)], dict(way.memo), list[Way]()
        for number in range(len(self._looks)):
            evaluate, known = self._evaluations.get(number), memo.get(number)
            if evaluate is None or (known is not None and known.stands(cells)):
                if evaluate is None or (known is not None and known.holds):
                    return ends + [Way(decided, memo, learned) for decided, learned in layer]
                continue
            fails, holds, raises = self._split(cells, layer, evaluate, view_class)
            ends += [Way(decided, memo, learned) for decided, learned in raises]
            if holds.ways:
                results = {**memo, number: self.kept(number, cells, holds.reads, holds=True)}
                ends += [Way(decided, results, learned) for decided, learned in self._least(holds.ways, self._always | self._outside)]
            memo = {**memo, number: self.kept(number, cells, fails.reads, holds=False)}
            layer = self._least(fails.ways, self._needed_after(number))
            if not layer:
                break
        return ends

    def kept(self, number: int, cells: Mapping[str, Cell], reads: Iterable[str], *, holds: bool) -> Kept:
        """The result of a condition. It depends on every field that the condition has ever read, so that ways to one result are alike."""
        fields = self._fields[number] = self._fields[number].union(reads)
        return Kept(tuple((field, text_of(cells, field)) for field in sorted(fields)), holds)

    def _split(self, cells: Mapping[str, Cell], layer: Ways, evaluate: Callable[[Any], bool], view_class: Any) -> tuple[_Side, _Side, Ways]:
        """The ways on which a condition does not hold, those on which it holds, and those on which it raises."""
        sides, raises = (_Side({}, []), _Side({}, [])), list[_Way]()
        waiting = [*layer]
        while waiting:
            known, learned = waiting.pop()
            self._imagination.known = known
            reads: dict[str, None] = {}
            try:
                side = sides[evaluate(view_class(cells, reads))]
            except Unresolved as asked:
                place = asked.place
                waiting += [({**known, place: choice}, (*learned, (place, choice))) for choice in reversed(asked.choices)]
            except Exception:
                raises.append((known, learned))
            else:
                side.reads.update(reads)
                side.ways.append((known, learned))
        return *sides, raises

    @staticmethod
    def _least(ways: Ways, needed: Set[Look]) -> Ways:
        """The ways, with what may still be looked at, without those of which another one decides less."""
        short = [({place: choice for place, choice in known.items() if look_of(place) in needed}, learned) for known, learned in ways]
        kept: list[tuple[Set[Any], _Way]] = []
        for known, learned in sorted(short, key=lambda one: len(one[0])):
            items = known.items()
            if not any(less <= items for less, _ in kept):
                kept.append((items, (known, learned)))
        return [way for _, way in kept]

    def _needed_after(self, number: int) -> set[Look]:
        """Where the conditions after this one, and the invariants, may look."""
        if not self._later:
            needed = self._always | self._outside
            for looks in reversed(self._looks):
                self._later.append(needed)
                needed = needed | looks
            self._later.reverse()
        return self._later[number]

    def meanwhile(self, known: Mapping[Any, Any], asked: Place) -> dict[Any, Any]:
        """What is decided, as far as one of the conditions without a result may look at it. `asked` is what is asked for now."""
        needed = self._always.union(*(looks for number, looks in enumerate(self._looks) if number not in self.memo))
        if look_of(asked) not in needed:
            self._outside.add(look_of(asked))  # the machine itself looks at it
            self._later = []
        needed |= self._outside
        return {place: choice for place, choice in known.items() if look_of(place) in needed}

    def afterwards(
        self, known: Mapping[Any, Any], cells: Mapping[str, Cell], chosen: int, writes: Set[str]
    ) -> tuple[dict[Any, Any], dict[int, Kept]]:
        """What is remembered after a decision for the rule of this number, with these fields: what is decided, and the results.

        The step that was chosen `writes` fields. Results that depend on them are about to be void.
        """
        memo = {
            number: kept
            for number, kept in self.memo.items()
            if number <= chosen and kept.stands(cells) and not any(field in writes for field, _ in kept.reads)
        }
        return {place: choice for place, choice in known.items() if look_of(place) in self._always}, memo

    def _evaluate(self, condition: Callable[[], bool], shallow: frozenset[str], looks: set[Look]) -> bool:
        self._imagination.shallow = shallow
        try:
            return condition()
        except Unresolved as asked:
            if (look := look_of(asked.place)) not in looks:
                looks.add(look)
                self._later = []
            raise
        finally:
            self._imagination.shallow = frozenset()


def text_of(cells: Mapping[str, Cell], field: str) -> str | None:
    """The text of a field, or None if it has no value."""
    return cells[field].text if field in cells else None


def presence(field: str) -> Place:
    """The place that says whether a field has a value."""
    return Place(f"{field}<>", "?")


ABSENT_OR_NOT = (Choice("is", False), Choice("is", True))


@lru_cache(maxsize=4_096)
def none_tests_of(condition: Any) -> frozenset[str]:
    """The names that a condition only compares with None, each time it reads them. Their values need not be decided for it."""
    code = getattr(condition, "__code__", None)
    if code is None or code.co_argcount != 1:
        return frozenset()
    steps = [step for step in dis.get_instructions(code) if step.opname not in {"CACHE", "EXTENDED_ARG", "NOP"}]
    read: dict[str, bool] = {}
    for step, then, after in zip(steps, [*steps[1:], None], [*steps[2:], None, None], strict=False):
        if step.opname in {"LOAD_ATTR", "LOAD_METHOD"}:
            test = then is not None and (
                "NONE" in then.opname
                or (then.opname == "LOAD_CONST" and then.argval is None and after is not None and after.opname == "IS_OP")
            )
            read[str(step.argval)] = read.get(str(step.argval), True) and test
    return frozenset(name for name, only in read.items() if only)
