"""The stored rows of a case, and the transition that changes them in one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from pointsman.definition.messages import WhileOpen
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.snapshot import Status
from pointsman.kernel.words import SearchWrite

BILLION = 10**9  # costs are counted in billionths: a token of the cheapest model costs more than one


class NewCase(NamedTuple):
    """The part of a transition that starts a case. A case with a `correlation` key receives the messages that came before it."""

    process: str
    version: int
    key: str | None
    tenant: str = ""
    priority: int = 0
    correlation: str | None = None
    parent: int | None = None


class FieldWrite(NamedTuple):
    """A field's new JSON, or None to clear it, and the step that wrote it.

    A write that `appends` adds the items of the JSON array `text` to the present value.
    """

    field: str
    text: str | None
    writer: str
    appends: bool = False


class EventWrite(NamedTuple):
    """An event to append: its facts are JSON."""

    kind: str
    step: str | None
    attempt: int
    facts: str


class Intent(NamedTuple):
    """The intent to call an effect: `arguments` is their digest, `deadline` (Unix seconds) when the call is given up."""

    key: str
    effect: str
    arguments: str
    deadline: float
    again: bool


class Settlement(NamedTuple):
    """The end of a call. `outcome` is the JSON of each field that it wrote. If it does not count, `attempts` of the entry is lowered."""

    key: str
    status: EffectStatus
    outcome: str | None = None
    error: str | None = None
    counts: bool = True


class PauseOpening(NamedTuple):
    """A pause to open: `token` works once, `digest` is that of the shown fields, `expires_at` (Unix seconds) is when it expires.

    `asks` is False for a sleep, which nobody can answer.
    """

    name: str
    token: str
    digest: str
    assignee: str | None = None
    expires_at: float | None = None
    asks: bool = True


class PauseClimb(NamedTuple):
    """The open pause is at rung number `rung` of its ladder from now on, and `assignee` is asked (None: nobody in particular)."""

    rung: int
    assignee: str | None


class MessageStatus(StrEnum):
    """The status of a message.

    `pending`: its case will take it in. `held`: it waits until its case has ended. `unmatched`: it matches no case yet. `taken`: its
    case has taken it in. `logged`: taken in as an item of a log, which then holds its content. `passed`: its case ignored it (too
    old, or for a step that no longer waits).
    """

    PENDING = "pending"
    HELD = "held"
    UNMATCHED = "unmatched"
    TAKEN = "taken"
    LOGGED = "logged"
    PASSED = "passed"


class Address(NamedTuple):
    """Where a message goes: to this `case`, or to the tenant's open case with its correlation key."""

    process: str
    tenant: str = ""
    correlation: str | None = None
    case: int | None = None


class Post(NamedTuple):
    """A message to deliver at a time (Unix seconds): `body` is its JSON, `key` its identity.

    `while_open` says what an open case does with it: "supersede" takes it at once, even before a retry is due, "append" when the case
    goes on, "hold" when the case has ended; "new_case" looks for no open case.
    """

    to: Address
    name: str
    key: str | None
    body: str
    at: float
    while_open: WhileOpen = "supersede"


class BranchRow(NamedTuple):
    """Where a branch of a parallel step stands, as it is written and stored.

    Once it has ended, `outcome` is the JSON of what it wrote, per field, or `failure` that of its `Failure`. `reads` is
    the digest of what it read, `guard` how far its guard has come (JSON). A node that is a step by itself has a branch of its own
    name while its guard asks again.
    """

    name: str
    attempts: int = 0
    wake_at: float | None = None
    outcome: str | None = None
    failure: str | None = None
    reads: str = ""
    guard: str | None = None


class UsageWrite(NamedTuple):
    """The usage of one model response; `cost` is in billionths of the prices' currency."""

    model: str
    input_tokens: int
    output_tokens: int
    cost: int


