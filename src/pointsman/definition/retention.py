"""Retention: how long a case that has ended is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pointsman.definition.durations import DAY_SECONDS
from pointsman.errors import DefinitionError

DAYS_MIN = 1.0  # a start or a message that is delivered again after its case has gone makes another case


@dataclass(frozen=True)
class Retention:
    """How many days after its end a case goes, with everything that belongs to it; None keeps it for ever.

    `days` is for every end, `outcomes` for those that `finish` gave these names. A case of which an effect is in doubt
    stays until somebody has resolved it. What has gone is not known any more: give a case more days than whoever starts
    it, or sends it messages, may take to deliver the same thing again. Raises DefinitionError.
    """

    days: float | None = None
    outcomes: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for days in (self.days, *self.outcomes.values()):
            if days is not None and not days >= DAYS_MIN:
                raise DefinitionError(
                    f"Retention: {days} days are too few; keep cases for {DAYS_MIN:.0f} or more, "
                    "or what is delivered again after they have gone starts them again."
                )

    def seconds(self, outcome: str | None) -> float | None:
        """How long a case with this outcome is kept after its end; a cancelled one has none."""
        days = self.days if outcome is None else self.outcomes.get(outcome, self.days)
        return None if days is None else days * DAY_SECONDS
