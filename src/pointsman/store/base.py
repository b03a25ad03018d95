"""What a store is, and what it promises.

Words
    case        one run of a process, known by its number
    revision    the number of committed transitions of a case; every transition raises it by one
    fence       the number of times a case was claimed; whoever holds an older one has lost the case
    transition  everything that one step changes, committed together or not at all
    claim       take cases that are ready and due, so that nobody else has them
    lease       on a store that several engines share: the time for which an engine has what it claimed
    ledger      the effects: for each idempotency key an intent, then its outcome

Promises (tests/store runs each against each store)
    S1  A commit is whole: status, fields, events, intent, settlement, pause and branches together, or none of them.
    S2  A commit is durable before it is answered, and answered in one piece.
    S3  A commit against another revision or fence than the case has raises Conflict and changes nothing.
    S4  Of a tenant's starts with one key in one process, the first makes the case; every other one is told its number.
    S5  A case that is due, ready or waiting with a timer, is claimed once; the claim raises its fence and counts an attempt.
    S6  A pause is open until its case moves; it is answered at most once.
    S7  An intent is new to the ledger, or takes up the standing one on purpose (`again`); otherwise it is a Conflict.
    S8  Events are numbered in the order of their commits, without a later commit below an earlier number.
    S9  What is read is what was committed: never a part of a transition. The state as of any revision can be read, and what is
        added to a log costs its own bytes, not those of what was added before.
    S10 A message is delivered once: to its tenant's open case with its correlation key, to the case that it starts, or to nobody,
        and then to the first case of that tenant with that key. A case that rests is woken by it in the same commit. A commit that has not seen
        a pending message raises News and changes nothing.
    S11 The rows of a transaction and its transition are one commit; where either is refused, nothing of both stands.
    S14 Events that are appended by themselves change nothing of their case: whoever has it in hand does not notice.
    S15 A schedule's first moment is kept as it was first told, and its last tick never goes back.
    S16 A definition is registered once, with the time at which it was seen first.
    S17 The state of a limit is changed in one piece: of two changes at the same time one sees what the other has made.
    S18 A claim takes the highest priority first, of one priority the tenants in turn, and of a tenant the longest due, however many
        cases another tenant has; it takes no more cases that need a limit than there is room for.
    S22 Cases that go, go whole: those that ended long enough ago and that nobody needs. Their numbers, and those of their
        events, are not given again.
    S23 What is erased is gone from the case, its events and its ledger; its keys are still recognised.
    S24 A blob is collected only when nothing refers to it and nobody has kept it since.
    S25 What an answer used is counted once, with the commit that tells of it: for its case, as long as that is kept, and for the day
        of that commit and the case's tenant, for ever.

A store that several engines share has leases, and one clock, its own, that decides about them and never runs backwards:
    S19 A running case whose engine's lease has passed is claimed like one that is due; a case of a live engine is not.
    S20 A lease that has passed is never renewed, and its engine claims nothing: LeaseLost. Its commits stand or fall by S3.
    S21 An engine gives back only what it has; the lease ends with its handle.

And of what a dead engine had in hand:
    S26 A handle knows the cases that it found running: in its file when that was opened, or under a lease that had passed.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeVar

from pointsman.definition.state import Blob
from pointsman.definition.transactions import Database
from pointsman.kernel.codec import digest
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.snapshot import Status

T = TypeVar("T")

BILLION = 10**9  # costs are counted in billionths: a token of the cheapest model costs more than one
ANY_ROOM: Mapping[str, int] = MappingProxyType({})
"""The room of limits that nobody keeps count of."""
NONE_KNOWN: Mapping[int, int] = MappingProxyType({})
"""No cases whose fields are known."""

Points = Callable[[str], None]
"""Called with a label wherever the engine touches the world; a test may die there."""


def no_points(label: str) -> None:
    """Do nothing: the points of an engine that nobody tests."""


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


class Post(NamedTuple):
    """A message to deliver: `body` is its JSON, `key` its identity, `urgent` whether a case that waits to retry takes it at once.

    Without a `case` it goes to the open case with its correlation key; `holds` keeps it until that one has ended, `apart`
    looks for none.
    """

    process: str
    name: str
    key: str | None
    correlation: str | None
    body: str
    at: float
    case: int | None = None
    urgent: bool = True
    holds: bool = False
    apart: bool = False
    tenant: str = ""


class Posted(NamedTuple):
    """What became of a post: its case, if it has one, whether it was a duplicate, and whether it started the case."""

    case: int | None
    status: MessageStatus
    duplicate: bool = False
    started: bool = False


class BranchWrite(NamedTuple):
    """Where a branch of a parallel step stands.

    Once it has ended, `outcome` is the JSON of what it wrote, per field, or `failure` that of its `Failure`. `reads` is
    the digest of what it read, `guard` how far its guard has come (JSON). A node that is a step by itself has a branch of its own
    name while its guard asks again.
    """

    name: str
    attempts: int
    wake_at: float | None
    outcome: str | None
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
    forgets the branches. `needs` names the limit that a ready case waits for, `migrated` the version that it now has. `erases` takes the case's
    content away (S23), and what the events said before. `usage` is that of the answers that its events tell of.
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
    branches: Sequence[BranchWrite] = ()
    ends_branches: bool = False
    erases: bool = False
    usage: Sequence[UsageWrite] = ()


class CaseRow(NamedTuple):
    """A case as it is stored. `step`, `rule` and `reason` say what it does or waits for, and why."""

    id: int
    process: str
    version: int
    key: str | None
    status: Status
    revision: int
    fence: int
    wake_at: float | None
    attempts: int
    steps: int
    step: str | None
    rule: str | None
    reason: str | None
    outcome: str | None
    created_at: float
    updated_at: float
    tenant: str = ""
    priority: int = 0
    correlation: str | None = None
    parent: int | None = None
    inbox: int = 0
    needs: str | None = None


class FieldRow(NamedTuple):
    """The value of a field, its last writer, and the revision of that write."""

    field: str
    text: str
    writer: str
    revision: int


class EventRow(NamedTuple):
    """An event as it is stored."""

    id: int
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
    closed: str | None
    closed_by: str | None
    closed_at: float | None
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


class BranchRow(NamedTuple):
    """A branch as it is stored."""

    name: str
    attempts: int
    wake_at: float | None
    outcome: str | None
    failure: str | None = None
    reads: str = ""
    guard: str | None = None


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


class ScheduleRow(NamedTuple):
    """A schedule as it is stored: its first moment, and the newest tick that is over (Unix seconds)."""

    process: str
    name: str
    since: float
    last: float


class DefinitionRow(NamedTuple):
    """A definition that an engine was opened with, and when it was seen first (Unix seconds)."""

    process: str
    version: int
    fingerprint: str
    seen_at: float


class WriteRow(NamedTuple):
    """One write of a field; `text` is None where it was cleared, and an array of items where the write `appends` them."""

    revision: int
    field: str
    text: str | None
    writer: str
    appends: bool = False


class Dossier(NamedTuple):
    """Everything that is stored of a case, as of one moment."""

    case: CaseRow
    writes: tuple[WriteRow, ...]
    events: tuple[EventRow, ...]
    effects: tuple[EffectRow, ...]
    pauses: tuple[PauseRow, ...]
    messages: tuple[MessageRow, ...]
    branches: tuple[BranchRow, ...]


class Collected(NamedTuple):
    """How many blobs went, and how many bytes they had."""

    blobs: int
    size: int


class Claimed(NamedTuple):
    """A case that now is this engine's, with all that is needed to go on; `fields` is None where the engine knows them."""

    case: CaseRow
    fields: tuple[FieldRow, ...] | None
    branches: tuple[BranchRow, ...]


