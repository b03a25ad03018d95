"""Effects: functions that change the outside world, and the four policies for a crash in the middle of a call."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic

from pointsman.definition.nodes import Node, P, R
from pointsman.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Idempotent:
    """The receiver deduplicates by `ctx.key`: call again while it remembers the key (`key_ttl_seconds`), then park the case."""

    key_ttl_seconds: float = float("inf")

    def __post_init__(self) -> None:
        if not self.key_ttl_seconds > 0:
            raise DefinitionError(f"Idempotent: key_ttl_seconds is {self.key_ttl_seconds}; say how long the receiver remembers a key.")


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Look the effect up before calling it again.

    `look_up` takes the effect's own parameters and returns `Found(outcome)`, ABSENT (certainly not there) or UNKNOWN. The engine waits
    `propagation_seconds` after the interrupted call's deadline before it looks, because until then the call could still take effect.
    """

    look_up: Callable[..., Any]
    propagation_seconds: float

    def __post_init__(self) -> None:
        if not self.propagation_seconds >= 0:
            raise DefinitionError(f"Reconcile: propagation_seconds is {self.propagation_seconds}; it must not be negative.")


@dataclass(frozen=True, slots=True)
class AtMostOnce:
    """Never call again: park the case, so that a person finds out what happened."""


@dataclass(frozen=True, slots=True)
class AtLeastOnce:
    """Call again. `because` says why a repetition does no harm; audits show it."""

    because: str

    def __post_init__(self) -> None:
        if not self.because.strip():
            raise DefinitionError("AtLeastOnce: say in `because` why a repetition does no harm.")


Safety = Idempotent | Reconcile | AtMostOnce | AtLeastOnce


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a look-up: the effect happened, with this outcome."""

    outcome: Any


class _Verdict:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ABSENT: Final = _Verdict("ABSENT")
"""The result of a look-up: the effect certainly did not happen."""

UNKNOWN: Final = _Verdict("UNKNOWN")
"""The result of a look-up: it cannot be determined whether the effect happened."""


@dataclass(frozen=True, eq=False)
class Effect(Node[P, R], Generic[P, R]):
    """A node that changes the outside world. The engine commits its intent before the call and its outcome after it."""

    safety: Safety
    timeout_seconds: float
    key: Callable[..., str] | None = None
    undo: "AnyCompensation | None" = None

    @property
    def first_name(self) -> str:
        """The name in the idempotency keys: the oldest one, so that a renamed effect keeps its keys."""
        return self.former_names[0] if self.former_names else self.name


@dataclass(frozen=True, eq=False)
class Compensation(Effect[P, R], Generic[P, R]):
    """An effect that reverses another effect. It reads the fields as they were at that effect's call, and what that effect wrote."""


AnyCompensation = Compensation[Any, Any]
AnyEffect = Effect[Any, Any]
