"""Limits bound how much all cases together use of a resource, and how large the backlog of a process becomes."""

from collections.abc import Iterable
from dataclasses import dataclass

from pointsman.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Stops all calls for `cooldown_seconds` after `failures` failed calls in a row; then one call is tried, and decides.

    (Nygard, "Release It!", 2007.) `Rejected`, and an exception with a `retry_after`, do not count as failures.
    """

    failures: int = 5
    cooldown_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise DefinitionError(f"CircuitBreaker: failures is {self.failures}; it must be at least 1.")
        if not 0 < self.cooldown_seconds < float("inf"):
            raise DefinitionError(f"CircuitBreaker: cooldown_seconds is {self.cooldown_seconds}; it must be a finite number above 0.")


@dataclass(frozen=True, slots=True)
class Limit:
    """Bounds all calls of the steps that name it, across all cases and processes.

    At most `concurrency` calls run at the same time. At most `per_second` calls begin in a second, evenly spaced. `breaker`
    stops calls to a service that keeps failing. If a call raises an exception with a `retry_after` (seconds), such as
    `NotSent`, no call begins until then. The store keeps the state of the limit under `name`.
    """

    name: str
    concurrency: int | None = None
    per_second: float | None = None
    breaker: CircuitBreaker | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise DefinitionError(f"Limit: its name is {self.name!r}; give it the name of the resource.")
        if self.concurrency is not None and self.concurrency < 1:
            raise DefinitionError(f"Limit {self.name!r}: concurrency is {self.concurrency}; it must be at least 1.")
        if self.per_second is not None and not 0 < self.per_second < float("inf"):
            raise DefinitionError(f"Limit {self.name!r}: per_second is {self.per_second}; it must be above 0.")


@dataclass(frozen=True, slots=True)
class Intake:
    """Bounds the backlog of a process, and of each tenant in it; None sets no bound.

    The backlog is the work of the engine: cases that are ready or running, or that wait for a permit or another attempt. It
    does not include parked cases and cases that wait for a person, a message or a time.
    """

    backlog_max: int | None = 100_000
    tenant_backlog_max: int | None = None

    def __post_init__(self) -> None:
        for name, bound in (("backlog_max", self.backlog_max), ("tenant_backlog_max", self.tenant_backlog_max)):
            if bound is not None and bound < 1:
                raise DefinitionError(f"Intake: {name} is {bound}; it must be at least 1, or None for no bound.")


def check_limits(what: str, limits: Iterable[Limit]) -> None:
    """Refuse two different limits with one name. Raises DefinitionError."""
    known: dict[str, Limit] = {}
    for limit in limits:
        if known.setdefault(limit.name, limit) != limit:
            told = f"{what}: limit {limit.name!r} is declared in two ways, {known[limit.name]} and {limit}"
            raise DefinitionError(f"{told}; declare it once, and give the same Limit to every step.")
