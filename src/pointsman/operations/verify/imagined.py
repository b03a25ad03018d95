"""Values that nobody has computed: each is any value of its type, and is decided no further than conditions look at it.

A condition that reads `c.approval.decision == "approve"` learns whether it is, and nothing else about the approval. Where a value is not
decided far enough for what a condition asks, `Unresolved` names the place and what can be there. The search then takes each of them in turn.
What is `known` belongs to a state of the search; the values themselves only know their place.
"""

from collections.abc import Callable, Iterator
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

PAIR = 2


class Imagination(Decisions):
    """Makes imagined values, and reads what is known about them."""

    def __init__(self, words: Words) -> None:
        super().__init__(words)
        self.shallow: frozenset[str] = frozenset()
        self._sets: dict[Any, tuple[tuple[Any, ...], ...]] = {}

    def look(self, place: Place, annotation: Any) -> Any:
        """The value at a place, as far as it is decided. Raises Unresolved."""
        readers = _readers(annotation)
        if len(readers) == 1:
            return readers[0](self, place)
        number = self.decided(place.within("|"), [Choice("type", at) for at in range(len(readers))]).what
        return readers[number](self, place)

    def sets_of(self, element: Any) -> tuple[tuple[Any, ...], ...]:
        """The collections of a type that has only a few values: none of them, one, two neighbours, or all. Empty for another type."""
        if element not in self._sets:
            few = _few(element, self.words)
            pairs = [few[number : number + 2] for number in range(len(few) - 1)] if len(few) > PAIR else []
            self._sets[element] = ((), *((value,) for value in few), *pairs, *([few] if len(few) >= PAIR else [])) if few else ()
        return self._sets[element]

    def dict_at(self, place: Place, kinds: tuple[Any, ...]) -> dict[Any, Any]:
        """A dict without or with one item."""
        if not self.decided(place, [Choice("len", 0), Choice("len", 1)]).what:
            return {}
        key = self._hashed(place.within(".key")) if kinds[0] is str else self.look(place.within(".key"), kinds[0])
        return {key: self.look(place.within("[]"), kinds[1])}

    def _hashed(self, place: Place) -> str:
        """A text that a set or a dict holds: one that a condition names, or another one."""
        text: str = self.one_of(place, ("a text", *sorted(self.words.constants)))
        return text

    def set_at(self, place: Place, kind: Any, origin: Any) -> Any:
        """A set without or with one item; of the few values that a type has, more."""
        if get_args(kind) != (str,):
            return origin(Items(self, place, kind))
        return origin([self._hashed(place.within("[0]"))] if self.decided(place, [Choice("len", 0), Choice("len", 1)]).what else ())

    def sample_at(self, place: Place, kind: Any) -> Any:
        """The one value that stands for all of a type, which is noted."""
        self.single.add(f"{place.name} ({getattr(kind, '__name__', kind)})")
        return _sample(kind)


_Reader = Callable[[Imagination, Place], Any]


@lru_cache(maxsize=4_096)  # as many types as the fields of a process have
def _readers(annotation: Any) -> tuple[_Reader, ...]:
    """What makes a value, for each member of a type."""
    return tuple(_reader(kind) for kind in _kinds(annotation))


def _reader(kind: Any) -> _Reader:
    if kind is type(None):
        return lambda _, __: None
    if isinstance(kind, _OneOf):
        return (lambda of, at: Text(of, at, kind.texts)) if kind.are_texts else lambda of, at: of.one_of(at, kind.texts)
    origin = get_origin(kind) or kind
    if not isinstance(origin, type):
        return lambda of, at: of.sample_at(at, kind)
    if issubclass(origin, bool):
        return lambda of, at: of.one_of(at, (False, True))
    if issubclass(origin, Enum):
        return lambda of, at: of.one_of(at, of.words.members(origin))
    if issubclass(origin, BaseModel) or is_dataclass(origin):
        return _lazy_model(kind)  # type: ignore[no-any-return]
    return _reader_of_many(kind, origin) or _reader_of_one(kind, origin)


def _reader_of_many(kind: Any, origin: type) -> _Reader | None:
    if issubclass(origin, set | frozenset):
        return lambda of, at: of.set_at(at, kind, origin)
    if issubclass(origin, tuple):
        return lambda of, at: Items(of, at, kind)
    if issubclass(origin, list):
        return lambda of, at: ListOf(Items(of, at, kind))
    return (lambda of, at: of.dict_at(at, get_args(kind) or (str, Any))) if issubclass(origin, dict) else None


def _reader_of_one(kind: Any, origin: type) -> _Reader:
    if issubclass(origin, str):
        return lambda of, at: Text(of, at, None)
    if issubclass(origin, int | float | Decimal):
        return next(made for number, made in NUMBERS.items() if issubclass(origin, number))  # type: ignore[no-any-return]
    return lambda of, at: of.sample_at(at, kind)


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
        fixed, element = _parts(self._kind)
        if fixed:
            return tuple(self._of.look(self._at.within(f"[{number}]"), part) for number, part in enumerate(fixed))
        sets = self._of.sets_of(element)
        if sets:
            chosen: tuple[Any, ...] = self._of.one_of(self._at, sets)
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


@lru_cache(maxsize=4_096)  # as many types as the fields of a process have
def _parts(kind: Any) -> tuple[tuple[Any, ...], Any]:
    """The types of the items of a tuple of a fixed length, and the type of each item of another one."""
    given = tuple(part for part in get_args(kind) if part is not Ellipsis)
    fixed = get_origin(kind) is tuple and Ellipsis not in get_args(kind)
    return (given if fixed else (), given[0] if given else str)


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