@dataclass(slots=True)
class Transition:
    """All that one step changes. `revision` and `fence` are those that the case must have; both times are Unix seconds.

    `claims` raises the fence: this engine claims the case. `inbox` is the number of pending messages that the engine has seen; None skips
    the check. `takes` has the new status of messages that are no longer pending, `posts` the messages to other cases. `leaves_pause`
    closes the open pause: as answered if `answered_by` names a person, else as void. `ends_branches` deletes the branches. `needs` names
    the limit that a ready case waits for. `interruptions` is their new number (0 after progress), `migrated` the new version. `erases`
    deletes the case's content, also from earlier events (S23). `usage` is that of the responses in its events. `search` is what the
    case is found by from now on.
    """

    case: int
    revision: int
    fence: int
    at: float
    status: Status
    attempts: int = 0
    steps: int = 0
    wake_at: float | None = None
    step: str | None = None
    rule: str | None = None
    reason: str | None = None
    outcome: str | None = None
    needs: str | None = None
    interruptions: int = 0
    claims: bool = False
    migrated: int | None = None
    inbox: int | None = None
    takes: Sequence[tuple[int, MessageStatus]] = ()
    posts: Sequence[Post] = ()
    new: NewCase | None = None
    fields: Sequence[FieldWrite] = ()
    events: Sequence[EventWrite] = ()
    intent: Intent | None = None
    settlement: Settlement | None = None
    pause: PauseOpening | None = None
    climbs: PauseClimb | None = None
    leaves_pause: bool = False
    answered_by: str | None = None
    branches: Sequence[BranchRow] = ()
    ends_branches: bool = False
    erases: bool = False
    usage: Sequence[UsageWrite] = ()
    search: Sequence[SearchWrite] = ()


class CaseRow(NamedTuple):
    """A case as it is stored. `step`, `rule` and `reason` say what it does or waits for, and why.

    `attempts` counts the present step's attempts that ended by themselves, and the current one. `interruptions` counts the crashes
    during a call of the case since it last made progress.
    """

    id: int
    process: str
    version: int
    key: str | None = None
    status: Status = Status.READY
    revision: int = 0
    fence: int = 0
    wake_at: float | None = None
    attempts: int = 0
    steps: int = 0
    step: str | None = None
    rule: str | None = None
    reason: str | None = None
    outcome: str | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    tenant: str = ""
    priority: int = 0
    correlation: str | None = None
    parent: int | None = None
    inbox: int = 0
    needs: str | None = None
    interruptions: int = 0


class FieldRow(NamedTuple):
    """The value of a field, its last writer, and the revision of that write."""

    field: str
    text: str
    writer: str
    revision: int


class EventRow(NamedTuple):
    """An event as it is stored.

    `cursor` is its place among all events: text that only its store can read. Store it, give it back, and do not calculate with it.
    """

    cursor: str
    case: int
    revision: int
    kind: str
    step: str | None
    attempt: int
    at: float
    facts: str


class EffectRow(NamedTuple):
    """An entry of the ledger. `intended_at` is the first intent's time, `deadline` the last call's."""

    key: str
    case: int
    effect: str
    arguments: str
    status: EffectStatus
    attempts: int
    intended_at: float
    deadline: float
    outcome: str | None
    error: str | None


class PauseRow(NamedTuple):
    """A pause as it is stored: `closed` is None while it is open, then "answered" or "void"."""

    case: int
    revision: int
    name: str
    token: str
    digest: str
    opened_at: float
    closed: str | None = None
    closed_by: str | None = None
    closed_at: float | None = None
    rung: int = 0
    assignee: str | None = None
    expires_at: float | None = None


class MessageRow(NamedTuple):
    """A message as it is stored."""

    id: int
    process: str
    name: str
    key: str | None
    correlation: str | None
    case: int | None
    status: MessageStatus
    body: str
    at: float
    tenant: str = ""


class UsageRow(NamedTuple):
    """The total usage of a model; `day` is the UTC day since 1970, or None for the usage of a case.

    `cost` is in billionths of the prices' currency.
    """

    model: str
    answers: int
    input_tokens: int
    output_tokens: int
    cost: int
    day: int | None = None
    tenant: str = ""

    @property
    def paid(self) -> Decimal:
        """The cost in the currency of the prices."""
        return Decimal(self.cost) / BILLION
