"""Which step comes next: the first rule whose condition holds, and the fields that were read to find it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import FunctionType
from typing import Any, NamedTuple

from pointsman.definition.invariants import Invariant
from pointsman.definition.nodes import AnyNode, Node
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Each, Parallel, Park, Rule, Step
from pointsman.definition.signature import accepts_none
from pointsman.definition.state import State
from pointsman.kernel.codec import codec_of, message_of
from pointsman.kernel.record import record
from pointsman.kernel.snapshot import Cell


@record
class Decision:
    """The next step, the rule that chose it ("" if none did), and the fields that the conditions read.

    `writes` are fields that the program itself writes with the decision; rules write none.
    """

    step: Step
    rule: str = ""
    reads: tuple[str, ...] = ()
    writes: Mapping[str, Cell] | None = None


class Tried(NamedTuple):
    """A rule, tried: whether its condition held, or what it raised, and the fields it read."""

    rule: Rule[Any]
    holds: bool
    reads: tuple[str, ...]
    error: str | None


def decide(process: AnyProcess, cells: Mapping[str, Cell]) -> Decision:
    """Evaluate the rules in order. A condition that raises, a step whose fields are missing, or an invariant that forbids it parks the case."""
    view_class, rules = _prepared(process)
    reads: dict[str, None] = {}
    view = view_class(cells, reads)
    for rule, condition, needs, invariants in rules:
        try:
            if condition is not None and not condition(view):
                continue
        except Exception as error:
            reason = f"the condition of rule {rule.name!r} raised {type(error).__name__}: {message_of(error)}; correct the rule"
            return Decision(Park(reason), rule.name, tuple(reads))
        for node, name, default in needs:
            cell = cells.get(name)
            if (default if cell is None else cell.value) is None:
                return Decision(Park(_lacks(rule, node, name)), rule.name, tuple(reads))
        if invariants and (broken := _broken(rule, invariants, view)) is not None:
            return Decision(broken, rule.name, tuple(reads))
        return Decision(rule.step, rule.name, tuple(reads))
    raise AssertionError("rules end in otherwise, which always holds")


def is_chosen(process: AnyProcess, step: Step) -> bool:
    """Whether a rule names this step. `decide` itself makes other steps, which park."""
    return any(rule.step is step for rule in process.ordered_rules)


def leaves(process: AnyProcess, cells: Mapping[str, Cell], step: str | None) -> bool:
    """Whether a rule would choose another step than the one at which a case with these fields waits."""
    chosen = decide(process, cells).step
    return is_chosen(process, chosen) and chosen.name != process.called(step or "")


def try_rule(state: type[State], rule: Rule[Any], cells: Mapping[str, Cell]) -> Tried:
    """Evaluate one rule's condition and record what it reads."""
    if rule.condition is None:
        return Tried(rule, holds=True, reads=(), error=None)
    reads: dict[str, None] = {}
    view = view_of(state)(cells, reads)
    try:
        holds = bool(rule.condition(view))
    except Exception as error:
        return Tried(rule, holds=False, reads=tuple(reads), error=f"raised {type(error).__name__}: {message_of(error)}")
    return Tried(rule, holds=holds, reads=tuple(reads), error=None)


@dataclass(frozen=True, slots=True)
class Broken(Park):
    """Park the case, because the rules led to a step that this `invariant` forbids."""

    invariant: str = ""


def _broken(rule: Rule[Any], invariants: tuple[Invariant[Any], ...], view: Any) -> Park | None:
    """Why the rule's step must not be taken with these fields."""
    for one in invariants:
        try:
            if one.condition(view):
                problem = f"rule {rule.name!r} chose {rule.step.name}, which invariant {one.name!r} forbids with these fields"
                return Broken(f"{problem}; nothing was called. Correct the fields or the rule, and redrive the case", one.name)
        except Exception as error:
            problem = f"invariant {one.name!r} raised {type(error).__name__}: {message_of(error)}"
            return Park(f"{problem}, before {rule.step.name}, which rule {rule.name!r} chose; correct the invariant")
    return None


def _lacks(rule: Rule[Any], node: str, field: str) -> str:
    return f"rule {rule.name!r} chose {node!r}, which needs field {field!r}, but nothing has written it yet; put a rule above it that does"


_Need = tuple[str, str, Any]
_Ready = tuple[Rule[Any], Callable[[Any], object] | None, tuple[_Need, ...], tuple[Invariant[Any], ...]]
_Prepared = tuple[type[Any], tuple[_Ready, ...]]


@lru_cache(maxsize=1024)  # as many processes and versions as a program will have
def _prepared(process: AnyProcess) -> _Prepared:
    """The view of a process's state, and its rules, each with its condition, what its step needs, and the invariants that guard it."""
    rules = tuple((rule, rule.condition, _needs(process.state, rule), _guarding(process, rule)) for rule in process.ordered_rules)
    return view_of(process.state), rules


def _guarding(process: AnyProcess, rule: Rule[Any]) -> tuple[Invariant[Any], ...]:
    return tuple(one for one in process.invariants.values() if one.guards(rule.step))


def _needs(state: type[State], rule: Rule[Any]) -> tuple[_Need, ...]:
    """The nodes that a rule calls, each with a field without which it cannot run, and the value of that field if it is not stored."""
    step = rule.step
    over = (step.over,) if isinstance(step, Each) else ()
    nodes = step.nodes if isinstance(step, Parallel) else (step,) if isinstance(step, Node) else ()
    default = codec_of(state).default
    return tuple((node.name, name, default(name)) for node in nodes for name in (*_required(node), *over))


def _required(node: AnyNode) -> tuple[str, ...]:
    """The fields without which the node or its checks cannot run."""
    required = [name for name, annotation in node.signature.reads.items() if not accepts_none(annotation)]
    for signature in () if node.guard is None else node.guard.signatures.values():
        required += [name for name, annotation in signature.reads.items() if name not in node.writes and not accepts_none(annotation)]
    return tuple(dict.fromkeys(required))


def _view_class(state: type[State]) -> type[Any]:
    """A class that looks like the state to a condition and records each field that is read, also through properties."""

    class View:
        __slots__ = ("_cells", "_reads")

        def __init__(self, cells: Mapping[str, Cell], reads: dict[str, None]) -> None:
            self._cells = cells
            self._reads = reads

        def __getattr__(self, name: str) -> Any:
            return getattr(state, name)

    for owner in reversed(state.__mro__[: state.__mro__.index(State)]):
        for name, attribute in vars(owner).items():
            if isinstance(attribute, cached_property):
                attribute = property(attribute.func)  # noqa: PLW2901
            if isinstance(attribute, property | FunctionType) and not name.startswith("__"):
                setattr(View, name, attribute)
    for name in state.model_fields:
        setattr(View, name, _reading(name, codec_of(state).default(name)))
    return View


def _reading(name: str, default: object) -> property:
    """The property of a view that reads a field, and records the read."""

    def read(view: Any) -> object:
        view._reads[name] = None  # noqa: SLF001 - the class of the view has this property
        cells = view._cells  # noqa: SLF001
        return cells[name].value if name in cells else default

    def assign(_: object, __: object) -> None:
        raise TypeError(f"a condition only reads, and this one assigns to {name!r}; let a node write the field")

    def delete(_: object) -> None:
        raise TypeError(f"a condition only reads, and this one deletes {name!r}; let a node write the field")

    return property(read, assign, delete)


view_of: Callable[[type[State]], type[Any]] = lru_cache(maxsize=256)(_view_class)  # as many state types as a program will have
"""The class of the views of a state; a view takes cells, and a dict for the names of the fields that are read."""
