"""What a store is, and what it promises.

Words
    case        one run of a process, known by its number
    revision    the number of committed transitions of a case; every transition raises it by one
    fence       the number of times a case was claimed; an engine with an older fence has lost the case
    transition  everything that one step changes, committed together or not at all
    claim       take cases that are due, so that no other engine works on them
    lease       on a store that several engines share: the time for which an engine owns its claims
    ledger      the effects: for each idempotency key an intent, then its outcome

Promises (tests/store runs each against each store)
    S1  A commit is atomic: it writes status, fields, events, intent, settlement, pause and branches together, or nothing.
    S2  A commit returns only when it is durable.
    S3  A commit at another revision or fence than the case has raises Conflict and changes nothing.
    S4  Of a tenant's starts with one key in one process, the first creates the case; each later one gets that case's number.
        A number is reserved for one handle only.
    S5  A case that is due (ready, or waiting with a timer) is claimed once. The claim raises its fence and counts an attempt.
        An attempt that a crash or a release cut short does not count. A crash counts as an interruption instead, unless
        the case was marked as waiting. A transition sets the number of interruptions.
    S6  A pause is open until its case moves; it is answered at most once.
    S7  An intent has a new key, or renews an open intent on purpose (`again`); otherwise the commit raises Conflict.
    S8  Events are read in the order of their commits. No event ever appears before a cursor that has been read.
        `events` of all cases may show an event some time after its commit; those of one case, `events_of` and `dossier` show it at
        once. A cursor goes on where it was read: in all cases, or in that case.
    S9  A reader sees committed data only, never a part of a transition. The state as of any revision can be read. Adding to a
        log writes only what was added, not the whole log.
    S10 A message is delivered once: to its tenant's open case with its correlation key (of several, the one that started last), to
        the case that it starts, or else later to the first case of that tenant with that key. The same commit wakes a resting
        case. A commit that has not seen a pending message raises InboxChanged and changes nothing.
    S11 The rows of a transaction and its transition are one commit; if either is refused, neither is written.
    S14 Appending events alone changes nothing else of their case and does not disturb an engine that is running it.
    S15 A schedule keeps the first moment that it was given, and its last tick never goes back.
    S16 A definition is registered once, with the time at which it was first seen. A field that is registered as private stays so.
    S17 Taking or returning a permit is atomic: of two changes of a limit at the same time, the later one sees the earlier one.
    S18 A claim takes the highest priority first; within a priority it takes tenants in turn, and of each tenant the case that is
        due longest. It takes no more cases that need a limit than the limit has room for.
    S22 Expiry deletes whole cases: those that ended long enough ago and that nothing needs. Their numbers and the cursors of
        their events are never used again.
    S23 Erased content is gone from the case, its events and its ledger; its keys are still recognised.
    S24 A blob is collected only when nothing refers to it and nobody has kept it since.
    S25 Usage is counted once, in the commit that records the response: for its case, until the case is deleted, and permanently for
        the day of that commit and the case's tenant.
    S28 A paused intake stays paused, for every handle, until it is resumed.
    S29 A query finds exactly the cases that fit it. From page to page no case comes twice and none is left out, unless it changes
        meanwhile. The counts of cases are those of the last commit. What is erased or expired is found by nothing any more. None of
        this reads all cases.

A store that several engines share has leases. The store's own clock, which never runs backwards, decides when they expire:
    S19 A running case whose engine's lease has expired is claimed like one that is due; a case of a live engine is not.
    S20 An expired lease is never renewed, and its engine can claim nothing (LeaseLost). S3 still guards its commits.
    S21 An engine releases only its own cases; its lease ends when its handle closes.
    S27 When an engine commits, the others are notified. Unread notifications merge into one, and one may be lost with a
        connection: only the delay until an engine sees a change depends on them.
    S33 An engine that has announced which versions it accepts claims the cases of no other version.
    S34 A subscriber's turn belongs to one engine as long as that has its lease, and only that engine moves the subscriber's cursor.
        A gap of a subscriber stays until it is changed.

    S30 to S32 are about the checkpoints of LangGraph threads; store/checkpoints.py has them.

The parts, each with its user; `Store` is their sum, and pointsman.testing.conformance has the tests of each
    CaseStore        the scheduler and the runner: start, claim and move cases
    MessageStore     starts: deliver messages
    LimitStore       limits: permits, rates and breakers, shared by all engines
    ScheduleStore    schedules: which ticks are over
    RetentionStore   retention: delete expired cases and unused blobs
    IntakeStore      the intake: whether it is paused
    SubscriberStore  subscribers: how far each has read the events, what it has given up, and which engine reads for it
    DefinitionStore  the version gate: which definitions have been used
    SharedStore      the lease, and notifications from other engines
    CheckpointStore  pointsman.integrations.langgraph: keep the checkpoints of LangGraph threads (store/checkpoints.py)
    Reader           operators: read everything, change nothing

Every method that may need a server is asynchronous. The attributes `incarnation`, `lease_seconds` and `clock_high_water` are set
when the store is opened and do not change. The store runs no function of the engine, except an author's transaction.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from pointsman.definition.state import Blob
from pointsman.definition.transactions import Database
from pointsman.kernel.codec import digest
from pointsman.kernel.limits import LimitChange, LimitChanged, LimitState
from pointsman.kernel.rows import (
    BranchRow,
    CaseRow,
    EffectRow,
    EventRow,
    EventWrite,
    FieldRow,
    MessageRow,
    MessageStatus,
    PauseRow,
    Post,
    Transition,
    UsageRow,
    UsageWrite,
)
from pointsman.kernel.snapshot import Status
from pointsman.store.checkpoints import CheckpointStore
from pointsman.store.gaps import Gap, GapChange
from pointsman.store.query import CaseCount, CasePage, CaseQuery

ANY_ROOM: Mapping[str, int] = MappingProxyType({})
"""No bounds on the cases to claim."""
NONE_KNOWN: Mapping[int, int] = MappingProxyType({})
"""No case whose fields the caller already has."""

Failpoints = Callable[[str], None]
"""Called with a label wherever the engine touches the outside world, so that a test can crash it there."""


def no_failpoints(label: str) -> None:
    """Do nothing: the failpoints of an engine outside tests."""


class Posted(NamedTuple):
    """The result of a post: the message's case, if any, its status, whether it was a duplicate, and whether it started the case."""

    case: int | None
    status: MessageStatus
    duplicate: bool = False
    started: bool = False


