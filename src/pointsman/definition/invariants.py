"""Invariants: conditions that must never hold when an effect is about to be called, when a case ends, or at any decision."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pointsman.definition.effects import AnyEffect, Compensation, Effect
from pointsman.definition.rules import Compensate, Finish, Rule, Step
from pointsman.errors import DefinitionError

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


def check_invariant(process: str, steps: Mapping[str, Any], invariants: Mapping[str, Any], invariant: Invariant[Any]) -> None:
    """Refuse an invariant that guards no step of its own process, or has the name of another one. Raises DefinitionError."""
    what = _called(process, invariant)
    if invariant.name in invariants:
        raise DefinitionError(f"{what}: another invariant has this name; give one of them another name.")
    if invariant.effect is None:
        return
    if invariant.ends is not None:
        raise DefinitionError(f"{what}: it has both effect= and ends=; declare two invariants, one with effect= and one with ends=.")
    if isinstance(invariant.effect, Compensation):
        raise DefinitionError(f"{what}: a compensation reads the fields as they were; name the effect that it reverses.")
    effect: object = invariant.effect
    if not isinstance(effect, Effect) or steps.get(effect.name) is not effect:
        raise DefinitionError(f"{what}: effect={invariant.effect!r} is not an effect of the process; declare it with {process}.effect.")


def check_ends(process: str, rules: Sequence[Rule[Any]], invariants: Mapping[str, Invariant[Any]]) -> None:
    """Refuse an invariant of an outcome with which no rule ends the case. Raises DefinitionError."""
    outcomes = {rule.step.outcome for rule in rules if isinstance(rule.step, Finish | Compensate)}
    for one in invariants.values():
        if one.ends is not None and one.ends not in outcomes:
            listed = ", ".join(sorted(outcomes))
            raise DefinitionError(f"{_called(process, one)}: no rule ends the case with {one.ends!r}; its outcomes are {listed}.")


def _called(process: str, invariant: Invariant[Any]) -> str:
    return f"process {process!r}, invariant {invariant.name!r}"
