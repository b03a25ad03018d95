"""Retention: how long a case that has ended is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pointsman.definition.durations import DAY_SECONDS
from pointsman.errors import DefinitionError

DAYS_MIN = 1.0  # once a case is deleted, a duplicate of its start or message starts another case


@dataclass(frozen=True)
class Retention:
    """How many days after its end a case is deleted, with everything that belongs to it; None keeps it for ever.

    `days` applies to every outcome that `outcomes` does not name. A case with an effect in doubt stays until somebody resolves it.
    Keys of deleted cases are forgotten, so keep cases for longer than a sender may take to deliver a duplicate. Raises DefinitionError.
    """

    days: float | None = None
    outcomes: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for days in (self.days, *self.outcomes.values()):
            if days is not None and not days >= DAYS_MIN:
                raise DefinitionError(
                    f"Retention: {days} days are too few; keep cases for {DAYS_MIN:.0f} or more, "
                    "because a duplicate that arrives after a case is deleted starts a new case."
                )

    def seconds(self, outcome: str | None) -> float | None:
        """The seconds for which a case with this outcome is kept after its end; `outcome` is None for a cancelled case."""
        days = self.days if outcome is None else self.outcomes.get(outcome, self.days)
        return None if days is None else days * DAY_SECONDS