class ScheduleRow(NamedTuple):
    """A stored schedule: its first moment, and the newest tick that is over (Unix seconds)."""

    process: str
    name: str
    since: float
    last: float


class DefinitionRow(NamedTuple):
    """A definition that an engine was opened with, and when it was first seen (Unix seconds)."""

    process: str
    version: int
    fingerprint: str
    seen_at: float


class PrivateField(NamedTuple):
    """A field of a process that is declared as `Private`, or was when an engine was opened."""

    process: str
    field: str


class IntakePaused(NamedTuple):
    """Who paused the intake, why, and when (Unix seconds)."""

    by: str
    why: str
    at: float


class WriteRow(NamedTuple):
    """One write of a field. `text` is None if the write cleared it, and a JSON array of items if the write `appends` them."""

    revision: int
    field: str
    text: str | None
    writer: str
    appends: bool = False


class Dossier(NamedTuple):
    """Everything stored about a case, as of one moment."""

    case: CaseRow
    writes: tuple[WriteRow, ...]
    events: tuple[EventRow, ...]
    effects: tuple[EffectRow, ...]
    pauses: tuple[PauseRow, ...]
    messages: tuple[MessageRow, ...]
    branches: tuple[BranchRow, ...]


Place = tuple[float, int]
"""A place among ended cases: the time of the end, and the case's number."""

