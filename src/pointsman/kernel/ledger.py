"""What the policy allows after an effect's call has begun: a pure function of the ledger, the policy and the time."""

from dataclasses import dataclass
from enum import StrEnum

from pointsman.definition.counts import format_count
from pointsman.definition.effects import AnyEffect, AtLeastOnce, AtMostOnce, Idempotent


class EffectStatus(StrEnum):
    """The status of a call in the ledger. `intended`: it may be running. `in_doubt`: it may or may not have happened."""

    INTENDED = "intended"
    NOT_SENT = "not_sent"
    IN_DOUBT = "in_doubt"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CallAgain:
    """The policy allows another call under the same key."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """A look-up is needed, and is possible now."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """A look-up is needed, but not before this time (Unix seconds)."""

    at: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Only a person can resolve the effect."""

    reason: str


Move = CallAgain | LookUp | WaitUntil | GiveUp


def move_in_doubt(effect: AnyEffect, *, attempts: int, intended_at: float, deadline: float, now: float) -> Move:
    """What the policy allows after a call that may have happened.

    `attempts` counts the calls, `intended_at` is the time of the first intent, and `deadline` is when the last call was
    given up. A key may be used again only while its receiver remembers it; later, the repetition would be a new call. A
    look-up waits until the old call can no longer take effect.
    """
    safety = effect.safety
    if isinstance(safety, AtMostOnce):
        return GiveUp("its call may or may not have happened, and its policy forbids another one")
    if isinstance(safety, Idempotent | AtLeastOnce) and attempts >= effect.retry.attempts_max:
        return GiveUp(f"{format_count(attempts, 'call')} ended in doubt, as many as its retry policy allows")
    if isinstance(safety, Idempotent):
        if now + effect.timeout_seconds >= intended_at + safety.key_ttl_seconds:
            return GiveUp("its call may have happened, and the receiver may have forgotten its key by now")
        return CallAgain()
    if isinstance(safety, AtLeastOnce):
        return CallAgain()
    settled_at = deadline + safety.propagation_seconds
    return LookUp() if now >= settled_at else WaitUntil(settled_at)


def say_whether(key: str) -> str:
    """What a person does about an effect of which nobody knows whether it happened."""
    happened = f"`pointsman resolve {key} --happened --outcome JSON --why TEXT`"
    return f"find out whether it happened, and say so on the page of the case, or with {happened} or `pointsman resolve {key} --call-again --why TEXT`"


def say_what(key: str) -> str:
    """What a person does about an effect that happened, and whose outcome nobody knows."""
    return f"say what it returned on the page of the case or with `pointsman resolve {key} --happened --outcome JSON --why TEXT`"
