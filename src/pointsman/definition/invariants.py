"""Invariants: conditions that must never hold when an effect is about to be called, when a case ends, or at any decision."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pointsman.definition.effects import AnyEffect
from pointsman.definition.rules import Compensate, Finish, Step

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class Invariant(Generic[S]):
    """A named condition that must never hold before `effect`, at an end with the outcome `ends`, or, without either, at any decision."""

    name: str
    condition: Callable[[S], object]
    effect: AnyEffect | None = None
    ends: str | None = None

    def guards(self, step: Step) -> bool:
        """Whether a decision for this step must keep the invariant."""
        if self.effect is not None:
            return step is self.effect
        return self.ends is None or (isinstance(step, Finish | Compensate) and step.outcome == self.ends)
