"""Values that nobody has computed: each is any value of its type, and is decided no further than conditions look at it.

A condition that reads `c.approval.decision == "approve"` learns whether it is, and nothing else about the approval. Where a value is not
decided far enough for what a condition asks, `Unresolved` names the place and what can be there. The search then takes each of them in turn.
What is `known` belongs to a state of the search; the values themselves only know their place.
"""

from collections.abc import Iterator
from dataclasses import is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from pointsman.definition.signature import members
from pointsman.operations.verify.numbers import NUMBERS
from pointsman.operations.verify.places import Choice, Decisions, Place
from pointsman.operations.verify.texts import Text
from pointsman.operations.verify.words import Words


class Imagination(Decisions):
    """Makes imagined values, and reads what is known about them."""

    def __init__(self, words: Words) -> None:
        super().__init__(words)
        self.shallow: frozenset[str] = frozenset()
        self.opaque: set[str] = set()

    def look(self, place: Place, annotation: Any) -> Any:
        """The value at a place, as far as it is decided. Raises Unresolved."""
        kinds = _kinds(annotation)
        kind = (
            kinds[0] if len(kinds) == 1 else kinds[self.decided(place.within("|"), [Choice("type", at) for at in range(len(kinds))]).what]
        )
        if kind is type(None):
            return None
        if isinstance(kind, _OneOf):
            return Text(self, place, kind.texts) if kind.are_texts else self.one_of(place, kind.texts)
        origin = get_origin(kind) or kind
        if not isinstance(origin, type):
            return self._opaque(place, kind)
        if issubclass(origin, bool):
            return self.one_of(place, (False, True))
        if issubclass(origin, Enum):
            return self.one_of(place, self.words.members(origin))
        if issubclass(origin, BaseModel) or is_dataclass(origin):
            return _lazy_model(kind)(self, place)
        if issubclass(origin, set | frozenset):
            return self._set(place, kind, origin)
        if issubclass(origin, list | tuple):
            items = Items(self, place, kind)
            return items if issubclass(origin, tuple) else ListOf(items)
        if issubclass(origin, str):
            return Text(self, place, None)
        if issubclass(origin, int | float | Decimal):
            return next(made for number, made in NUMBERS.items() if issubclass(origin, number))(self, place)
        if issubclass(origin, dict):
            return self._dict(place, get_args(kind) or (str, Any))
        return self._opaque(place, kind)

    def _dict(self, place: Place, kinds: tuple[Any, ...]) -> dict[Any, Any]:
        if not self.decided(place, [Choice("len", 0), Choice("len", 1)]).what:
            return {}
        key = self._hashed(place.within(".key")) if kinds[0] is str else self.look(place.within(".key"), kinds[0])
        return {key: self.look(place.within("[]"), kinds[1])}

    def _hashed(self, place: Place) -> str:
        """A text that a set or a dict holds: one that a condition names, or another one."""
        text: str = self.one_of(place, ("a text", *sorted(self.words.constants)))
        return text

    def _set(self, place: Place, kind: Any, origin: Any) -> Any:
        if get_args(kind) != (str,):
            return origin(Items(self, place, kind))
        return origin([self._hashed(place.within("[0]"))] if self.decided(place, [Choice("len", 0), Choice("len", 1)]).what else ())

    def _opaque(self, place: Place, kind: Any) -> Any:
        self.opaque.add(f"{place.token.partition('#')[0]}{place.inner} ({kind})")
        return _sample(kind)


class _OneOf(NamedTuple):
    texts: tuple[Any, ...]

    @property
    def are_texts(self) -> bool:
        return all(isinstance(text, str) for text in self.texts)


