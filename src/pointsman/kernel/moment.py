"""The input of a decision about a case, and the result of a step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pointsman.definition.process import AnyProcess
from pointsman.kernel.case import Case
from pointsman.kernel.events import Event
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.program import Program
from pointsman.kernel.record import record
from pointsman.kernel.rows import BranchRow, PauseClimb, Settlement


class Chance(Protocol):
    """A source of chance, such as `random.Random`."""

    def random(self) -> float:
        """A random number in [0, 1)."""

    def getrandbits(self, bits: int, /) -> int:
        """A random integer of so many `bits`."""


class GivenUpCall(Protocol):
    """A call of a plain function that was given up but still runs, because nothing can stop its thread."""

    ended_at: float | None

    def happened(self) -> bool:
        """Whether the call returned without raising."""

    def result(self) -> object:
        """What it returned."""


def _never_shut(limit: str) -> str | None:  # noqa: ARG001 - the signature of `Offer.shut`
    return None


def _none_given_up(key: str) -> Sequence[GivenUpCall]:  # noqa: ARG001 - the signature of `Offer.given_up`
    return ()


@record
class Offer:
    """What the engine has for a case at this moment; none of it is durable.

    `place` says whether the engine has a place for the case. `shut` returns why the case must wait for a permit of a limit, or None.
    `cancel` is the event of a cancel that was requested while a step ran. `given_up` returns the calls under an idempotency
    key that this engine gave up but whose threads still run.
    """

    place: bool = True
    shut: Callable[[str], str | None] = _never_shut
    cancel: Event | None = None
    given_up: Callable[[str], Sequence[GivenUpCall]] = _none_given_up


FULL_OFFER = Offer()
"""A place, every permit, and no cancel."""


@record
class Moment:
    """A case at the moment of a decision. `now` is in Unix seconds; `chance` is the source of jitter and tokens."""

    program: Program
    case: Case
    now: float
    chance: Chance
    offer: Offer
    process: AnyProcess


@record
class StepResult:
    """The result of a step: its events, the last of which carries the writes.

    With `wake_at` (Unix seconds) the step continues later; with `park` the case is parked for that reason; with `waits` it
    waits at its step for a message; with `finishes` it ends with that outcome. `needs` is the limit that it waits for.
    `climbs` and `answered_by` concern the open pause. `attempts`, if set, is the step's new count of attempts.
    """

    events: tuple[Event, ...] = ()
    wake_at: float | None = None
    park: str | None = None
    settlement: Settlement | None = None
    branches: tuple[BranchRow, ...] = ()
    ends_branches: bool = False
    evidence: Mapping[str, Any] | None = None
    waits: bool = False
    finishes: str | None = None
    needs: str | None = None
    climbs: PauseClimb | None = None
    answered_by: str | None = None
    attempts: int | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether the step leaves an effect in doubt."""
        return self.settlement is not None and self.settlement.status is EffectStatus.IN_DOUBT


NOTHING = StepResult()
