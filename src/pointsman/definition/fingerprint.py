"""The fingerprint of a definition, with which events record the code that decided.

It covers the process, the fields and properties of its state, the declaration of each step (what it reads, uses and writes,
and its policies), and each rule and invariant with the code of its condition. It does not cover the bodies of nodes, which may change at any
time. The code of a condition is its instructions, constants and names, the functions of the same package that it calls, and
the plain constants that it refers to. So comments and layout do not change a fingerprint, but another release of Python may.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cached_property, lru_cache
from inspect import isclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

from pointsman.definition.invariants import Invariant
from pointsman.definition.nodes import Node
from pointsman.definition.rules import Rule
from pointsman.definition.state import STATES_MAX, State

SHORT = 12  # hexadecimal digits that a person compares: 48 bits, enough to tell all definitions apart

_CONSTANTS = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis), Enum, re.Pattern)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint_of(
    name: str, version: int, state: type[State], steps: Mapping[str, Any], messages: Mapping[str, Any], rules: Sequence[Rule[Any]],
    invariants: Sequence[Invariant[Any]] = (),
) -> str:  # fmt: skip
    """The SHA-256 of a definition, in hexadecimal digits."""
    teller = _Teller()
    parts: list[object] = [
        name,
        version,
        [_schema(state), sorted(teller.of_class(state))],
        [[type(step).__name__, *teller.of_fields(step)] for _, step in sorted(steps.items())],
        [teller.of_fields(accept) for _, accept in sorted(messages.items())],
        [[rule.name, rule.step.name, *teller.of_fields(rule.step), teller.of(rule.condition)] for rule in rules],
    ]
    if invariants:  # a definition without any has the fingerprint that it had before there were invariants
        parts.append([teller.of_fields(invariant) for invariant in invariants])
    return digest_of_parts(parts)


def digest_of_parts(parts: Sequence[object]) -> str:
    """The SHA-256 of the parts of a definition, in hexadecimal digits. Their `repr` must be the same in every run."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class _Teller:
    """Describes values as text that is the same in every run. It describes a function once, and then only names it."""

    def __init__(self) -> None:
        self._told: set[CodeType] = set()

    def of(self, value: object) -> str:
        """The description of any value in a definition."""
        match value:
            case FunctionType():
                return self._of_function(value)
            case Node() | Rule():
                return f"{type(value).__name__} {value.name}"
            case list() | tuple():
                return repr([self.of(part) for part in value])
            case set() | frozenset():
                return repr(sorted(self.of(part) for part in value))
            case Mapping():
                return repr(sorted((self.of(key), self.of(part)) for key, part in value.items()))
            case ModuleType():
                return value.__name__
            case _ if hasattr(type(value), "ordered_rules"):  # another process, or this one
                return f"process {value.name} {value.version}"  # type: ignore[attr-defined]
            case CodeType():
                return repr(self._of_code(value))
            case _ if isinstance(value, _CONSTANTS):
                return repr(value)
            case _ if isclass(value):
                return f"{value.__module__}.{value.__qualname__}"
            case _ if is_dataclass(value):
                return repr([type(value).__name__, *self.of_fields(value)])
            case _:
                return _ADDRESS.sub("", repr(value))

    def of_fields(self, declared: Any) -> list[str]:
        """The description of each field of a declaration, without its function."""
        return [f"{field.name}={self.of(getattr(declared, field.name))}" for field in fields(declared) if field.name != "function"]

    def of_class(self, state: type[State]) -> list[str]:
        """The description of the properties and methods of a state."""
        described = []
        for owner in state.__mro__[: state.__mro__.index(State)]:
            for name, attribute in vars(owner).items():
                function = (
                    attribute.fget
                    if isinstance(attribute, property)
                    else attribute.func
                    if isinstance(attribute, cached_property)
                    else attribute
                )
                if isinstance(function, FunctionType) and not name.startswith("__"):
                    described.append(f"{owner.__name__}.{name} {self._of_function(function)}")
        return described

    def _of_function(self, function: FunctionType) -> str:
        code = function.__code__
        if code in self._told:
            return f"function {function.__qualname__}"
        self._told.add(code)
        closure = [self.of(cell.cell_contents) for cell in function.__closure__ or () if _filled(cell)]
        referred = [self._of_global(function, name) for name in _names(code) if name in function.__globals__]
        defaults = [self.of(function.__defaults__), self.of(function.__kwdefaults__)]
        return repr([self._of_code(code), defaults, closure, referred])

    def _of_global(self, function: FunctionType, name: str) -> str:
        value = function.__globals__[name]
        if isinstance(value, FunctionType) and value.__module__.partition(".")[0] != function.__module__.partition(".")[0]:
            return f"{name}={value.__module__}.{value.__qualname__}"  # the fingerprint does not cover other packages
        return f"{name}={self.of(value)}"

    def _of_code(self, code: CodeType) -> list[object]:
        constants = [self.of(constant) for constant in code.co_consts]
        return [code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars]


def _names(code: CodeType) -> list[str]:
    """The names that a function and its nested functions refer to."""
    inner = [name for constant in code.co_consts if isinstance(constant, CodeType) for name in _names(constant)]
    return [*code.co_names, *inner]


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises if the cell is empty
    except ValueError:
        return False
    return True


@lru_cache(maxsize=STATES_MAX)
def _schema(state: type[BaseModel]) -> str:
    try:
        schema: object = state.model_json_schema()
    except PydanticInvalidForJsonSchema:
        schema = {name: str(field.annotation) for name, field in state.model_fields.items()}
    return repr(_sorted(schema))


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return sorted((str(key), _sorted(part)) for key, part in value.items())
    return [_sorted(part) for part in value] if isinstance(value, list) else value