@lru_cache(maxsize=4_096)  # as many types as the fields of a process have
def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The members of a type; the values of a Literal are one member, and None is another."""
    kinds: dict[Any, None] = {}
    for member in members(annotation):
        if get_origin(member) is not Literal:
            kinds[member] = None
            continue
        given = get_args(member)
        if None in given:
            kinds[type(None)] = None
        kinds[_OneOf(tuple(value for value in given if value is not None))] = None
    return tuple(kinds)


def _sample(kind: Any) -> Any:
    """One value of a type whose values conditions rarely tell apart, such as a time."""
    if isinstance(kind, type) and issubclass(kind, date):
        return datetime(2024, 1, 1, tzinfo=UTC) if issubclass(kind, datetime) else date(2024, 1, 1)
    try:
        return kind()
    except Exception:  # the type may take anything
        return object()


# Collections.


class Items(tuple[Any, ...]):
    """A tuple of imagined items: none, one of each, or all of the few that there are; otherwise none or one."""

    _at: Place
    _of: Imagination
    _kind: Any

    def __new__(cls, of: Imagination, place: Place, kind: Any) -> "Items":  # noqa: D102 - of a tuple
        made = super().__new__(cls)
        made._of, made._at, made._kind = of, place, kind
        return made

    def _items(self) -> tuple[Any, ...]:
        given = [part for part in get_args(self._kind) if part is not Ellipsis]
        fixed = get_origin(self._kind) is tuple and given and Ellipsis not in get_args(self._kind)
        if fixed:
            return tuple(self._of.look(self._at.within(f"[{number}]"), part) for number, part in enumerate(given))
        element = given[0] if given else str
        few = _few(element, self._of.words)
        if few:
            sets = [(), *((value,) for value in few), *([few] if len(few) > 1 else [])]
            chosen: tuple[Any, ...] = self._of.one_of(self._at, tuple(sets))
            return chosen
        length = self._of.decided(self._at, (Choice("len", 0), Choice("len", 1))).what
        return tuple(self._of.look(self._at.within(f"[{number}]"), element) for number in range(length))

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items())

    def __contains__(self, item: object) -> bool:
        return item in self._items()

    def __getitem__(self, index: Any) -> Any:
        return self._items()[index]

    def __eq__(self, other: object) -> bool:
        return self._items() == other

    def __ne__(self, other: object) -> bool:
        return self._items() != other

    def __hash__(self) -> int:
        return hash(self._items())

    def __add__(self, other: Any) -> Any:
        return self._items() + tuple(other)

    def __bool__(self) -> bool:
        return bool(self._items())

    def __repr__(self) -> str:
        return repr(self._items())


class ListOf(list[Any]):
    """The same as a list."""

    def __init__(self, items: Items) -> None:
        super().__init__()
        self._lazy = items

    def __len__(self) -> int:
        return len(self._lazy)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._lazy)

    def __contains__(self, item: object) -> bool:
        return item in self._lazy

    def __getitem__(self, index: Any) -> Any:
        found = self._lazy[index]
        return list(found) if isinstance(index, slice) else found

    def __eq__(self, other: object) -> bool:
        return list(self._lazy) == other

    def __ne__(self, other: object) -> bool:
        return list(self._lazy) != other

    __hash__ = None

    def __bool__(self) -> bool:
        return bool(self._lazy)

    def __repr__(self) -> str:
        return repr(list(self._lazy))


def _few(element: Any, words: Words) -> tuple[Any, ...]:
    """The values of a type that has only a few, or none."""
    values: list[Any] = []
    for kind in _kinds(element):
        if isinstance(kind, _OneOf):
            values += kind.texts
        elif isinstance(kind, type) and issubclass(kind, Enum):
            values += words.members(kind)
        elif kind is bool:
            values += (False, True)
        else:
            return ()
    return tuple(values)


# Models.


@lru_cache(maxsize=1_024)  # as many models as the fields of a process hold
def _lazy_model(kind: Any) -> Any:
    """A subclass of a model whose fields are looked at one by one."""
    is_model = hasattr(kind, "model_fields")
    fields = {name: field.annotation for name, field in kind.model_fields.items()} if is_model else get_type_hints(kind)

    def __init__(self: Any, of: Imagination, place: Place) -> None:  # noqa: N807 - of a class
        object.__setattr__(self, "_imagined", (of, place))

    def __getattribute__(self: Any, name: str) -> Any:  # noqa: N807 - of a class
        if name not in fields:
            return object.__getattribute__(self, name)
        of, place = object.__getattribute__(self, "_imagined")
        return of.look(place.within(f".{name}"), fields[name])

    def __eq__(self: Any, other: object) -> bool:  # noqa: N807 - of a class
        if self is other or (hasattr(other, "_imagined") and other._imagined[1] == self._imagined[1]):
            return True
        return isinstance(other, kind) and all(getattr(self, name) == getattr(other, name) for name in fields)

    methods = {
        "__init__": __init__, "__getattribute__": __getattribute__, "__eq__": __eq__, "__hash__": lambda self: hash(self._imagined[1]),
        "__ne__": lambda self, other: not __eq__(self, other), "__repr__": lambda _: f"any {kind.__name__}", "__slots__": ("_imagined",),
    }  # fmt: skip
    return type(kind)(kind.__name__, (kind,), {**methods, "__module__": __name__, "__qualname__": kind.__qualname__})
