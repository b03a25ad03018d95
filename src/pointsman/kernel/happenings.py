"""Happenings: everything that can come to a case. The machine decides what follows from each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from pointsman.definition.children import Child
from pointsman.definition.rules import Parallel, Step
from pointsman.definition.transactions import AnyTransaction
from pointsman.kernel.attempts import CallEnd
from pointsman.kernel.commands import Acquire, CallEffect, CallNode, LookUpEffect
from pointsman.kernel.events import Event
from pointsman.kernel.joins import BranchEnd, Branches
from pointsman.kernel.record import record
from pointsman.kernel.rows import CaseRow, FieldRow, NewCase
from pointsman.kernel.snapshot import Cell

# From outside: starts, people, operators, newer code.


NO_CELLS: Mapping[str, Cell] = MappingProxyType({})


class StartAsked(NamedTuple):
    """A caller starts a case with these inputs."""

    new: NewCase
    cells: Mapping[str, Cell]


class Answered(NamedTuple):
    """A person, `by`, answered the open pause. `cells` are the answer and the fields that it rewrites."""

    pause: str
    by: str
    cells: Mapping[str, Cell]


class Assigned(NamedTuple):
    """A person, `by`, asks somebody else to answer the open pause: `to`, or nobody in particular if that is empty."""

    pause: str
    to: str
    by: str
    note: str


class CancelAsked(NamedTuple):
    """An operator cancels a case that no engine is running."""

    by: str
    why: str


class Redriven(NamedTuple):
    """An operator returns a parked case to the backlog; `fields` are corrections, by name."""

    by: str
    why: str
    fields: Mapping[str, object]


class Resolved(NamedTuple):
    """A person resolves the effect in doubt under `key`, as of its number of `calls` (None: any number).

    If it `happened`, `outcome` is what the effect would have returned.
    """

    key: str
    happened: bool
    by: str
    why: str
    outcome: object = None
    calls: int | None = None


class EraseAsked(NamedTuple):
    """An operator erases the content of an ended case."""

    by: str
    why: str


class Reconsidered(NamedTuple):
    """The code changed what an open pause shows, so the program decides again."""


class NotAcceptedHere(NamedTuple):
    """The engine has no code that can continue the case, for this reason."""

    reason: str


class AcceptedHere(NamedTuple):
    """The engine has code of this version, which can continue a blocked case."""

    version: int


# From the engine: a claim, and the results of commands.


class Claimed(NamedTuple):
    """An engine claimed the case: it is due, a timer fired, or a message or a child's end came.

    For a ready case it means that somebody asks about its open pause: the case takes in messages and timers, and begins no step.
    """


class Continued(NamedTuple):
    """The engine continues the step."""

    step: Step


@record
class NodeEnded:
    """The call of a node ended."""

    call: CallNode
    end: CallEnd


class PermitRefused(NamedTuple):
    """No permit was available for a call; `why` says the reason."""

    wanted: CallNode | Acquire
    why: str | None


class Acquired(NamedTuple):
    """The engine has the thread and the permit for an effect's call."""

    wanted: Acquire


class EffectEnded(NamedTuple):
    """The call of an effect ended."""

    call: CallEffect
    end: CallEnd


class LookedUp(NamedTuple):
    """A look-up returned `found` or raised `error`."""

    asked: LookUpEffect
    found: object
    error: Exception | None = None


class TransactionEnded(NamedTuple):
    """The function of a transaction ended."""

    node: AnyTransaction
    end: CallEnd


class BranchesEnded(NamedTuple):
    """Attempts of branches of a step ended while others go on; `calling` says whether calls are under way.

    `notes` are items of logs that the program adds.
    """

    step: Parallel
    ends: tuple[BranchEnd, ...]
    calling: bool
    notes: Mapping[str, Cell] = NO_CELLS


class BranchesRested(NamedTuple):
    """No branch is running any more: there is a verdict, or the rest wait. `late` are events of cancelled branches."""

    branches: Branches
    ends: tuple[BranchEnd, ...]
    late: tuple[Event, ...] = ()


class ChildStarted(NamedTuple):
    """The child case exists, with this row and these fields; `end_pending` says whether the message of its end is pending."""

    child: Child
    row: CaseRow
    end_pending: bool
    fields: Mapping[str, FieldRow]


class ChildRefused(NamedTuple):
    """The child cannot be started, for this reason."""

    child: Child
    reason: str


class CancelledBeforeCall(NamedTuple):
    """A cancel came before the call of the step began; `call` is the effect's, if its intent was committed."""

    call: CallEffect | None = None


class CannotGoOn(NamedTuple):
    """The engine cannot continue the case, for this reason: the case cannot be read, or it crashes engines."""

    reason: str


Happening = (
    StartAsked | Answered | Assigned | CancelAsked | Redriven | Resolved | EraseAsked | Reconsidered | NotAcceptedHere | AcceptedHere | Claimed | Continued | NodeEnded
    | PermitRefused | Acquired | EffectEnded | LookedUp | TransactionEnded | BranchesEnded | BranchesRested | ChildStarted | ChildRefused
    | CancelledBeforeCall | CannotGoOn
)  # fmt: skip
