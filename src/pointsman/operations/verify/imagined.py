"""Values that nobody has computed: each is any value of its type, and is decided no further than conditions look at it.

A condition that reads `c.approval.decision == "approve"` learns whether it is, and nothing else about the approval. Where a value is not
decided far enough for what a condition asks, `Unresolved` names the place and what can be there. The search then takes each of them in turn.
What is `known` belongs to a state of the search; the values themselves only know their place.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from pointsman.definition.signature import members
from pointsman.operations.verify.words import Words

Known = Mapping[tuple[str, str], "Choice"]
"""What is decided: by the token of a value and the place inside it."""

NOTHING_KNOWN: Known = MappingProxyType({})


class Choice(NamedTuple):
    """What was decided at one place: it `is` a value, is `not` one of several, lies `between` two, has a `len`, or is of one `type`."""

    how: str
    what: Any


class Place(NamedTuple):
    """A place in an imagined value: `("approval#1", ".decision")`."""

    token: str
    inner: str

    def within(self, part: str) -> "Place":
        """A place inside this one."""
        return Place(self.token, self.inner + part)


class Unresolved(BaseException):
    """A condition asks for what is not decided yet. No handler of `Exception` takes it for a mistake of the author."""

    def __init__(self, place: Place, choices: Iterable[Choice]) -> None:
        super().__init__(place)
        self.place = place
        self.choices = tuple(choices)


class Own(str):
    """A text that no other imagined text equals, unless it was decided to."""

    __slots__ = ()


class Imagination:
    """Makes imagined values, and reads what is known about them. `words` are those that conditions name."""

    def __init__(self, words: Words) -> None:
        self.known: Known = NOTHING_KNOWN
        self.words = words
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
            return next(made for number, made in _NUMBERS.items() if issubclass(origin, number))(self, place)
        if issubclass(origin, dict):
            return self._dict(place, get_args(kind) or (str, Any))
        return self._opaque(place, kind)

    def decided(self, place: Place, choices: Iterable[Choice]) -> Choice:
        """What was decided at a place, or Unresolved with the choices."""
        choice = self.known.get(place)
        if choice is None:
            raise Unresolved(place, choices)
        return choice

    def one_of(self, place: Place, values: tuple[Any, ...]) -> Any:
        """One of a few values."""
        return values[0] if len(values) == 1 else self.decided(place, [Choice("is", value) for value in values]).what

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


# Texts.


class Text(str):
    """Any text, or one of a few: comparing it decides only whether it is equal."""

    __slots__ = ("_at", "_of", "_texts")

    _at: Place
    _of: Imagination
    _texts: tuple[str, ...] | None

    def __new__(cls, of: Imagination, place: Place, texts: tuple[str, ...] | None) -> "Text":  # noqa: D102 - of a str
        made = super().__new__(cls, "")
        made._of, made._at, made._texts = of, place, texts
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return False
        if not isinstance(other, Text):
            return self._is(str(other))
        if self._at == other._at:
            return True
        mine, others = self._certain(), other._certain()
        if mine is None and others is None:
            raise Unresolved(
                self._at, self._each() if self._texts is not None else (Choice("is", Own(f"{self._at.token}{self._at.inner}")),)
            )
        return other._is(mine) if mine is not None else self._is(others or "")

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._whole())

    def __bool__(self) -> bool:
        return not self._is("") if self._texts is None or "" in self._texts else True

    def __len__(self) -> int:
        return len(self._whole())

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __contains__(self, other: Any) -> bool:
        return other in self._whole()

    def __getitem__(self, index: Any) -> str:
        return self._whole()[index]

    def __add__(self, other: str) -> str:
        return self._whole() + other

    def __lt__(self, other: str) -> bool:
        return self._whole() < other

    def __le__(self, other: str) -> bool:
        return self._whole() <= other

    def __gt__(self, other: str) -> bool:
        return self._whole() > other

    def __ge__(self, other: str) -> bool:
        return self._whole() >= other

    def __str__(self) -> str:
        return self._whole()

    def __repr__(self) -> str:
        return repr(self._whole())

    def __format__(self, spec: str) -> str:
        return format(self._whole(), spec)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        return getattr(self._whole(), name)  # a method of str: the whole text is needed

    def _certain(self) -> str | None:
        choice = self._of.known.get(self._at)
        return choice.what if choice is not None and choice.how == "is" else None

    def _excluded(self) -> frozenset[str]:
        choice = self._of.known.get(self._at)
        return choice.what if choice is not None and choice.how == "not" else frozenset()

    def _is(self, text: str) -> bool:
        known, excluded = self._certain(), self._excluded()
        if known is not None:
            return known == text
        if text in excluded or (self._texts is not None and text not in self._texts):
            return False
        if self._texts is not None and len(self._texts) - len(excluded) == 1:
            return True
        raise Unresolved(self._at, (Choice("is", text), Choice("not", excluded | {text})))

    def _each(self) -> tuple[Choice, ...]:
        texts = self._texts or ("a text", *self._of.words.looked_into)
        return tuple(Choice("is", text) for text in texts if text not in self._excluded())

    def _whole(self) -> str:
        known = self._certain()
        if known is None:
            raise Unresolved(self._at, self._each())
        return known


# Numbers.


class _Number:
    """Any number: comparing it decides only on which side of the other it lies."""

    spot: Place
    of: Imagination

    def _region(self) -> Choice:
        return self.of.known.get(self.spot) or Choice("between", (None, None))

    def whole(self) -> Any:
        """One of the numbers that are left. Raises Unresolved."""
        region = self._region()
        if region.how == "is":
            return region.what
        low, high = region.what
        middle = low + 1 if low is not None else high - 1 if high is not None else 0
        if low is not None and high is not None and middle >= high:
            middle = (low + high) / 2
        raise Unresolved(self.spot, (Choice("is", middle),))

    def _against(self, other: Any) -> int:
        """-1, 0 or 1: this number is less than, equal to, or greater than the other one."""
        if isinstance(other, _Number):
            if other.spot == self.spot:
                return 0
            other = other.whole()
        region = self._region()
        if region.how == "is":
            return int(region.what > other) - int(region.what < other)
        low, high = region.what
        if low is not None and other <= low:
            return 1
        if high is not None and other >= high:
            return -1
        sides = [Choice("between", (low, other)), Choice("is", other), Choice("between", (other, high))]
        raise Unresolved(self.spot, [side for side in sides if self._holds_any(side)])

    def _holds_any(self, side: Choice) -> bool:
        if side.how == "is":
            return not isinstance(self, int) or side.what == int(side.what)
        low, high = side.what
        return low is None or high is None or not isinstance(self, int) or high - low > 1


def _comparing(test: Callable[[int], bool]) -> Callable[[Any, Any], Any]:
    def compare(self: _Number, other: Any) -> Any:
        return test(self._against(other)) if isinstance(other, int | float | Decimal) else NotImplemented

    return compare


def _computing(name: str) -> Callable[..., Any]:
    def compute(self: _Number, *others: Any) -> Any:
        return getattr(self.whole(), name)(*(other.whole() if isinstance(other, _Number) else other for other in others))

    return compute


_ARITHMETIC = [
    "add",
    "radd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "truediv",
    "rtruediv",
    "floordiv",
    "rfloordiv",
    "mod",
    "rmod",
    "neg",
    "abs",
    "round",
    "int",
    "float",
    "hash",
    "repr",
    "str",
    "format",
    "index",
    "pow",
]


def _number_class(kind: Any) -> Any:
    def __new__(cls: Any, of: Imagination, place: Place) -> Any:  # noqa: N807 - of a number
        made: Any = kind.__new__(cls)
        made.of, made.spot = of, place
        return made

    methods: dict[str, Any] = {f"__{name}__": _computing(f"__{name}__") for name in _ARITHMETIC if hasattr(kind, f"__{name}__")}
    methods |= {
        "__new__": __new__,
        "__eq__": _comparing(lambda side: side == 0),
        "__ne__": _comparing(lambda side: side != 0),
        "__lt__": _comparing(lambda side: side < 0),
        "__le__": _comparing(lambda side: side <= 0),
        "__gt__": _comparing(lambda side: side > 0),
        "__ge__": _comparing(lambda side: side >= 0),
        "__bool__": lambda self: self._against(0) != 0,
    }
    return type(f"Any{kind.__name__}", (_Number, kind), methods)


_NUMBERS: dict[type, Any] = {kind: _number_class(kind) for kind in (int, float, Decimal)}


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
