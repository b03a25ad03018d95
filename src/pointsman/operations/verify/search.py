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
from pointsman.kernel.effects import effect_key
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.machine import Plan, advance
from pointsman.kernel.program import Rules
from pointsman.kernel.snapshot import ENDED, Cell, LogCell, Status
from pointsman.operations.verify.conditions import Kept, Way
from pointsman.operations.verify.happens import Certain, Move, Standing, World
from pointsman.operations.verify.outline import ITEMS_MAX, Outline
from pointsman.operations.verify.places import Unresolved
from pointsman.operations.verify.texts import Own
from pointsman.operations.verify.twin import MARK, ImaginedCell, Twin, writes_of

STATES_MAX = 200_000
OUTLINE_MAX = 50  # states of an outline that is searched in detail as well


_PRESENT = Cell(True, "true", "")


class Looked(dict[str, Cell]):
    """Cells for the rules. Whether a field has a value is known without a look at the value."""

    def get(self, name: str, default: Any = None) -> Any:
        """What `decide` asks about the fields that a step needs."""
        return _PRESENT if name in self else default


class Deciding(BaseException):
    """The program is asked what comes next with these fields."""

    def __init__(self, cells: Looked) -> None:
        super().__init__()
        self.cells = cells


class Watched(Rules):
    """The program of the twin, which keeps its last decision."""

    last: Decision | None = None
    asks: bool = False

    def next(self, case: int, cells: Mapping[str, Cell]) -> Decision:  # noqa: ARG002 - the rules need nothing but the fields
        """Decide, and keep the decision. If it `asks`, raise Deciding instead."""
        if self.asks:
            raise Deciding(Looked(cells))
        decision = decide(self.process, Looked(cells))
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
    opaque: tuple[str, ...] = ()


