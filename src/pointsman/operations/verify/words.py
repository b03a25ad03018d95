"""The words of a process: which texts and which members of enumerations its conditions name.

A condition cannot tell members apart that nothing names, so two of them stand for all.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cached_property
from types import CodeType, FunctionType
from typing import Any, get_args

from pydantic import BaseModel

from pointsman.definition.process import AnyProcess

UNNAMED_KEPT = 2  # of the members that nothing names: enough to be equal, and to differ


class Words:
    """What the conditions, the invariants and the properties of a process name, and the functions that these call."""

    def __init__(self, process: AnyProcess) -> None:
        self.texts: set[str] = set()
        self.constants: set[str] = set()
        self._names: set[str] = set()
        self._members: set[Any] = set()
        self._seen: set[Any] = set()
        self._told: dict[type[Enum], tuple[Any, ...]] = {}
        given: list[Any] = [rule.condition for rule in process.ordered_rules] + [one.condition for one in process.invariants.values()]
        self._waiting = [*given, process.state, *(step.answer for step in process.steps.values() if hasattr(step, "answer"))]
        while self._waiting:
            self._take(self._waiting.pop())

    @cached_property
    def looked_into(self) -> tuple[str, ...]:
        """For each set of texts that a condition looks into, a member; for one that is written in a condition, each member."""
        return tuple(sorted(self.texts))

    def members(self, kind: type[Enum]) -> tuple[Any, ...]:
        """The members of an enumeration that conditions can tell apart."""
        if kind not in self._told:
            named = [one for one in kind if one.name in self._names or one in self._members]
            others = [one for one in kind if one not in named]
            self._told[kind] = (*named, *others[:UNNAMED_KEPT])
        return self._told[kind]

    def _take(self, found: Any) -> None:
        if isinstance(found, FunctionType):
            self._take_function(found)
        elif isinstance(found, type):
            self._take_type(found)
        else:
            self._waiting += get_args(found)

    def _take_type(self, kind: type) -> None:
        if kind in self._seen or kind.__module__ == "builtins" or not issubclass(kind, BaseModel | Enum):
            self._waiting += get_args(kind)
            return
        self._seen.add(kind)
        for owner in kind.__mro__:
            if owner.__module__.partition(".")[0] not in {"pydantic", "builtins", "enum", "typing"}:
                self._waiting += [getattr(part, "fget", None) or getattr(part, "func", None) or part for part in vars(owner).values()
                                  if isinstance(part, FunctionType | property) or hasattr(part, "func")]  # fmt: skip
        if issubclass(kind, BaseModel):
            self._waiting += [field.annotation for field in kind.model_fields.values()]

    def _take_function(self, function: FunctionType) -> None:
        if function.__code__ in self._seen or function.__module__.partition(".")[0] in {"pydantic", "enum"}:
            return
        self._seen.add(function.__code__)
        for cell in function.__closure__ or ():
            self._take_value(cell.cell_contents)
        for code in _codes(function.__code__):
            self._names.update(code.co_names)
            for constant in code.co_consts:
                if type(constant) is str and constant != function.__doc__:
                    self.constants.add(constant)
                if isinstance(constant, frozenset):
                    self.texts |= {name for name in constant if type(name) is str}
            for name in code.co_names:
                self._take_value(function.__globals__.get(name))

    def _take_value(self, value: Any) -> None:
        if isinstance(value, FunctionType):
            self._waiting.append(value)
        elif isinstance(value, Enum):
            self._members.add(value)
        elif isinstance(value, set | frozenset | tuple | list | Mapping) and value:
            self._members |= {one for one in value if isinstance(one, Enum)}
            if all(type(one) is str for one in value) and not isinstance(value, tuple | list):
                self.texts.add(min(value))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
