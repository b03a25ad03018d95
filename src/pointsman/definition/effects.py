"""Effects: functions that change the outside world, and the four safety policies for a crash during a call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic

from pointsman.definition.nodes import Node, P, R
from pointsman.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Idempotent:
    """The receiver deduplicates by `ctx.key`: call again for `key_ttl_seconds` after the first call, then park the case."""

    key_ttl_seconds: float = float("inf")

    def __post_init__(self) -> None:
        if not self.key_ttl_seconds > 0:
            raise DefinitionError(
                f"Idempotent: key_ttl_seconds is {self.key_ttl_seconds}; it must be above 0: how long the receiver remembers a key."
            )


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Look up whether the interrupted call happened before calling again.

    `look_up` takes the parameters of the effect and returns `Found(outcome)`, ABSENT or UNKNOWN. The engine calls it
    `propagation_seconds` after the deadline of the interrupted call. Before that time, the call could still arrive after the
    look-up.
    """

    look_up: Callable[..., Any]
    propagation_seconds: float

    def __post_init__(self) -> None:
        if not self.propagation_seconds >= 0:
            raise DefinitionError(f"Reconcile: propagation_seconds is {self.propagation_seconds}; it must not be negative.")


@dataclass(frozen=True, slots=True)
class AtMostOnce:
    """Do not call again: park the case, and let a person find out what happened."""


@dataclass(frozen=True, slots=True)
class AtLeastOnce:
    """Call again. `because` says why a second call does no harm; audits show it."""

    because: str

    def __post_init__(self) -> None:
        if not self.because.strip():
            raise DefinitionError("AtLeastOnce: `because` is empty; say why a second call does no harm.")


Safety = Idempotent | Reconcile | AtMostOnce | AtLeastOnce


@dataclass(frozen=True, slots=True)
class Found:
    """A look-up returns this if the call happened. `outcome` is what the effect would have returned."""

    outcome: Any


class _Verdict:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ABSENT: Final = _Verdict("ABSENT")
"""A look-up returns this if the call certainly did not happen."""

UNKNOWN: Final = _Verdict("UNKNOWN")
"""A look-up returns this if it cannot tell whether the call happened."""


@dataclass(frozen=True, eq=False)
class Effect(Node[P, R], Generic[P, R]):
    """A node that changes the outside world. The engine commits its intent before the call and its outcome after it."""

    safety: Safety
    timeout_seconds: float
    key: Callable[..., str] | None = None
    undo: "AnyCompensation | None" = None

    @property
    def first_name(self) -> str:
        """The oldest name. Idempotency keys contain it, so a renamed effect keeps its keys."""
        return self.former_names[0] if self.former_names else self.name


@dataclass(frozen=True, eq=False)
class Compensation(Effect[P, R], Generic[P, R]):
    """An effect that reverses another effect. It reads the fields as they were at that effect's call, and what the effect wrote."""


AnyCompensation = Compensation[Any, Any]
AnyEffect = Effect[Any, Any]