class Search:
    """Explores the ways of a process, with at most `messages` messages to an open case, or until the `first` broken invariant."""

    def __init__(self, process: AnyProcess, *, messages: int = 1, states_max: int = STATES_MAX, first: bool = False) -> None:
        self.twin = Twin(process)
        self._program = Watched(self.twin.process)
        self.world = World(self.twin, self._program)
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
        self._found = Found()
        self._outline: Outline | None = None

    def run(self, names: Sequence[str]) -> Found:
        """Search for ways that break the invariants of these names until every way is known, or there are too many.

        Without names, the search is for the other findings: in outline, and once more in detail if the outline is small.
        """
        if not names:
            self._outline = Outline(self.twin, self._found.chosen)
            self._go("")
            self._outline = None
            if not self._found.complete or self._found.states > OUTLINE_MAX:
                return self._found
            self._found = Found()
        self.twin.explore()
        for name in names or [""]:
            self._go(name)
            if self._first and self._found.broken:
                break
        return self._found

    def _go(self, name: str) -> None:
        found = self._found
        self.twin.conditions.search(name)
        self._seen, self._edges = {}, {}
        self._queue.clear()
        self._search()
        found.states += len(self._seen)
        found.complete = found.complete and not self._queue
        found.circle = found.circle or circle_in(self._edges)
        found.opaque = tuple(sorted(self.twin.imagination.opaque))

    def _search(self) -> None:
        for move in self.world.starts():
            self._try(None, move)
        while self._queue and len(self._seen) <= self._states_max and not (self._first and self._found.broken):
            at = self._queue.popleft()
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
                key = (asked.place, frozenset(known.items()), _results(conditions.memo))
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
            return (
                self.twin.conditions.decisions(asked.cells, way, self._view)
                if self._outline is None
                else self._outline.ways(asked.cells, way.memo)
            )
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
        conditions = self.twin.conditions
        place, written = self._places.get(rule, len(self._places)), self._written(case)
        if self._outline is None:
            known, memo = conditions.afterwards(way.known, case.snapshot.cells, place, written)
        else:
            known, memo = {}, self._outlined(self._outline, at, case, written)
        standing = standing._replace(way=Way(known, memo, way.learned))
        if plan.transition is not None and case.row.status is Status.PARKED and self._ends_here(move, standing):
            return
        if isinstance(todo, Continue | LoadHistory) and isinstance(getattr(todo, "step", None), Compensate):
            return  # from here on nothing is decided: the effects are reversed, and the case ends
        if case.row.status in ENDED:
            return
        key, live = self.key(standing)
        number = self._seen.get(key)
        if number is None:
            number = self._seen[key] = len(self._seen)
            alive = {place: choice for place, choice in known.items() if place.token in live}
            self._queue.append(standing._replace(way=standing.way._replace(known=alive)))
        if move.plain and at is not None:
            before = self._seen[self.key(at)[0]]
            self._edges.setdefault(before, []).append((number, rule))

    def _outlined(self, outline: Outline, at: Standing | None, case: Case, written: Set[str]) -> dict[int, Kept]:
        """The results that an outline remembers. If nothing was decided, they are those from before."""
        cells = case.snapshot.cells
        if self.decided is None:
            return {} if at is None else {number: kept for number, kept in at.way.memo.items() if kept.stands(cells)}
        as_written = id(self.decided.step) in self.twin.ends_of_rules
        return outline.remembered(cells, self._places[self.decided.rule], written) if as_written else {}

    def standing(self, at: Standing | None, move: Move, plan: Plan, way: Way) -> Standing:
        """The case after a plan."""
        todo = None if not plan.commands or isinstance(plan.commands[0], Rest) else plan.commands[0]
        case = plan.case if plan.transition is None else plan.case.having(())
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

    def key(self, at: Standing) -> tuple[Any, set[str]]:
        """What distinguishes a state from others: two with the same key have the same future."""
        case = at.case
        names: dict[str, str] = {}
        cells = []
        for name in sorted(case.snapshot.cells):
            cell = case.snapshot.cells[name]
            cells.append((name, cell.writer, self._named(names, name, cell)))
        branches = tuple((row.name, row.outcome is not None, row.failure is not None) for row in case.branches.values())
        for branch in case.branches.values():
            for token in _tokens(branch.outcome):
                names.setdefault(token, f"{branch.name}!{len(names)}")
        ledger = set()
        for entry in case.ledger.values() if case.ledger else ():
            current = self._is_current(at, entry)
            if current or entry.status is not EffectStatus.DONE:
                ledger.add((entry.effect, entry.status, current))
                for token in _tokens(entry.outcome):
                    names.setdefault(token, f"{entry.effect}!{len(names)}")
        row = case.row
        pause = None if case.pause is None else case.pause.name
        known = _canonical(at.way.known, names)
        key = (
            row.status,
            row.step,
            type(at.todo).__name__,
            tuple(cells),
            branches,
            frozenset(ledger),
            pause,
            at.messages,
            known,
            _results(at.way.memo) if self._outline is None else tuple((number, kept.holds) for number, kept in at.way.memo.items()),
        )
        return key, set(names)

    def _named(self, names: dict[str, str], field: str, cell: Cell) -> Any:
        if isinstance(cell, LogCell):
            tokens = [token for part in cell.parts for token in _tokens(part)]
        elif isinstance(cell, ImaginedCell):
            tokens = [cell.text[1:-1]]
        else:
            return cell.text
        for place, token in enumerate(tokens):
            names[token] = f"{field}.{place}"
        shown = tokens if self._outline is None else tokens[-ITEMS_MAX:]
        return tuple(token.partition(MARK)[0] for token in shown)

    def _is_current(self, at: Standing, entry: Any) -> bool:
        effect: Any = self.twin.process.steps[entry.effect]
        key, _ = effect_key("verify", self.twin.process, at.case.snapshot, effect)
        return bool(key == entry.key)


def _results(memo: Mapping[int, Kept]) -> frozenset[tuple[int, bool, tuple[str, ...]]]:
    """The results that are remembered, each with the fields that it depends on."""
    return frozenset((number, kept.holds, tuple(field for field, _ in kept.reads)) for number, kept in memo.items())


def _tokens(text: str | None) -> list[str]:
    return [] if not text else [part for part in text.replace("\\", "").split('"') if MARK in part]


def _canonical(known: Mapping[Any, Any], names: Mapping[str, str]) -> frozenset[Any]:
    """What is known about the values that are left, in words that do not depend on how the case came here."""
    live = sorted(
        ((names[place.token], place.inner, choice) for place, choice in known.items() if place.token in names), key=lambda one: one[:2]
    )
    ranks: dict[str, str] = {}
    for _, _, choice in live:
        if choice.how == "is" and isinstance(choice.what, Own):
            ranks.setdefault(str(choice.what), f"own {len(ranks)}")
    return frozenset((name, inner, choice.how, _renamed(choice, ranks)) for name, inner, choice in live)


def _renamed(choice: Any, ranks: Mapping[str, str]) -> Any:
    if choice.how == "is":
        return ranks[choice.what] if isinstance(choice.what, Own) else choice.what
    if choice.how == "not":
        return frozenset(ranks.get(text, text) for text in choice.what if not isinstance(text, Own) or text in ranks)
    return choice.what


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
