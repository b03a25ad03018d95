"""Figures about many values: the middle, and what only a few exceed."""

from collections.abc import Iterable
from typing import NamedTuple


class Spread(NamedTuple):
    """How values spread: the number of them, their median, and the value that 95 of 100 do not exceed."""

    number: int
    median: float
    p95: float


NONE = Spread(0, 0.0, 0.0)


def spread_of(values: Iterable[float]) -> Spread:
    """Return how the values spread. Each figure is one of the values: the first one that so many do not exceed."""
    ordered = sorted(values)
    if not ordered:
        return NONE
    return Spread(len(ordered), *(ordered[max(0, -(-len(ordered) * part // 100) - 1)] for part in (50, 95)))
