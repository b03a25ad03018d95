"""The conditions of a twin: what they may look at, and what the search remembers of their results.

In one decision everything that a later condition may look at is remembered. From one decision to the next, the search remembers the results of
the rules down to the one that was chosen, and what invariants may look at. If a rule further down is evaluated later, what it looks at is
decided anew. So the search also takes ways that no case can take, and misses none: it can only find too much.
"""

import dis
import re
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pointsman.kernel.snapshot import Cell
from pointsman.operations.verify.imagined import Choice, Imagination, Place, Unresolved

WAYS_MAX = 100  # through one condition before the search; what it looks at on others is found during the search
_ITEM = re.compile(r"\[\d+\]")

_Look = tuple[str, str]
"""A field, and a place in it without the numbers of items."""


class Kept(NamedTuple):
    """The result of a condition, and the fields that it read, each with its text."""

    reads: tuple[tuple[str, str | None], ...]
    holds: bool

    def stands(self, cells: Mapping[str, Cell]) -> bool:
        """Whether the fields still are what they were."""
        return all(text_of(cells, field) == text for field, text in self.reads)


class Conditions:
    """The conditions of the rules, numbered, and those of the invariants. `memo` has the results that are known now.

    `grew` says that an invariant has looked at a place that was not known before.
    """

    def __init__(self, imagination: Imagination) -> None:
        self.memo: dict[int, Kept] = {}
        self.grew = False
        self._imagination = imagination
        self._looks: list[set[_Look]] = []
        self._always: set[_Look] = set()
        self._outside: set[_Look] = set()

    def of_a_rule(self, condition: Callable[[Any], object] | None) -> Callable[[Any], object] | None:
        """The condition of a rule, which keeps its result."""
        number, shallow = len(self._looks), none_tests_of(condition)
        self._looks.append(set())
        if condition is None:
            return None
        looks = self._looks[number]

        def kept(view: Any) -> bool:
            cells = view._cells  # noqa: SLF001 - of `decide`
            known = self.memo.get(number)
            if known is not None and known.stands(cells):
                return known.holds
            reads: dict[str, None] = {}
            holds = self._evaluate(lambda: bool(condition(type(view)(cells, reads))), shallow, looks)
            self.memo = {**self.memo, number: Kept(tuple((field, text_of(cells, field)) for field in reads), holds)}
            return holds

        return kept

    def of_an_invariant(self, condition: Callable[[Any], object]) -> Callable[[Any], object]:
        """The condition of an invariant."""
        shallow = none_tests_of(condition)

        def watched(view: Any) -> bool:
            before = len(self._always)
            try:
                return self._evaluate(lambda: bool(condition(view)), shallow, self._always)
            finally:
                self.grew = self.grew or len(self._always) > before

        return watched

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

    def meanwhile(self, known: Mapping[Any, Any], asked: Place) -> dict[Any, Any]:
        """What is decided, as far as one of the conditions without a result may look at it. `asked` is what is asked for now."""
        needed = self._always.union(*(looks for number, looks in enumerate(self._looks) if number not in self.memo))
        if _look(asked) not in needed:
            self._outside.add(_look(asked))  # the machine itself looks at it
        needed |= self._outside
        return {place: choice for place, choice in known.items() if _look(place) in needed}

    def afterwards(self, known: Mapping[Any, Any], cells: Mapping[str, Cell], chosen: int) -> tuple[dict[Any, Any], dict[int, Kept]]:
        """What is remembered after a decision for the rule of this number, with these fields: what is decided, and the results."""
        memo = {number: kept for number, kept in self.memo.items() if number <= chosen and kept.stands(cells)}
        return {place: choice for place, choice in known.items() if _look(place) in self._always}, memo

    def _evaluate(self, condition: Callable[[], bool], shallow: frozenset[str], looks: set[_Look]) -> bool:
        self._imagination.shallow = shallow
        try:
            return condition()
        except Unresolved as asked:
            looks.add(_look(asked.place))
            raise
        finally:
            self._imagination.shallow = frozenset()


def _look(place: Place) -> _Look:
    return place.token.partition("<")[0], _ITEM.sub("[]", place.inner)


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
