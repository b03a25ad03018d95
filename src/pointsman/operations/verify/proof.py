"""Proves that rules keep an invariant whatever the fields are, or finds fields with which they break it.

A decision breaks an invariant if its condition holds, the rule that leads to the guarded step holds, and no rule above it does. These are
constraints on the fields, and no state of a case is needed to decide whether they exclude each other. Values are split only where a constraint
asks. If a constraint fails, the search goes back to the last decision that the failure depends on.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pointsman.definition.checks import inputs_of
from pointsman.definition.messages import logs_of
from pointsman.kernel.decide import view_of
from pointsman.kernel.snapshot import Cell
from pointsman.operations.verify.conditions import presence
from pointsman.operations.verify.places import NOTHING_KNOWN, Choice, Known, Place, Unresolved, look_of
from pointsman.operations.verify.twin import Twin, some, writes_of

DECISIONS_MAX = 20_000  # about what takes ten seconds; the search of ways takes over from there

_Places = frozenset[Place]


class AnyFields(dict[str, Cell]):
    """The fields of a case of which nothing is known: each may be there or not, and a log has at most `items_max` items."""

    def __init__(self, twin: Twin, items_max: int) -> None:
        super().__init__()
        state = twin.process.state
        self._twin = twin
        self._logs = logs_of(state)
        self._given = inputs_of(state) - self._logs.keys()
        opened = {name for accept in twin.process.accepts_messages.values() if accept.starts is not False for name in accept.writes}
        self._counts = {name: _counts(items_max, begun=name in opened) for name in self._logs}

    def __contains__(self, name: object) -> bool:
        if name in self._given:
            return True
        decided = self._twin.imagination.decided
        return bool(decided(presence(str(name)), self._counts[str(name)] if name in self._logs else _ABSENT_OR_NOT).what)

    def __getitem__(self, name: str) -> Cell:
        codec = self._twin.codec
        if name in self._logs:
            count = self._twin.imagination.decided(presence(name), self._counts[name]).what
            return codec.log([codec.token(name, "", self._logs[name], number) for number in range(count)], "")
        annotation = self._twin.process.state.model_fields[name].annotation
        return codec.encode(name, codec.token(name, "", annotation if name in self._given else some(annotation), 0), "")


_ABSENT_OR_NOT = (Choice("is", False), Choice("is", True))


def _counts(items_max: int, *, begun: bool) -> tuple[Choice, ...]:
    counts = [*range(1, items_max + 1), 0] if begun else range(items_max + 1)
    return tuple(Choice("len", count) for count in counts)


class Constraint(NamedTuple):
    """A condition, and whether it must hold; None if it must raise."""

    condition: Callable[[Any], object]
    holds: bool | None


class _Failure(NamedTuple):
    """Nothing fulfils the constraints, and these are the places of the decisions that this depends on."""

    because: _Places


class TooMany(Exception):
    """The constraints need more decisions than are allowed."""


class _Consulted(dict[Place, Choice]):
    """What is decided, and the places that were asked for."""

    def __init__(self, known: Known) -> None:
        super().__init__(known)
        self.places: set[Place] = set()

    def get(self, place: Any, default: Any = None) -> Any:
        self.places.add(place)
        return super().get(place, default)


@dataclass
class Solver:
    """Finds values of fields that fulfil constraints. `decisions` counts how often it split a place."""

    twin: Twin
    cells: Mapping[str, Cell]
    decisions: int = 0
    reads: dict[str, None] = field(default_factory=dict)
    _constraints: list[Constraint] = field(default_factory=list)

    def solve(self, constraints: list[Constraint], known: Known = NOTHING_KNOWN) -> Known | None:
        """Values that fulfil all constraints and are what is known of them, or None if there are none. Raises TooMany."""
        self._constraints = constraints
        blocked: dict[int, Unresolved] = {}
        found = self._propagate(known, blocked, range(len(constraints))) or self._decide(known, blocked)
        return None if isinstance(found, _Failure) else found

    def _decide(self, known: Known, blocked: dict[int, Unresolved]) -> Known | _Failure:
        if not blocked:
            return known
        self.decisions += 1
        if self.decisions > DECISIONS_MAX:
            raise TooMany
        asked = blocked[min(blocked)]
        woken = [number for number, other in blocked.items() if other.place == asked.place]
        because: set[Place] = {asked.place} if asked.place in known else set()
        for choice in asked.choices:
            narrowed, left = {**known, asked.place: choice}, {n: one for n, one in blocked.items() if n not in woken}
            found = self._propagate(narrowed, left, woken) or self._decide(narrowed, left)
            if not isinstance(found, _Failure):
                return found
            if asked.place not in found.because:
                return found
            because |= found.because - {asked.place}
        return _Failure(frozenset(because))

    def _propagate(self, known: Known, blocked: dict[int, Unresolved], numbers: Any) -> _Failure | None:
        """Evaluate constraints. Those that are not decided yet are blocked at the place that they ask for."""
        imagination, view = self.twin.imagination, view_of(self.twin.process.state)
        for number in numbers:
            condition, wanted = self._constraints[number]
            imagination.known = consulted = _Consulted(known)
            try:
                holds: bool | None = bool(condition(view(self.cells, self.reads)))
            except Unresolved as asked:
                blocked[number] = asked
                continue
            except Exception:  # the case is parked
                holds = None
            if holds is not wanted:
                return _Failure(frozenset(consulted.places))
        return None


def broken_with(twin: Twin, name: str, items_max: int) -> Iterator[Known]:
    """For each rule that can break the invariant of this name: fields with which it does. Raises TooMany."""
    invariant = twin.process.invariants[name]
    twin.conditions.search(name)
    for number, rule in enumerate(twin.process.ordered_rules):
        if invariant.guards(rule.step):
            found = Solver(twin, AnyFields(twin, items_max)).solve([Constraint(invariant.condition, holds=True), *chosen(twin, number)])
            if found is not None:
                yield found


def chosen(twin: Twin, number: int) -> list[Constraint]:
    """The rule of this number is chosen."""
    found = []
    for place in (number, *range(number)):
        condition = twin.conditions.plain(place)
        if condition is not None:
            found.append(Constraint(condition, holds=place == number))
    return found


def with_earlier(twin: Twin, aim: Known, items_max: int) -> Known:
    """The same fields, with values at which the rules that lead to them were chosen, as far as there are any."""
    known = aim
    for number, rule in reversed([*enumerate(twin.process.ordered_rules)]):
        written = {name for name in writes_of(rule.step) if _is_there(known, name)}
        if written:
            before = {place: choice for place, choice in known.items() if look_of(place)[0] not in written}
            absent = {presence(name): Choice("is", False) for name in written}
            with suppress(TooMany):
                known = Solver(twin, AnyFields(twin, items_max)).solve(chosen(twin, number), {**before, **absent}) or known
    return {**known, **aim}


def _is_there(known: Known, name: str) -> bool:
    choice = known.get(presence(name))
    return choice is not None and choice.how == "is" and bool(choice.what)
