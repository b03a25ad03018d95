"""Imagined numbers: comparing one decides only on which side of the other it lies."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from pointsman.operations.verify.places import Choice, Decisions, Place, Unresolved


class _Number:
    """Any number: comparing it decides only on which side of the other it lies."""

    spot: Place
    of: Decisions

    def _region(self) -> Choice:
        return self.of.known.get(self.spot) or Choice("between", (None, None))

    def whole(self) -> Any:
        """One of the numbers that are left, to compute with. Raises Unresolved."""
        region = self._region()
        if region.how == "is":
            return region.what
        low, high = region.what
        middle = low + 1 if low is not None else high - 1 if high is not None else 0
        if low is not None and high is not None and middle >= high:
            middle = (low + high) / 2
        self.of.computed.add(self.spot.name)
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
    def __new__(cls: Any, of: Decisions, place: Place) -> Any:  # noqa: N807 - of a number
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


NUMBERS: dict[type, Any] = {kind: _number_class(kind) for kind in (int, float, Decimal)}
"""The imagined numbers, by the type that they stand for."""
