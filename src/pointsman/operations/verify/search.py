"""Searches all ways that a case can take, the shortest first."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Compensate
from pointsman.kernel.case import Case
from pointsman.kernel.commands import Continue, LoadHistory, Rest
from pointsman.kernel.decide import Broken, Decision, decide, view_of
from pointsman.kernel.machine import Plan, advance
from pointsman.kernel.program import Rules
from pointsman.kernel.snapshot import ENDED, Cell, Status
from pointsman.operations.verify.conditions import Way
from pointsman.operations.verify.happens import Certain, Move, Standing, World
from pointsman.operations.verify.keys import Keys, results_of
from pointsman.operations.verify.outline import Choices, Outline, Recalled
from pointsman.operations.verify.places import Unresolved
from pointsman.operations.verify.twin import Looked, Twin, writes_of

STATES_MAX = 200_000
OUTLINE_MAX = 50  # states of an outline that is searched in detail as well


class Deciding(BaseException):
    """The program is asked what comes next with these fields."""

    def __init__(self, cells: Looked) -> None:
        super().__init__()
        self.cells = cells


class Watched(Rules):
    """The program of the twin, which keeps its last decision."""

    last: Decision | None = None
    asks: bool = False
    choices: Choices | None = None

    def next(self, case: int, cells: Mapping[str, Cell]) -> Decision:  # noqa: ARG002 - the rules need nothing but the fields
        """Decide, and keep the decision. If it `asks`, raise Deciding instead; in an outline, take one of the `choices`."""
        if self.asks:
            raise Deciding(Looked(cells))
        decision = decide(self.process, Looked(cells)) if self.choices is None else self.choices.next(cells)
        object.__setattr__(self, "last", decision)
        return decision


@dataclass(slots=True)
class Found:
    """What a search has found: ways to broken invariants and to dead ends, rules that were chosen, and rules that turn in a circle."""

    states: int = 0
    transitions: int = 0
    complete: bool = True
    broken: dict[str, Standing] = field(default_factory=dict)
    stuck: dict[str, Standing] = field(default_factory=dict)
    chosen: set[str] = field(default_factory=set)
    circle: tuple[str, ...] = ()


class Search:
    """Explores the ways of a process, with at most `messages` messages to an open case, or until the `first` broken invariant."""

    def __init__(self, process: AnyProcess, *, messages: int = 1, states_max: int = STATES_MAX, first: bool = False) -> None:
        self.twin = Twin(process)
        self._program = Watched(self.twin.process)
        self.world = World(self.twin, self._program)
        self.keys = Keys(self.twin)
        self._places = {rule.name: place for place, rule in enumerate(self.twin.process.ordered_rules)}
        self._view = view_of(self.twin.process.state)
        steps = [rule.step for rule in self.twin.process.ordered_rules]
        self._writes = {step.name: frozenset(writes_of(step)) for step in steps}
        self._messages = messages
        self._first = first
        self._states_max = states_max
        self._chance = Certain()
        self._queue: deque[Standing] = deque()
        self._seen: dict[Any, int] = {}
        self._edges: dict[int, list[tuple[int, str]]] = {}
        self._number = -1  # of the state from which moves are tried: states are numbered as they are seen, and tried in that order
        self._found = Found()
        self._choices: Choices | None = None

    def run(self, names: Sequence[str]) -> Found:
        """Search for ways that break the invariants of these names until every way is known, or there are too many.

        Without names, the search is for the other findings: in outline, and once more in detail if the outline is small.
        """
        if not names:
            self._outline(Choices(Outline(self.twin, self._found.chosen)))
            if not self._found.complete or self._found.states > OUTLINE_MAX:
                return self._found
            self._found = Found()
        self.twin.explore()
        for name in names or [""]:
            self._go(name)
            if self._first and self._found.broken:
                break
        return self._found

    def _outline(self, choices: Choices) -> None:
        self._choices = choices
        object.__setattr__(self._program, "choices", choices)
        self._go("")
        self._choices = None
        object.__setattr__(self._program, "choices", None)

    def _go(self, name: str) -> None:
        found = self._found
        self.twin.conditions.search(name)
        self._seen, self._edges, self._number = {}, {}, -1
        self._queue.clear()
        self._search()
        found.states += len(self._seen)
        found.complete = found.complete and not self._queue
        found.circle = found.circle or circle_in(self._edges)

    def _search(self) -> None:
        for move in self.world.starts():
            self._try(None, move)
        while self._queue and len(self._seen) <= self._states_max and not (self._first and self._found.broken):
            at = self._queue.popleft()
            self._number += 1
            for move in self.world.moves(at):
                self._try(at, move)

    @property
    def decided(self) -> Decision | None:
        """The last decision."""
        return self._program.last

    def asked(self, move: Move, way: Way) -> Any:
        """What follows from a move with these values and results: a plan, a refusal, or Unresolved."""
        self.twin.imagination.known, self.twin.conditions.memo = way.known, way.memo
        object.__setattr__(self._program, "last", None)
        try:
            return advance(self._program, move.case, move.happening, move.now, self._chance)
        except Unresolved as asked:
            return asked

    def ask(self, move: Any, known: dict[Any, Any]) -> Any:
        """What follows from a move with these values, and with nothing remembered. Raises Unresolved."""
        self.twin.imagination.known, self.twin.conditions.memo = known, {}
        object.__setattr__(self._program, "last", None)
        return advance(self._program, move.case, move.happening, move.now, self._chance)

    def _try(self, at: Standing | None, move: Move) -> None:
        """Let it happen, for each of the values that the rules look at."""
        if self._choices is not None:
            self._try_in_outline(self._choices, at, move)
            return
        conditions, seen = self.twin.conditions, set[Any]()
        waiting = self._ways(move, Way({}, {}) if at is None else at.way._replace(learned=()))
        while waiting:
            way = waiting.pop()
            self.twin.imagination.known, conditions.memo = way.known, way.memo
            object.__setattr__(self._program, "last", None)
            try:
                plan = advance(self._program, move.case, move.happening, move.now, self._chance)
            except Unresolved as asked:
                known = conditions.meanwhile(way.known, asked.place)
                key = (asked.place, frozenset(known.items()), results_of(conditions.memo))
                if key not in seen:
                    seen.add(key)
                    for choice in reversed(asked.choices):
                        learned = (*way.learned, (asked.place, choice))
                        waiting.append(Way({**known, asked.place: choice}, conditions.memo, learned))
                continue
            if isinstance(plan, Plan):
                self._arrive(at, move, plan, way)

    def _ways(self, move: Move, way: Way) -> list[Way]:
        """The ways through the conditions that a move can take."""
        self.twin.imagination.known, self.twin.conditions.memo = way.known, way.memo
        object.__setattr__(self._program, "asks", True)
        try:
            advance(self._program, move.case, move.happening, move.now, self._chance)
        except Deciding as asked:
            return self.twin.conditions.decisions(asked.cells, way, self._view)
        except Unresolved:
            return [way]
        finally:
            object.__setattr__(self._program, "asks", False)
        return [way]

    def _arrive(self, at: Standing | None, move: Move, plan: Plan, way: Way) -> None:
        self._found.transitions += 1
        standing = self.standing(at, move, plan, way)
        case, todo, rule = standing.case, standing.todo, standing.rule
        if plan.transition is not None and self.decided is not None and self.decided.rule:
            self._found.chosen.add(self.decided.rule)
        standing = self._remembering(at, standing)
        if plan.transition is not None and case.row.status is Status.PARKED and self._ends_here(move, standing):
            return
        if isinstance(todo, Continue | LoadHistory) and isinstance(getattr(todo, "step", None), Compensate):
            return  # from here on nothing is decided: the effects are reversed, and the case ends
        if case.row.status in ENDED:
            return
        key, live = (self.keys.outlined(standing), set[str]()) if self._choices is not None else self.keys.detailed(standing)
        number = self._seen.get(key)
        if number is None:
            number = self._seen[key] = len(self._seen)
            alive = {place: choice for place, choice in standing.way.known.items() if place.token in live}
            self._queue.append(standing._replace(way=standing.way._replace(known=alive)))
        if move.plain and at is not None:
            self._edges.setdefault(self._number, []).append((number, rule))

    def _try_in_outline(self, choices: Choices, at: Standing | None, move: Move) -> None:
        """Let it happen, for each of the decisions that can follow."""
        for known in choices.each(None if at is None else at.recalled):
            way = Way(dict(known), {}, tuple(known.items()))
            plan = self.asked(move, way)
            if isinstance(plan, Unresolved):  # the machine itself looks at a value
                choices.ask(plan.place, plan.choices)
            elif isinstance(plan, Plan):
                self._arrive(at, move, plan, way)

    def _remembering(self, at: Standing | None, standing: Standing) -> Standing:
        """The same with what is remembered from here on."""
        cells, way, written = standing.case.snapshot.cells, standing.way, self._written(standing.case)
        if self._choices is not None:
            return standing._replace(way=way._replace(known={}), recalled=self._recalled(self._choices.outline, at, cells, written))
        place = self._places.get(standing.rule, len(self._places))
        known, memo = self.twin.conditions.afterwards(way.known, cells, place, written)
        return standing._replace(way=Way(known, memo, way.learned))

    def _recalled(self, outline: Outline, at: Standing | None, cells: Mapping[str, Cell], written: Set[str]) -> Recalled | None:
        """What an outline remembers. If nothing was decided, it is what is left from before."""
        if self.decided is None:
            return None if at is None or at.recalled is None else outline.still(cells, at.recalled)
        as_written = id(self.decided.step) in self.twin.ends_of_rules
        return outline.recalled(cells, self.decided.rule, written) if as_written else None

    def standing(self, at: Standing | None, move: Move, plan: Plan, way: Way) -> Standing:
        """The case after a plan."""
        todo = None if not plan.commands or isinstance(plan.commands[0], Rest) else plan.commands[0]
        case = plan.case if plan.transition is None or not plan.case.messages else plan.case.having(())
        left = (self._messages if at is None else at.messages) - move.comes
        return Standing(case, todo, way, move.number, left, move, at)

    def _written(self, case: Case) -> Set[str]:
        """The fields that the present step of a case writes."""
        return self._writes.get(case.row.step or "", frozenset())

    def _ends_here(self, move: Move, standing: Standing) -> bool:
        """Whether a parked case stands at a broken invariant or a dead end, which is kept."""
        decision, reason = self._program.last, standing.case.row.reason or ""
        if decision is not None and isinstance(decision.step, Broken):
            self._found.broken.setdefault(decision.step.invariant, standing)
            return True
        authored = decision is not None and id(decision.step) in self.twin.ends_of_rules
        if authored or move.fails or standing.case.unsettled:
            return False
        self._found.stuck.setdefault(reason, standing)
        return True


def circle_in(edges: Mapping[int, list[tuple[int, str]]]) -> tuple[str, ...]:
    """The rules of a circle of states that nothing from outside interrupts."""
    done: set[int] = set()
    for root in edges:
        if root in done:
            continue
        path: list[tuple[int, str]] = [(root, "")]
        on = {root: 0}
        ways: list[Iterator[tuple[int, str]]] = [iter(edges.get(root, ()))]
        while ways:
            step = next(ways[-1], None)
            if step is None:
                ways.pop()
                gone, _ = path.pop()
                on.pop(gone)
                done.add(gone)
            elif step[0] in on:
                return tuple(dict.fromkeys([*(rule for _, rule in path[on[step[0]] + 1 :]), step[1]]))
            elif step[0] not in done:
                on[step[0]] = len(path)
                path.append(step)
                ways.append(iter(edges.get(step[0], ())))
    return ()
