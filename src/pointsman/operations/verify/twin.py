"""The twin of a process: the same rules, steps and case machine, on values that nobody has computed.

A call has one attempt, no guard and no limit: what a guard rejects, and what further attempts bring, are outcomes like others. The key of
an effect depends on what the effect reads, and each value that a step writes is a new one.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, get_args

from pointsman.definition.checks import inputs_of
from pointsman.definition.children import Child, ChildEnd
from pointsman.definition.effects import Compensation, Effect
from pointsman.definition.guards import unsafe_in
from pointsman.definition.messages import logs_of
from pointsman.definition.nodes import Node, Retry
from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Each, Parallel, Rule
from pointsman.definition.signature import accepts_none, members
from pointsman.definition.state import State
from pointsman.kernel.codec import Codec, add_codec
from pointsman.kernel.decide import view_of
from pointsman.kernel.snapshot import Cell, LogCell
from pointsman.operations.verify.conditions import ABSENT_OR_NOT, Conditions, presence
from pointsman.operations.verify.imagined import Imagination
from pointsman.operations.verify.places import Place
from pointsman.operations.verify.words import Words

_PRESENT = object()  # the value of a field for a condition that only asks whether it is None
_WITH_A_VALUE = Cell(True, "true", "")
MARK = "#"  # between the name of a token and its number
_ONCE = Retry(attempts_max=1, on=(Exception,))


class ImaginedCell(Cell):
    """A cell whose value is imagined; its text is the token of the value."""

    __slots__ = ("_imagination", "_is_there", "_kind", "_place")

    def __init__(self, imagination: Imagination, token: str, kind: Any, writer: str, appends: bool = False) -> None:
        self.text, self.writer, self.appends = f'"{token}"', writer, appends
        self._imagination, self._kind, self._place, self._is_there = imagination, kind, Place(token, ""), not may_be_none(kind)

    @property
    def value(self) -> Any:  # type: ignore[override]
        """The value, as far as it is decided."""
        if self._is_there and self._place.token.partition("<")[0] in self._imagination.shallow:
            return _PRESENT
        return self._imagination.look(self._place, self._kind)


class ImaginedCodec(Codec):
    """Encodes tokens as cells of imagined values, and any other value as it is. A token is `field<writer>#number`."""

    def __init__(self, state: type[State], imagination: Imagination) -> None:
        super().__init__(state)
        self.imagination = imagination
        self.kinds: dict[str, Any] = {}

    def token(self, field: str, writer: str, kind: Any, number: int) -> str:
        """The token of a new value of this type."""
        name = f"{field}<{writer}>"
        self.kinds[name] = kind
        return f"{name}{MARK}{number}"

    def encode(self, field: str, value: object, writer: str) -> Cell:
        """A cell of a token, or of a value."""
        kind = self._kind(value)
        if kind is None:
            return super().encode(field, value, writer)
        cell = ImaginedCell(self.imagination, str(value), kind, writer)
        return self._log([cell], writer) if field in self._logs else cell

    def write(self, field: str, value: object, writer: str) -> Cell:
        """A cell of a token, which is an item if the field is a log."""
        if isinstance(value, ChildEnd):
            value = value.outcome or value
        kind = self._kind(value)
        return (
            super().write(field, value, writer)
            if kind is None
            else ImaginedCell(self.imagination, str(value), kind, writer, field in self._logs)
        )

    def written(self, field: str, text: str, writer: str) -> Cell:
        """Read a token back."""
        return self.write(field, text[1:-1], writer) if self._kind(text[1:-1]) is not None else super().written(field, text, writer)

    def decode(self, field: str, text: str, writer: str) -> Cell:
        """Read a token back."""
        return self.encode(field, text[1:-1], writer) if self._kind(text[1:-1]) is not None else super().decode(field, text, writer)

    def fresh(self, cells: Mapping[str, Cell], field: str) -> Any:
        """The value itself: nothing changes it."""
        return self.value(cells, field)

    def log(self, tokens: list[str], writer: str) -> LogCell:
        """A log with items of these tokens."""
        return self._log([ImaginedCell(self.imagination, token, self._kind(token), writer) for token in tokens], writer)

    def _kind(self, value: object) -> Any:
        return self.kinds.get(value.partition(MARK)[0]) if type(value) is str else None

    @staticmethod
    def _log(items: list[Cell], writer: str) -> LogCell:
        return LogCell([item.value for item in items], tuple(f"[{item.text}]" for item in items), writer)


class Looked(dict[str, Cell]):
    """Cells for the rules. Whether a field has a value is known without a look at the value."""

    def get(self, name: str, default: Any = None) -> Any:
        """What `decide` asks about the fields that a step needs."""
        return _WITH_A_VALUE if name in self else default


class _AnyCells(dict[str, Cell]):
    """Cells of which each may be there or not."""

    def __init__(self, twin: "Twin") -> None:
        super().__init__()
        self._twin = twin

    def __contains__(self, name: object) -> bool:
        given = name in self._twin.given
        return given or bool(self._twin.imagination.decided(presence(str(name)), ABSENT_OR_NOT).what)

    def __getitem__(self, name: str) -> Cell:
        codec, fields = self._twin.codec, self._twin.process.state.model_fields
        return codec.encode(name, codec.token(name, "", self._twin.logs.get(name) or some(fields[name].annotation), 0), "")


class Twin:
    """The twin of a process, and what the steps of the process return."""

    def __init__(self, process: AnyProcess) -> None:
        self.imagination = Imagination(Words(process))
        self.process: AnyProcess = copy.copy(process)
        twin = self.process
        for computed in ("reads", "compensates", "fingerprint"):
            twin.__dict__.pop(computed, None)
        make: Any = type(process.state)
        state: type[State] = make(process.state.__name__, (process.state,), {"__module__": __name__})
        twin.state, twin.searchable, twin.__dict__["fingerprint"] = state, frozenset(), ""
        self.codec = ImaginedCodec(state, self.imagination)
        add_codec(state, self.codec)
        self.message_kinds = {name: accept.message for name, accept in process.accepts_messages.items()}
        twin.accepts_messages = {name: replace(accept, message=Any, order=None) for name, accept in process.accepts_messages.items()}
        steps: dict[str, Any] = {name: _plain(step) for name, step in process.steps.items()}
        twin.steps = steps
        self._steps: dict[int, Any] = {id(step): steps[name] for name, step in process.steps.items()}
        self._returns: dict[str, tuple[tuple[str, Any], ...]] = {}
        self.given = inputs_of(process.state)
        self.logs = logs_of(process.state)
        self.conditions = Conditions(self.imagination)
        twin._rules = tuple(  # noqa: SLF001 - of a copy
            Rule(rule.name, self.conditions.of_a_rule(rule.condition), self._step(rule.step)) for rule in process.ordered_rules
        )
        twin.invariants = {
            name: replace(
                one,
                condition=self.conditions.of_an_invariant(name, one.condition),
                effect=None if one.effect is None else steps[one.effect.name],
            )
            for name, one in process.invariants.items()
        }
        self.ends_of_rules = {id(rule.step) for rule in twin.ordered_rules}
        self._original = process
        self._explored = False

    def explore(self) -> None:
        """Find out where each condition may look. A search of all ways needs that."""
        if self._explored:
            return
        self._explored, process = True, self.process
        conditions = [("", rule.condition) for rule in process.ordered_rules] + [
            (name, one.condition) for name, one in process.invariants.items()
        ]
        for name, condition in conditions:
            if condition is not None:
                self.conditions.search(name)
                self.conditions.explore(condition, lambda: view_of(process.state)(_AnyCells(self), {}))

    def returns(self, step: Any) -> tuple[tuple[str, Any], ...]:
        """The fields that a step writes, each with the type of what it returns."""
        if step.name not in self._returns:
            self._returns[step.name] = self._returned(step)
        return self._returns[step.name]

    def edited(self, field: str) -> Any:
        """The type of what a person gives to a field: of an item if it is a log."""
        return self.logs.get(field) or some(self.process.state.model_fields[field].annotation)

    def _returned(self, step: Any) -> tuple[tuple[str, Any], ...]:
        if isinstance(step, Pause):
            return ((step.writes[0], step.answer),)
        fields = self._original.state.model_fields
        if isinstance(step, Child) or step.name in self._original._overs:  # noqa: SLF001 - of a copy
            return tuple((name, some(fields[name].annotation)) for name in step.writes)
        returned = step.signature.returns
        kinds: tuple[Any, ...] = (returned,) if len(step.writes) == 1 else get_args(returned)
        guard = getattr(self._original.steps[step.name], "guard", None)
        if guard is not None and guard.escalate == "unsafe":
            field = step.writes[0]
            kinds = (kinds[0] | unsafe_in(fields[field].annotation, entry=field in self._original.logs), *kinds[1:])
        return tuple(zip(step.writes, kinds, strict=True))

    def _step(self, step: Any) -> Any:
        if isinstance(step, Each):
            whole = replace(self._steps[id(step.nodes[0])], signature=replace(step.nodes[0].signature, item=None))
            return _named(step.name, whole)
        if isinstance(step, Parallel):
            return Parallel(tuple(self._steps[id(node)] for node in step.nodes), step.failures, step.concurrency)
        return self._steps.get(id(step), step)


def _named(name: str, node: Any) -> Parallel:
    found = Parallel((node,), "fail")  # a failure that is recorded is an item of the results
    found.__dict__["name"] = name  # where the cached property keeps it
    return found


def _plain(step: Any) -> Any:
    """The step with one attempt, and without what the engine does around a call."""
    if isinstance(step, Effect) and not isinstance(step, Compensation):
        return replace(step, retry=_ONCE, guard=None, limit=None, asynchronous=True, key=None)
    if isinstance(step, Child):
        return replace(step, inputs=lambda *_: {}, result=None)
    return replace(step, retry=_ONCE, guard=None, limit=None) if isinstance(step, Node) else step


def writes_of(step: Any) -> Iterator[str]:
    """The fields that a step of a rule writes."""
    for one in step.nodes if isinstance(step, Parallel) else (step,):
        yield from getattr(one, "writes", ())


@lru_cache(maxsize=4_096)  # as many types as the fields of a process have
def some(annotation: Any) -> Any:
    """The type without None."""
    kinds = [kind for kind in members(annotation) if kind is not type(None)]
    found = kinds[0]
    for kind in kinds[1:]:
        found = found | kind
    return found


@lru_cache(maxsize=4_096)  # as many types as the fields of a process have
def may_be_none(kind: Any) -> bool:
    """Whether a step that returns this type may return None."""
    return accepts_none(kind) and kind is not Any
