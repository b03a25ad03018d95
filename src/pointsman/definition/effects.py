"""Effects: functions that change the world outside, and the four policies that say what a crash in between means."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic

from pointsman.definition.nodes import Node, P, R
from pointsman.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Idempotent:
    """The receiver deduplicates by `ctx.key`: call again while it remembers keys (`key_ttl_seconds`), afterwards park."""

    key_ttl_seconds: float = float("inf")

    def __post_init__(self) -> None:
        if not self.key_ttl_seconds > 0:
            raise DefinitionError(f"Idempotent: key_ttl_seconds is {self.key_ttl_seconds}; say how long the receiver remembers a key.")


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Ask the world before calling again.

    `look_up` takes the effect's own parameters and returns `Found(outcome)`, ABSENT (surely not there) or UNKNOWN. It is asked only
    when the interrupted call's deadline and then `propagation_seconds` have passed: earlier, that call could still arrive after the look.
    """

    look_up: Callable[..., Any]
    propagation_seconds: float

    def __post_init__(self) -> None:
        if not self.propagation_seconds >= 0:
            raise DefinitionError(f"Reconcile: propagation_seconds is {self.propagation_seconds}; it must not be negative.")


@dataclass(frozen=True, slots=True)
class AtMostOnce:
    """Never call again: park the case and let a person find out."""


@dataclass(frozen=True, slots=True)
class AtLeastOnce:
    """Call again; `because` says why a repetition does no harm, and is shown in audits."""

    because: str

    def __post_init__(self) -> None:
        if not self.because.strip():
            raise DefinitionError("AtLeastOnce: say in `because` why a repetition does no harm.")


Safety = Idempotent | Reconcile | AtMostOnce | AtLeastOnce


@dataclass(frozen=True, slots=True)
class Found:
    """A look-up's answer: it did happen, and this was its outcome."""

    outcome: Any


class _Verdict:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ABSENT: Final = _Verdict("ABSENT")
"""A look-up's answer: it surely did not happen."""

UNKNOWN: Final = _Verdict("UNKNOWN")
"""A look-up's answer: it cannot be told."""


@dataclass(frozen=True, eq=False)
class Effect(Node[P, R], Generic[P, R]):
    """A node that changes the world outside: its intent is committed before the call, its outcome after it."""

    safety: Safety
    timeout_seconds: float
    key: Callable[..., str] | None = None
    undo: "AnyCompensation | None" = None

    @property
    def first_name(self) -> str:
        """The name that idempotency keys are made of: the oldest one, so that a renamed effect keeps its keys."""
        return self.former_names[0] if self.former_names else self.name


@dataclass(frozen=True, eq=False)
class Compensation(Effect[P, R], Generic[P, R]):
    """An effect that takes another one back: it reads the fields as they stood at that one's call, and what that one wrote."""


AnyCompensation = Compensation[Any, Any]
AnyEffect = Effect[Any, Any]
