"""Limits: how much of a resource all cases together may use at a time, and how much work may wait in line."""

from collections.abc import Iterable
from dataclasses import dataclass

from pointsman.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """After `failures` failed calls in a row nobody calls for `cooldown_seconds`; then one call is tried, and its end decides.

    (Nygard, "Release It!", 2007.) A definite answer is no failure: not `Rejected`, and not a refusal with a `retry_after`.
    """

    failures: int = 5
    cooldown_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise DefinitionError(f"CircuitBreaker: failures is {self.failures}; it must be at least 1.")
        if not 0 < self.cooldown_seconds < float("inf"):
            raise DefinitionError(f"CircuitBreaker: cooldown_seconds is {self.cooldown_seconds}; say for how many seconds nobody calls.")


@dataclass(frozen=True, slots=True)
class Limit:
    """What all steps that name it, of all cases and processes, may use together.

    At most `concurrency` calls at a time; at most `per_second` calls begin in a second, evenly spaced; `breaker` keeps
    calls from a downstream that fails. A call that ends with an exception that has a `retry_after` (seconds), such as
    `NotSent`, holds them all until then. `name` is what its state is stored under.
    """

    name: str
    concurrency: int | None = None
    per_second: float | None = None
    breaker: CircuitBreaker | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise DefinitionError(f"Limit: its name is {self.name!r}; name the resource that it is for.")
        if self.concurrency is not None and self.concurrency < 1:
            raise DefinitionError(f"Limit {self.name!r}: concurrency is {self.concurrency}; it must be at least 1.")
        if self.per_second is not None and not 0 < self.per_second < float("inf"):
            raise DefinitionError(f"Limit {self.name!r}: per_second is {self.per_second}; it must be more than 0.")


@dataclass(frozen=True, slots=True)
class Intake:
    """How many cases of a process may be in line, and how many of one tenant; None sets no bound.

    In line is what the engine has to do: cases that are ready, running, or wait for a permit or another attempt. Cases
    that wait for a person, a message or a time, and those that are parked, are not.
    """

    backlog_max: int | None = 100_000
    tenant_backlog_max: int | None = None

    def __post_init__(self) -> None:
        for name, bound in (("backlog_max", self.backlog_max), ("tenant_backlog_max", self.tenant_backlog_max)):
            if bound is not None and bound < 1:
                raise DefinitionError(f"Intake: {name} is {bound}; it must be at least 1, or None for no bound.")


def check_limits(what: str, limits: Iterable[Limit]) -> None:
    """Refuse two different limits of one name. Raises DefinitionError."""
    known: dict[str, Limit] = {}
    for limit in limits:
        if known.setdefault(limit.name, limit) != limit:
            told = f"{what}: limit {limit.name!r} is declared in two ways, {known[limit.name]} and {limit}"
            raise DefinitionError(f"{told}; declare it once, and give the same Limit to every step.")