class Reader(Protocol):
    """The looking half of a store. Every method may raise StoreError."""

    incarnation: str

    async def case(self, case: int) -> CaseRow | None:
        """One case, or None."""

    async def cases(self, *, process: str | None = None, status: Status | None = None, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases by number, from `after` on."""

    async def open_cases(self, *, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases that have not ended, by number, from `after` on."""

    async def versions(self, process: str) -> list[int]:
        """The versions of which this process has cases that are ready or waiting."""

    async def cases_of_version(self, process: str, version: int, *, limit: int = 1_000) -> list[CaseRow]:
        """Cases of one version that are ready or waiting."""

    async def definitions(self) -> list[DefinitionRow]:
        """The definitions that engines were opened with."""

    async def case_by_key(self, process: str, key: str, *, tenant: str = "") -> CaseRow | None:
        """The case that a tenant's start with this key made, or None."""

    async def counts(self) -> dict[Status, int]:
        """How many cases there are in each status."""

    async def fields(self, case: int, *, revision: int | None = None) -> tuple[FieldRow, ...]:
        """The value of each field, as of `revision` where it is given; fields that are cleared are left out."""

    async def events(self, *, after: int = 0, case: int | None = None, limit: int = 1_000) -> list[EventRow]:
        """Events by number, from `after` on."""

    async def effect(self, key: str) -> EffectRow | None:
        """The ledger's entry for an idempotency key, or None."""

    async def effects(self, case: int) -> list[EffectRow]:
        """The ledger's entries of a case, by the time of their intent."""

    async def in_doubt(self) -> list[EffectRow]:
        """The ledger's entries whose call may or may not have happened, of cases that nobody has in hand."""

    async def pause(self, case: int) -> PauseRow | None:
        """The last pause of a case, open or closed, or None."""

    async def pause_by_token(self, token: str) -> PauseRow | None:
        """The pause that a token belongs to, or None."""

    async def branches(self, case: int) -> tuple[BranchRow, ...]:
        """The branches of the case's parallel step."""

    async def messages(self, case: int) -> tuple[MessageRow, ...]:
        """What is pending for a case, in the order of arrival."""

    async def held(self, *, after: int = 0, limit: int = 1_000) -> list[MessageRow]:
        """Messages that were to wait until their case had ended, and it has, by number, from `after` on."""

    async def unmatched(self, *, limit: int = 1_000) -> list[MessageRow]:
        """Messages that no case has taken, in the order of arrival."""

    async def children(self, case: int) -> list[CaseRow]:
        """The cases that this case is the parent of."""

    async def usage_of_case(self, case: int) -> list[UsageRow]:
        """What the answers of a case used, per model (S25)."""

    async def usage_of_days(self, process: str, first: int, last: int, *, tenant: str | None = None) -> list[UsageRow]:
        """What the answers of a process used on these days (of UTC, counted since 1970), per day, tenant and model (S25)."""

    async def limits(self) -> dict[str, str]:
        """The state of each limit that was ever used, as `change_limit` has left it."""

    async def in_line(self, process: str, tenant: str | None, *, most: int) -> int:
        """How many cases of a process, or of one tenant of it, are ready or running; `most` ends the count."""

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None."""

    async def dossier(self, case: int) -> Dossier | None:
        """Everything that is stored of a case, or None."""


class Store(Reader, Protocol):
    """The writing half of a store. A handle belongs to one engine.

    `clock_high_water` is the highest time (Unix seconds) that an earlier engine has committed. `lease_seconds` is how
    long an engine has what it claimed without renewing; None where only one engine at a time can open the store.
    `left_running` are the cases that dead engines had in hand; who has gone on with one takes it out.
    """

    clock_high_water: float
    left_running: set[int]
    lease_seconds: float | None

    def reserve(self) -> int:
        """A number for a new case; one that is not used leaves a gap."""

    async def commit(self, transition: Transition) -> int:
        """Commit a transition and answer the case's number: its own, or for a start with a known key the earlier case's.

        Raises Conflict (S3, S7), News (S10), and StoreError where nothing was committed or nobody can tell.
        """

    async def transact(self, work: Callable[[Database], Transition]) -> int:
        """Run `work` on the store's own database and commit its rows together with the transition that it answers (S11).

        It may be run more than once, and only its last run is committed. Raises what `work` raises, and what `commit` raises.
        """

    async def post(
        self, post: Post, start: Transition | None = None, *, released: int | None = None, full: bool = False
    ) -> Posted | None:  # fmt: skip
        """Deliver a message (S10): to its case, or to a case that `start` makes of it where there is none, or to nobody yet.

        `released` is the number of a held message that this one is: it is delivered if it is still held, and keeps its number and
        its key. Where the intake is `full`, nothing is kept of a message that would start a case, and the answer is None. Raises
        StoreError.
        """

    async def register(self, definitions: Sequence[DefinitionRow]) -> None:
        """Note definitions that are not known yet (S16)."""

    async def append(self, case: int, events: Sequence[EventWrite], *, at: float, usage: Sequence[UsageWrite] = ()) -> None:
        """Append events that change nothing of their case (S14), under the revision that it has; and what their answers used."""

    async def claim(
        self, processes: Sequence[str], *, now: float, limit: int, room: Mapping[str, int] = ANY_ROOM, known: Mapping[int, int] = NONE_KNOWN
    ) -> list[Claimed]:  # fmt: skip
        """Claim up to `limit` cases of these processes that are due at `now`, ready or waiting, in the order of S18.

        `room` says of limits how many cases that need them may be claimed; one that it does not name is not counted. With
        leases also running cases whose lease has passed by the store's own clock are claimed. The fields of cases that are
        still at the revision that is `known` are not read. Raises LeaseLost.
        """

    async def next_wake(self, processes: Sequence[str], *, closed: Collection[str] = ()) -> float | None:
        """When the next case of these processes can be claimed (Unix seconds), as far as is known now, or None.

        Cases that need one of the limits in `closed` are left out.
        """

    async def change_limit(self, name: str, change: Callable[[str | None], tuple[str, T]]) -> T:
        """Replace the state of a limit by what `change` makes of it (S17), None at the first time; answers what it answers.

        `change` is a pure function: it may be called in any thread, and again.
        """

    async def release(self, cases: Sequence[int], *, now: float) -> None:
        """Give running cases back unharmed: they are ready again, and the attempt that was cut short does not count."""

    async def count_attempt(self, case: int, fence: int, by: int) -> None:
        """Add to the attempts of a running case that is in hand under this fence: a call of it waits (-1), or begins (1)."""

    async def renew(self) -> float:
        """Prolong this engine's lease by `lease_seconds` from now; answers the store's time (Unix seconds).

        Only asked of a store that has leases. Raises LeaseLost where it has passed already.
        """

    async def keep(self, content: bytes, *, now: float) -> Blob:
        """Store a blob by its content; one that is there already is not written again, but counts as kept now."""

    async def outcomes(self, process: str) -> list[str]:
        """The outcomes of the cases of a process that are done, each once."""

    async def expire(self, process: str, outcome: str | None, *, before: float, at: float, limit: int) -> int:
        """Delete up to `limit` cases with this outcome (None: cancelled) that ended before that time; answers how many (S22).

        A case stays while an effect of it is in doubt, its parent or a child is open, or a message waits for its end.
        """

    async def collect_blobs(self, *, before: float) -> Collected:
        """Delete the blobs kept before that time that nothing refers to (S24)."""

    async def compact(self) -> int:
        """Give unused space back, and answer how many bytes; nothing is written meanwhile."""

    async def schedule(self, process: str, name: str, *, now: float) -> ScheduleRow:
        """Where a schedule stands; one that is not known yet begins `now`."""

    async def ticked(self, process: str, name: str, tick: float) -> None:
        """Note that this tick of a schedule is over, and every one before it."""

    def closing(self) -> None:
        """The engine is about to close: what waits for another program to let go of the store fails, with StoreLocked."""

    async def close(self) -> None:
        """Finish what was handed in, and let go of the file."""


def erased_key(incarnation: str, process: str, name: str, key: str) -> str:
    """What stays of an erased key: enough to recognise it when it comes again. `name` is a message's, and empty for a start."""
    return digest((incarnation, process, name, key))
