"""What a decision about a case may look at, and what comes out of a step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pointsman.definition.process import AnyProcess
from pointsman.kernel.case import Case
from pointsman.kernel.events import Event
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.program import Program
from pointsman.kernel.rows import BranchRow, PauseClimb, Settlement


class Chance(Protocol):
    """A source of chance, such as `random.Random`."""

    def random(self) -> float:
        """A number from 0 up to 1."""

    def getrandbits(self, bits: int, /) -> int:
        """A whole number of so many bits."""


class GivenUpCall(Protocol):
    """A call of a plain function that was given up: nothing can stop its thread."""

    ended_at: float | None

    def happened(self) -> bool:
        """Whether it has returned, and not raised."""

    def result(self) -> object:
        """What it returned."""


def _never_shut(limit: str) -> str | None:  # noqa: ARG001 - the signature of `Offer.shut`
    return None


def _none_given_up(key: str) -> Sequence[GivenUpCall]:  # noqa: ARG001 - the signature of `Offer.given_up`
    return ()


class Offer(NamedTuple):
    """What the engine can offer a case at this moment; nothing of it is durable.

    `place` says whether it goes on with the case, `shut` why the case has to wait for a permit of a limit, None where it has
    one. `cancel` is the event of a cancel that was asked for while a step ran. `given_up` has the calls under an idempotency
    key whose threads this engine has given up.
    """

    place: bool = True
    shut: Callable[[str], str | None] = _never_shut
    cancel: Event | None = None
    given_up: Callable[[str], Sequence[GivenUpCall]] = _none_given_up


FULL_OFFER = Offer()
"""A place, every permit, and no cancel."""


class Moment(NamedTuple):
    """A case at the moment of a decision; `now` is in Unix seconds, `chance` gives jitter and tokens."""

    program: Program
    case: Case
    now: float
    chance: Chance
    offer: Offer
    process: AnyProcess


class StepResult(NamedTuple):
    """What came out of a step: the events, of which the last carries what was written.

    With `wake_at` (Unix seconds) the step goes on later; with `park` the case is parked for that reason; with `waits` it
    waits at its step for a message; with `finishes` it ends with that outcome. `needs` is the limit that it waits for.
    `climbs` and `answered_by` are about the open pause. `attempts` is what the step's attempts count from now on, where that changes.
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
        """Whether nobody knows yet if an effect happened."""
        return self.settlement is not None and self.settlement.status is EffectStatus.IN_DOUBT


NOTHING = StepResult()