FIRST: Place = (0.0, 0)


class Expired(NamedTuple):
    """How many cases a slice of a pass deleted, and the `place` where the next slice begins, or None after the last one."""

    cases: int
    place: Place | None


class Collected(NamedTuple):
    """How many blobs were deleted, and their size in bytes."""

    blobs: int
    size: int


class Claimed(NamedTuple):
    """A case that this engine has claimed, with everything needed to run it; `fields` is None if the engine has them already."""

    case: CaseRow
    fields: tuple[FieldRow, ...] | None
    branches: tuple[BranchRow, ...]


class Engines(NamedTuple):
    """The engines that have the database open: whether there is one, and the `runner` of a case, by name, or None if no engine runs it.

    A runner that is `lost` is gone, and others may take over its cases from `lease_until` on (Unix seconds), or at once where it is None.
    """

    open: bool
    runner: str | None = None
    lost: bool = False
    lease_until: float | None = None


class CaseReader(Protocol):
    """Read one case and what belongs to it.

    `incarnation` identifies the database. It is set when the store is opened, and is a part of every idempotency key. A mirror has an empty one: each of its
    cases runs elsewhere with an incarnation of its own, and only the last value of each field is there.
    """

    incarnation: str

    async def case(self, case: int) -> CaseRow | None:
        """The case with this number, or None."""

    async def case_by_key(self, process: str, key: str, *, tenant: str = "") -> CaseRow | None:
        """The case that a tenant's start with this key created, or None."""

    async def fields(self, case: int, *, revision: int | None = None) -> tuple[FieldRow, ...]:
        """The fields that have a value, ordered by name, as of `revision` if it is given (S9)."""

    async def events(self, *, after: str = "", case: int | None = None, limit: int = 1_000) -> list[EventRow]:
        """Up to `limit` events after the cursor `after`, of all cases or of one, in the order of their commits (S8).

        The empty cursor is before all events. Raises ValueRefused for a cursor that no event of this store can have.
        """

    async def events_of(self, cases: Sequence[int]) -> list[EventRow]:
        """All committed events of these cases, in the order of their commits, also those that `events` does not show yet (S8)."""

    async def effect(self, key: str) -> EffectRow | None:
        """The ledger's entry for an idempotency key, or None."""

    async def effects(self, case: int) -> list[EffectRow]:
        """The ledger's entries of a case, ordered by the time of their intent."""

    async def pause(self, case: int) -> PauseRow | None:
        """The last pause of a case, open or closed, or None."""

    async def pause_by_token(self, token: str) -> PauseRow | None:
        """The pause with this token, or None."""

    async def branches(self, case: int) -> tuple[BranchRow, ...]:
        """The branches of the case's parallel step."""

    async def messages(self, case: int) -> tuple[MessageRow, ...]:
        """The pending messages of a case, in the order of arrival."""

    async def children(self, case: int) -> list[CaseRow]:
        """The children of this case."""

    async def usage_of_case(self, case: int) -> list[UsageRow]:
        """The usage of a case, per model (S25)."""

    async def usage_of_days(self, process: str, first: int, last: int, *, tenant: str | None = None) -> list[UsageRow]:
        """The usage of a process on these days (UTC days since 1970), per day, tenant and model (S25)."""

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None."""

    async def dossier(self, case: int) -> Dossier | None:
        """Everything stored about a case, as of one moment, or None."""

    async def engines(self, case: int) -> Engines:
        """Whether an engine has the database open, and the one that runs this case."""


class MessageReader(Protocol):
    """Read messages that are in no case's inbox."""

    async def held(self, *, after: int = 0, limit: int = 1_000) -> list[MessageRow]:
        """Held messages whose case has ended, ordered by number, after the message with the number `after`."""

    async def unmatched(self, *, limit: int = 1_000) -> list[MessageRow]:
        """Messages that match no case yet, in the order of arrival."""


