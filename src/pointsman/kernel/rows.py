"""What is stored of a case: its rows, and the transition that changes them in one piece."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from pointsman.definition.messages import WhileOpen
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.snapshot import Status

BILLION = 10**9  # costs are counted in billionths: a token of the cheapest model costs more than one


class NewCase(NamedTuple):
    """What makes a transition a start. A case with a `correlation` key takes over the messages that came for it before."""

    process: str
    version: int
    key: str | None
    tenant: str = ""
    priority: int = 0
    correlation: str | None = None
    parent: int | None = None


class FieldWrite(NamedTuple):
    """A field's new JSON, None where it was cleared, and the step that wrote it.

    One that `appends` adds the items of a JSON array, `text`, to the value that stands.
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
    """What became of a call. `outcome` is the JSON of what it wrote, per field. One that does not count is taken off the attempts."""

    key: str
    status: EffectStatus
    outcome: str | None = None
    error: str | None = None
    counts: bool = True


class PauseOpening(NamedTuple):
    """A pause that begins: `token` is single-use, `digest` that of what is shown, `expires_at` when it is over by itself."""

    name: str
    token: str
    digest: str
    assignee: str | None = None
    expires_at: float | None = None


class PauseClimb(NamedTuple):
    """The open pause comes to rung number `rung` of its ladder; `assignee` is who is asked from now on, where that changes."""

    rung: int
    assignee: str | None


class MessageStatus(StrEnum):
    """What has become of a message.

    `pending` is for its case to take in, `held` until its case has ended, `unmatched` is nobody's yet; `taken` has been
    written to its case, `logged` too, as an item of a log, which is where its content is kept from then on; `passed` was let
    be (too old, or for a step that is gone).
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

    `while_open` says what it means to an open case: "supersede" is taken at once, also by a case that waits to retry, "append" when the
    case goes on, "hold" when the case has ended; "new_case" looks for none.
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
    """What one answer of a model used; `cost` is in billionths of the prices' currency."""

    model: str
    input_tokens: int
    output_tokens: int
    cost: int


@dataclass(slots=True)
class Transition:
    """All that one step changes. `revision` and `fence` are what the case must have; both times are Unix seconds.

    `claims` raises the fence: the case passes into this engine's hands. `inbox` is the number of pending messages that
    the engine has seen; None does not look. `takes` are those that are pending no longer, `posts` what this case sends to
    others. `leaves_pause` closes the open pause: as answered where `answered_by` says by whom, else as void. `ends_branches`
    forgets the branches. `needs` names the limit that a ready case waits for, `interruptions`
    counts those that the case keeps (0: it got on), `migrated` is the version that it now has. `erases` takes the case's content
    away (S23), and what the events said before. `usage` is that of the answers that its events tell of.
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


class CaseRow(NamedTuple):
    """A case as it is stored. `step`, `rule` and `reason` say what it does or waits for, and why.

    `attempts` counts those of the present step that ended by themselves, and the one under way; `interruptions` how often an
    engine has ended with the case in hand and called, since the case last got on.
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
    """What the answers of a model used, together; `day` counts the days of UTC since 1970, and is None for those of a case.

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
        """The cost in the currency itself."""
        return Decimal(self.cost) / BILLION
