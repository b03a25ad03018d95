"""Happenings: everything that can come to a case. Each one says what it brings; the machine says what follows."""

from collections.abc import Mapping
from typing import NamedTuple

from pointsman.definition.children import Child
from pointsman.definition.rules import Step
from pointsman.definition.transactions import AnyTransaction
from pointsman.kernel.attempts import CallEnd
from pointsman.kernel.commands import Acquire, CallEffect, CallNode, LookUpEffect
from pointsman.kernel.events import Event
from pointsman.kernel.joins import BranchEnd, Branches
from pointsman.kernel.rows import CaseRow, FieldRow, NewCase
from pointsman.kernel.snapshot import Cell

# From the caller's side: starts, people, operators, newer code.


class StartAsked(NamedTuple):
    """A case is to begin with these inputs."""

    new: NewCase
    cells: Mapping[str, Cell]


class Answered(NamedTuple):
    """A person, `by`, answered the open pause; the cells are the answer and what it rewrites."""

    pause: str
    by: str
    cells: Mapping[str, Cell]


class CancelAsked(NamedTuple):
    """An operator ends a case that nobody has in hand."""

    by: str
    why: str


class Redriven(NamedTuple):
    """An operator puts a parked case back into the line; `fields` are corrections, by name."""

    by: str
    why: str
    fields: Mapping[str, object]


class Resolved(NamedTuple):
    """A person says what became of the effect in doubt under `key`, after so many `calls` (None: whatever their number).

    If it `happened`, `outcome` is what the effect would have returned.
    """

    key: str
    happened: bool
    by: str
    why: str
    outcome: object = None
    calls: int | None = None


class EraseAsked(NamedTuple):
    """An operator takes away the content of a case that has ended."""

    by: str
    why: str


class Reconsidered(NamedTuple):
    """The code changed what an open pause shows, so the program decides anew."""


class NotAcceptedHere(NamedTuple):
    """No code here can go on with the case, for this reason."""

    reason: str


class AcceptedHere(NamedTuple):
    """Code of this version can go on with a blocked case."""

    version: int


# From the engine's side: a claim, and what commands brought.


class Claimed(NamedTuple):
    """An engine has the case in hand: because it is due, a timer fired, or a message or a child's end came.

    With a ready case it means that somebody asks about its open pause: messages and timers are taken in, and no step begins.
    """


class Continued(NamedTuple):
    """The step goes on."""

    step: Step


class NodeEnded(NamedTuple):
    """The call of a node ended."""

    call: CallNode
    end: CallEnd


class PermitRefused(NamedTuple):
    """There was no permit for a call, and `why`."""

    wanted: CallNode | Acquire
    why: str | None


class Acquired(NamedTuple):
    """The thread and the permit of an effect's call are there."""

    wanted: Acquire


class EffectEnded(NamedTuple):
    """The call of an effect ended."""

    call: CallEffect
    end: CallEnd


class LookedUp(NamedTuple):
    """The world answered a look-up with `found`, or the look-up raised `error`."""

    asked: LookUpEffect
    found: object
    error: Exception | None = None


class TransactionEnded(NamedTuple):
    """The function of a transaction ended."""

    node: AnyTransaction
    end: CallEnd


class BranchesEnded(NamedTuple):
    """Attempts of branches ended while others go on; `calling` says whether calls are under way."""

    ends: tuple[BranchEnd, ...]
    calling: bool


class BranchesRested(NamedTuple):
    """No branch is under way any more: there is a verdict, or the rest wait. `late` are events of branches that were cancelled."""

    branches: Branches
    ends: tuple[BranchEnd, ...]
    late: tuple[Event, ...] = ()


class ChildStarted(NamedTuple):
    """The child case is there: as it stands, with its fields; `told` says whether its end waits among the messages."""

    child: Child
    row: CaseRow
    told: bool
    fields: Mapping[str, FieldRow]


class ChildRefused(NamedTuple):
    """The child cannot be started, for this reason."""

    child: Child
    reason: str


class CancelledBeforeCall(NamedTuple):
    """A cancel came before the call of the step began; `call` is the effect's, if its intent was committed."""

    call: CallEffect | None = None


class CannotGoOn(NamedTuple):
    """The engine cannot go on with the case, for this reason: it cannot be read, or ends the engines that take it up."""

    reason: str


Happening = (
    StartAsked | Answered | CancelAsked | Redriven | Resolved | EraseAsked | Reconsidered | NotAcceptedHere | AcceptedHere | Claimed | Continued | NodeEnded
    | PermitRefused | Acquired | EffectEnded | LookedUp | TransactionEnded | BranchesEnded | BranchesRested | ChildStarted | ChildRefused
    | CancelledBeforeCall | CannotGoOn
)  # fmt: skip
