"""Limits on the use of a resource by all cases, and bounds on the backlog."""

from collections.abc import Iterable
from dataclasses import dataclass

from pointsman.definition.names import check_name
from pointsman.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """After `failures` failed calls in a row, allow no call for `cooldown_seconds`; then allow one, whose result decides.

    (Nygard, "Release It!", 2007.) A definite answer is not a failure: neither `Rejected` nor a refusal with a `retry_after`.
    """

    failures: int = 5
    cooldown_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise DefinitionError(f"CircuitBreaker: failures is {self.failures}; it must be at least 1.")
        if not 0 < self.cooldown_seconds < float("inf"):
            raise DefinitionError(f"CircuitBreaker: cooldown_seconds is {self.cooldown_seconds}; say for how many seconds to stop calls.")


@dataclass(frozen=True, slots=True)
class Limit:
    """Bound the calls of all steps that name this limit, across all cases and processes.

    At most `concurrency` calls run at a time, and at most `per_second` calls begin in a second, evenly spaced. `breaker` stops calls
    to a resource that keeps failing. If a call raises an exception with a `retry_after` (seconds), such as `NotSent`, all calls wait
    that long. The state of the limit is stored under `name`.
    """

    name: str
    concurrency: int | None = None
    per_second: float | None = None
    breaker: CircuitBreaker | None = None

    def __post_init__(self) -> None:
        check_name("a limit", self.name)
        if self.concurrency is not None and self.concurrency < 1:
            raise DefinitionError(f"Limit {self.name!r}: concurrency is {self.concurrency}; it must be at least 1.")
        if self.per_second is not None and not 0 < self.per_second < float("inf"):
            raise DefinitionError(f"Limit {self.name!r}: per_second is {self.per_second}; it must be more than 0.")


@dataclass(frozen=True, slots=True)
class Intake:
    """Bound the backlog of a process, and of each of its tenants; None sets no bound.

    The backlog is what the engine has to do: cases that are ready, running, or waiting for a permit or another attempt. It does not
    include cases that wait for a person, a message or a time, or parked cases.
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
            problem = f"{what}: limit {limit.name!r} is declared in two ways, {known[limit.name]} and {limit}"
            raise DefinitionError(f"{problem}; declare it once, and give the same Limit to every step.")
