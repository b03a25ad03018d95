"""Retention: how long the engine keeps ended cases."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pointsman.definition.durations import DAY_SECONDS
from pointsman.errors import DefinitionError

DAYS_MIN = 1.0  # a start or a message that is delivered again after its case was deleted makes another case


@dataclass(frozen=True)
class Retention:
    """The number of days after which the engine deletes an ended case with everything that belongs to it; None keeps it for ever.

    `outcomes` overrides `days` for cases with these outcomes. The engine keeps a case with an effect in doubt until somebody
    resolves the effect. It does not remember deleted cases, so keep a case longer than a sender may take to deliver the same
    start or message again. Raises DefinitionError.
    """

    days: float | None = None
    outcomes: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for days in (self.days, *self.outcomes.values()):
            if days is not None and not days >= DAYS_MIN:
                raise DefinitionError(
                    f"Retention: {days} days are too few; keep cases for at least {DAYS_MIN:.0f}, "
                    "because a repeated delivery starts a deleted case again."
                )

    def seconds(self, outcome: str | None) -> float | None:
        """How many seconds the engine keeps a case with this outcome; None for ever. A cancelled case has no outcome."""
        days = self.days if outcome is None else self.outcomes.get(outcome, self.days)
        return None if days is None else days * DAY_SECONDS