class LimitReader(Protocol):
    """Read the states of limits."""

    async def limits(self) -> dict[str, LimitState]:
        """The state of each limit that has been used, by name."""


class Reader(CaseReader, MessageReader, LimitReader, Protocol):
    """Read all cases: for operators and their tools. Nothing here writes. Every method may raise StoreError."""

    async def cases(self, *, process: str | None = None, status: Status | None = None, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases ordered by number, after the case with the number `after`."""

    async def open_cases(self, *, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases that have not ended, ordered by number, after the case with the number `after`."""

    async def versions(self, process: str) -> list[int]:
        """The versions of this process's cases that are ready or waiting."""

    async def cases_of_version(self, process: str, version: int, *, limit: int = 1_000) -> list[CaseRow]:
        """Cases of one version that are ready or waiting."""

    async def definitions(self) -> list[DefinitionRow]:
        """The definitions that engines were opened with."""

    async def private(self) -> list[PrivateField]:
        """The private fields of all processes that engines were opened with."""

    async def find(self, query: CaseQuery, *, after: str = "", limit: int = 100) -> CasePage:
        """A page of up to `limit` cases that fit a query, in its order, behind the cursor `after` (S29).

        Raises ValueRefused for a cursor that is not of this order.
        """

    async def counts(self) -> dict[Status, int]:
        """How many cases there are in each status, without counting them (S29)."""

    async def count_places(self, *, process: str | None = None) -> list[CaseCount]:
        """How many cases there are in each process, status and place, without counting them (S29)."""

    async def newest_events(self, *, limit: int) -> list[EventRow]:
        """At most `limit` of the newest events, in the order of their commits. There may be fewer although there are earlier ones."""

    async def cases_of(self, cases: Collection[int]) -> list[CaseRow]:
        """The cases with these numbers, ordered by number; a number without a case is left out."""

    async def fields_of(self, cases: Collection[int], names: Collection[str]) -> dict[int, tuple[FieldRow, ...]]:
        """The fields with these names that have a value, ordered by name, by case; a case without any is left out (S9).

        One read, however many cases there are.
        """

    async def writes_of(self, cases: Collection[int]) -> dict[int, tuple[WriteRow, ...]]:
        """All writes of the fields of these cases, ordered by revision, then by field, by case; a case without any is left out (S9).

        One read, however many cases there are.
        """

    async def effects_of(self, cases: Collection[int]) -> list[EffectRow]:
        """The ledger's entries of these cases, ordered by case, then by the time of their intent."""

    async def count_waiting(self, edges: Sequence[float], *, most: int) -> list[int]:
        """How many pauses that a person can answer opened between each two of these times (Unix seconds, rising).

        Each count stops at `most`.
        """

    async def in_doubt(self) -> list[EffectRow]:
        """The effects in doubt: their call may or may not have happened, and no engine is running their case."""

    async def backlog(self, process: str, tenant: str | None, *, most: int) -> int:
        """The number of cases of a process, or of one of its tenants, that are ready or running; the count stops at `most`."""

    async def intake_paused(self) -> IntakePaused | None:
        """Who paused the intake; None if it is not paused (S28)."""

    async def gaps(self) -> list[Gap]:
        """What the subscribers have given up, by their names, the oldest of each first."""


class CaseStore(CaseReader, Protocol):
    """Start, claim and move cases. Every method may raise StoreError: nothing was committed, or it is unknown whether it was."""

    async def reserve(self, count: int) -> range:
        """Reserve numbers for `count` new cases. Unused numbers leave a gap.

        The numbers of one handle rise; those of two handles do not show which case started first.
        """

    def commit(self, transition: Transition) -> Awaitable[int]:
        """Commit a transition and return the case's number; for a start with a known key, the earlier case's (S4).

        Raises Conflict (S3, S7) and InboxChanged (S10).
        """

    async def transact(self, work: Callable[[Database], Transition]) -> int:
        """Run `work` on the store's database and commit its rows together with the transition that it returns (S11).

        `work` may run more than once; only its last run is committed. Raises what `work` raises and what `commit` raises.
        """

    async def append(self, case: int, events: Sequence[EventWrite], *, at: float, usage: Sequence[UsageWrite] = ()) -> None:
        """Append events at the case's current revision without changing the case (S14), and count their usage.

        `at` is in Unix seconds.
        """

    async def claim(
        self, processes: Sequence[str], *, now: float, limit: int, room: Mapping[str, int] = ANY_ROOM, known: Mapping[int, int] = NONE_KNOWN
    ) -> list[Claimed]:  # fmt: skip
        """Claim up to `limit` cases of these processes that are due at `now` (Unix seconds), in the order of S18.

        `room` bounds, for each limit, how many cases that need it are claimed; a limit that it does not name is unbounded. With
        leases, running cases whose lease has expired are claimed, too. `known` maps cases to revisions whose fields the caller
        already has: the store does not read them again while the case is at that revision. Raises LeaseLost.
        """

    async def next_wake(self, processes: Sequence[str], *, closed: Collection[str] = ()) -> float | None:
        """The earliest time (Unix seconds) at which a case of these processes can be claimed, as known now, or None.

        Cases that need one of the limits in `closed` are left out.
        """

    async def release(self, cases: Sequence[int], *, now: float) -> None:
        """Release running cases: they become ready at `now` (Unix seconds), and the attempt that was cut short does not count."""

    async def mark_waiting(self, case: int, fence: int, waiting: bool) -> None:
        """Mark whether all calls of a case claimed under this fence are waiting: a crash is then no interruption (S5).

        The next claim, release or transition of the case clears the mark.
        """

    async def keep(self, content: bytes, *, now: float) -> Blob:
        """Store a blob under the digest of its content. The same content is stored once; `now` (Unix seconds) renews its time."""


class MessageStore(CaseReader, MessageReader, Protocol):
    """Deliver messages to cases."""

    async def post(
        self, post: Post, start: Transition | None = None, *, released: int | None = None, full: bool = False
    ) -> Posted | None:  # fmt: skip
        """Deliver a message (S10) to its case, or to the case that `start` creates if there is none; else keep it for a later case.

        To release a held message, give its number as `released`: it is delivered if it is still held, and keeps its number
        and its key. If the intake is `full`, a message that would start a case is not stored, and the result is None. Raises
        StoreError.
        """


class DefinitionStore(Reader, Protocol):
    """Register the definitions that engines are opened with."""

    async def register(self, definitions: Sequence[DefinitionRow], private: Sequence[PrivateField] = ()) -> None:
        """Store the definitions and the private fields that are not known yet (S16). Raises StoreError."""


class LimitStore(LimitReader, Protocol):
    """Share limits among all engines on the store."""

    async def change_limit(self, change: LimitChange) -> LimitChanged:
        """Take or return a permit, and return the new state of the limit (S17).

        `kernel.limits.changed` computes the result; the state of a limit that was never used is `LimitState()`. A store may keep
        the state in another form if the results are the same. Raises StoreError.
        """


class ScheduleStore(Protocol):
    """Remember how far schedules have come. Times are Unix seconds. Every method may raise StoreError."""

    async def schedule(self, process: str, name: str, *, now: float) -> ScheduleRow:
        """The position of a schedule; a new schedule begins at `now` (S15)."""

    async def ticked(self, process: str, name: str, tick: float) -> None:
        """Record that this tick of a schedule and all earlier ones are over (S15)."""


class RetentionStore(Protocol):
    """Delete expired cases and unused blobs. Times are Unix seconds. Every method may raise StoreError."""

    async def outcomes(self, process: str) -> list[str]:
        """The outcomes of the cases of a process that are done, each once."""

    async def expire(
        self, process: str, outcome: str | None, *, before: float, at: float, limit: int, after: Place = FIRST
    ) -> Expired:  # fmt: skip
        """Look at the next `limit` cases with this outcome (None: cancelled) that ended before `before`, and delete them (S22).

        A case stays while one of its effects is in doubt, its parent or a child is open, or a message is held until it ends. A pass
        begins at the first case and goes on `after` the place of the last slice, so that no slice looks at the cases that stay again.
        """

    async def collect_blobs(self, *, before: float) -> Collected:
        """Delete the blobs last kept before `before` that nothing refers to (S24)."""

    async def compact(self) -> int:
        """Return unused space to the system, and the number of bytes freed, or 0 if the store cannot. Writes go on meanwhile."""


class IntakeStore(Reader, Protocol):
    """Remember that the intake is paused."""

    async def pause_intake(self, paused: IntakePaused | None) -> None:
        """Store that the intake is paused, or with None that it is not (S28). Raises StoreError."""


class SubscriberStore(Reader, Protocol):
    """Remember how far subscribers have read the events. Every method may raise StoreError."""

    async def take_turn(self, subscriber: str, *, begin: str) -> str | None:
        """Take the turn of a subscriber for this engine, and return the cursor after which it goes on (S34).

        A new subscriber begins after the cursor `begin`. The result is None while another engine has the turn.
        """

    async def advance(self, subscriber: str, cursor: str) -> bool:
        """Store that a subscriber has read up to this cursor. Returns False, and stores nothing, if this engine has lost the turn."""

    async def change_gaps(self, subscriber: str, change: GapChange) -> None:
        """Store what `change` makes of the gaps of a subscriber. It may be called again, with what is stored then."""


class SharedStore(Protocol):
    """Share the store with other engines.

    `lease_seconds` is how long an engine keeps its claims without renewing its lease; None if only one engine at a time can open the
    store.
    """

    lease_seconds: float | None

    async def renew(self) -> float:
        """Extend this engine's lease to `lease_seconds` from now, and return the store's time (Unix seconds).

        Only for a store that has leases. Raises LeaseLost if the lease has expired (S20), and StoreError.
        """

    async def announce(self, accepts: Mapping[str, Collection[int]]) -> None:
        """Announce for each process which versions of its cases this engine accepts: it claims no others (S33).

        Until then an engine claims any version. Only for a store that has leases.
        """

    async def announced(self) -> Collection[tuple[str, int]]:
        """The processes and versions that some engine with a lease accepts."""

    def notifications(self) -> AsyncGenerator[None, None]:
        """Yield each time another engine has committed, and end when no more notifications can come (S27).

        An unread notification stands for all later ones. Raises StoreError.
        """


class Store(
    CaseStore, MessageStore, DefinitionStore, LimitStore, ScheduleStore, RetentionStore, IntakeStore, SubscriberStore, SharedStore, Protocol
):  # fmt: skip
    """All parts of a store. A handle belongs to one engine, which opens it inside its event loop and closes it."""

    @property
    def clock_high_water(self) -> float:
        """The highest time (Unix seconds) that was committed before the store was opened."""

    @property
    def checkpoints(self) -> CheckpointStore:
        """The checkpoints of LangGraph threads. Unlike the rest of the store, it may be called from any thread."""

    @property
    def reader(self) -> Reader:
        """The reading half, for reads that may take long: they do not delay the event loop. They see what was committed before."""

    def closing(self) -> None:
        """Announce that the engine is about to close: a commit that waits for another program's lock fails with StoreLocked."""

    async def close(self) -> None:
        """Finish the commits in progress, end the engine's lease (S21) and close the handle."""


def erased_key(incarnation: str, process: str, name: str, key: str) -> str:
    """The digest that is kept of an erased key, to recognise it when it comes again. `name` is the message's, or empty for a start."""
    return digest((incarnation, process, name, key))
