"""What a store is, and what it promises.

Words
    case        one run of a process, known by its number
    revision    the number of committed transitions of a case; every transition raises it by one
    fence       the number of times a case was claimed; an engine with an older one has lost the case
    transition  everything that one step changes, committed together or not at all
    claim       take cases that are ready and due, so that nobody else has them
    lease       on a store that several engines share: the time for which an engine has what it claimed
    ledger      the effects: for each idempotency key an intent, then its outcome

Promises (tests/store runs each against each store)
    S1  A commit is whole: status, fields, events, intent, settlement, pause and branches together, or none of them.
    S2  A commit is durable before it is answered, and answered in one piece.
    S3  A commit against another revision or fence than the case has raises Conflict and changes nothing.
    S4  Of a tenant's starts with one key in one process, the first makes the case; every other one is told its number. A number is
        reserved for one handle only.
    S5  A case that is due, ready or waiting with a timer, is claimed once; the claim raises its fence and counts an attempt.
        An attempt that an engine's end or a release cut short does not count; an engine's end is an interruption instead, unless
        the case was marked as waiting. A transition says how many interruptions the case keeps.
    S6  A pause is open until its case moves; it is answered at most once.
    S7  An intent is new to the ledger, or takes up the standing one on purpose (`again`); otherwise it is a Conflict.
    S8  Events are read in the order of their commits. Whoever has read up to a cursor has missed no event before it, and never will.
    S9  What is read is what was committed: never a part of a transition. The state as of any revision can be read, and what is
        added to a log costs its own bytes, not those of what was added before.
    S10 A message is delivered once: to its tenant's open case with its correlation key, of several the one that started last; to the
        case that it starts; or to nobody, and then to the first case of that tenant with that key. A case that rests is woken by it
        in the same commit. A commit that has not seen a pending message raises InboxChanged and changes nothing.
    S11 The rows of a transaction and its transition are one commit; where either is refused, nothing of both stands.
    S14 Events that are appended by themselves change nothing of their case. An engine that has it in hand does not notice.
    S15 A schedule's first moment is kept as it was first told, and its last tick never goes back.
    S16 A definition is registered once, with the time at which it was seen first.
    S17 A permit is taken or given back in one piece: of two changes of a limit at the same time, one sees what the other has made.
    S18 A claim takes the highest priority first, of one priority the tenants in turn, and of a tenant the longest due, however many
        cases another tenant has; it takes no more cases that need a limit than there is room for.
    S22 Cases that go, go whole: those that ended long enough ago and that nobody needs. Their numbers, and the cursors of their
        events, are not given again.
    S23 What is erased is gone from the case, its events and its ledger; its keys are still recognised.
    S24 A blob is collected only when nothing refers to it and nobody has kept it since.
    S25 What an answer used is counted once, with the commit that tells of it: for its case, as long as that is kept, and for the day
        of that commit and the case's tenant, for ever.

A store that several engines share has leases, and one clock, its own, that decides about them and never runs backwards:
    S19 A running case whose engine's lease has passed is claimed like one that is due; a case of a live engine is not.
    S20 A lease that has passed is never renewed, and its engine claims nothing: LeaseLost. Its commits stand or fall by S3.
    S21 An engine gives back only what it has; the lease ends with its handle.
    S27 What an engine commits, the others are notified of. Notifications that are not fetched yet become one, and one may be lost,
        as with a connection: nothing depends on it but how soon something is seen.

The parts, each by who needs it; `Store` is their sum, and pointsman.testing.conformance has the tests of each
    CaseStore        the scheduler and the loop: start, claim and move cases
    MessageStore     starts: deliver messages
    LimitStore       limits: permits, rates and breakers, shared by all engines
    ScheduleStore    schedules: which ticks are over
    RetentionStore   retention: delete what was kept long enough
    DefinitionStore  the version gate: which definitions there were
    SharedStore      the lease, and notifications from other engines
    Reader           operators: look at everything, change nothing

Everything that may have to ask a server is asynchronous. The attributes `incarnation`, `lease_seconds` and `clock_high_water` are read
when the store is opened, and do not change. No function of the engine is run inside the store, except an author's transaction.
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

ANY_ROOM: Mapping[str, int] = MappingProxyType({})
"""The room of limits that nobody keeps count of."""
NONE_KNOWN: Mapping[int, int] = MappingProxyType({})
"""No cases whose fields are known."""

Failpoints = Callable[[str], None]
"""Called with a label wherever the engine touches the world; a test may die there."""


def no_failpoints(label: str) -> None:
    """Do nothing: the failpoints of an engine that nobody tests."""


class Posted(NamedTuple):
    """What became of a post: its case, if it has one, whether it was a duplicate, and whether it started the case."""

    case: int | None
    status: MessageStatus
    duplicate: bool = False
    started: bool = False


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


class CaseReader(Protocol):
    """Read one case and what belongs to it.

    `incarnation` is the database's own name, known from the opening on; it is a part of every idempotency key.
    """

    incarnation: str

    async def case(self, case: int) -> CaseRow | None:
        """The case with this number, or None."""

    async def case_by_key(self, process: str, key: str, *, tenant: str = "") -> CaseRow | None:
        """The case that a tenant's start with this key made, or None."""

    async def fields(self, case: int, *, revision: int | None = None) -> tuple[FieldRow, ...]:
        """The fields that have a value, by name; as of `revision`, if it is given (S9)."""

    async def events(self, *, after: str = "", case: int | None = None, limit: int = 1_000) -> list[EventRow]:
        """Up to `limit` events in the order of their commits (S8), of all cases or of one, behind the event with the cursor `after`.

        The empty cursor is before all events. Raises ValueRefused for a cursor that no event of this store can have.
        """

    async def effect(self, key: str) -> EffectRow | None:
        """The ledger's entry for an idempotency key, or None."""

    async def effects(self, case: int) -> list[EffectRow]:
        """The ledger's entries of a case, by the time of their intent."""

    async def pause(self, case: int) -> PauseRow | None:
        """The last pause of a case, open or closed, or None."""

    async def pause_by_token(self, token: str) -> PauseRow | None:
        """The pause with this token, or None."""

    async def branches(self, case: int) -> tuple[BranchRow, ...]:
        """The branches of the case's parallel step."""

    async def messages(self, case: int) -> tuple[MessageRow, ...]:
        """The pending messages of a case, in the order of arrival."""

    async def children(self, case: int) -> list[CaseRow]:
        """The cases that this case is the parent of."""

    async def usage_of_case(self, case: int) -> list[UsageRow]:
        """What the answers of a case used, per model (S25)."""

    async def usage_of_days(self, process: str, first: int, last: int, *, tenant: str | None = None) -> list[UsageRow]:
        """What the answers of a process used on these days (of UTC, counted since 1970), per day, tenant and model (S25)."""

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None."""

    async def dossier(self, case: int) -> Dossier | None:
        """Everything that is stored of a case, as of one moment, or None."""


class MessageReader(Protocol):
    """Read messages that are in no case's inbox."""

    async def held(self, *, after: int = 0, limit: int = 1_000) -> list[MessageRow]:
        """Held messages whose case has ended, by number, behind the message with the number `after`."""

    async def unmatched(self, *, limit: int = 1_000) -> list[MessageRow]:
        """Messages that no case has taken, in the order of arrival."""


class LimitReader(Protocol):
    """Read the states of limits."""

    async def limits(self) -> dict[str, LimitState]:
        """The state of each limit that was ever used, by name."""


class Reader(CaseReader, MessageReader, LimitReader, Protocol):
    """Look at all cases: for operators and their tools. Nothing here writes. Every method may raise StoreError."""

    async def cases(self, *, process: str | None = None, status: Status | None = None, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases by number, behind the case with the number `after`."""

    async def open_cases(self, *, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases that have not ended, by number, behind the case with the number `after`."""

    async def versions(self, process: str) -> list[int]:
        """The versions of which this process has cases that are ready or waiting."""

    async def cases_of_version(self, process: str, version: int, *, limit: int = 1_000) -> list[CaseRow]:
        """Cases of one version that are ready or waiting."""

    async def definitions(self) -> list[DefinitionRow]:
        """The definitions that engines were opened with."""

    async def counts(self) -> dict[Status, int]:
        """How many cases there are in each status."""

    async def in_doubt(self) -> list[EffectRow]:
        """The ledger's entries whose call may or may not have happened, of cases that nobody has in hand."""

    async def in_line(self, process: str, tenant: str | None, *, most: int) -> int:
        """How many cases of a process, or of one tenant of it, are ready or running; `most` ends the count."""


class CaseStore(CaseReader, Protocol):
    """Start, claim and move cases. Every method may raise StoreError, which says that nothing was committed or that nobody can tell."""

    async def reserve(self, count: int) -> range:
        """Numbers for `count` new cases, given to nobody else. Those that are not used leave a gap.

        The numbers of one handle rise; those of two handles do not tell which case started first.
        """

    def commit(self, transition: Transition) -> Awaitable[int]:
        """Commit a transition and answer the case's number: its own, or for a start with a known key the earlier case's (S4).

        Raises Conflict (S3, S7) and InboxChanged (S10).
        """

    async def transact(self, work: Callable[[Database], Transition]) -> int:
        """Run `work` on the store's own database and commit its rows together with the transition that it answers (S11).

        It may be run more than once, and only its last run is committed. Raises what `work` raises, and what `commit` raises.
        """

    async def append(self, case: int, events: Sequence[EventWrite], *, at: float, usage: Sequence[UsageWrite] = ()) -> None:
        """Append events that change nothing of their case (S14), under its present revision, and count what their answers used.

        `at` is in Unix seconds.
        """

    async def claim(
        self, processes: Sequence[str], *, now: float, limit: int, room: Mapping[str, int] = ANY_ROOM, known: Mapping[int, int] = NONE_KNOWN
    ) -> list[Claimed]:  # fmt: skip
        """Claim up to `limit` cases of these processes that are due at `now` (Unix seconds), in the order of S18.

        `room` says, per limit, how many cases that need it may be claimed; a limit that it does not name is not counted. With
        leases, running cases whose lease has passed are claimed, too. `known` has the revisions of cases whose fields the caller
        has: those fields are not read if the case is still at that revision. Raises LeaseLost.
        """

    async def next_wake(self, processes: Sequence[str], *, closed: Collection[str] = ()) -> float | None:
        """When the next case of these processes can be claimed (Unix seconds), as far as is known now, or None.

        Cases that need one of the limits in `closed` are left out.
        """

    async def release(self, cases: Sequence[int], *, now: float) -> None:
        """Give running cases back: they are ready again at `now` (Unix seconds), and the attempt that was cut short does not count."""

    async def mark_waiting(self, case: int, fence: int, waiting: bool) -> None:
        """Note whether all calls of a case that is in hand under this fence wait: the engine's end is no interruption then (S5).

        The next claim, release or transition of the case takes the mark away.
        """

    async def keep(self, content: bytes, *, now: float) -> Blob:
        """Store a blob by its content at `now` (Unix seconds). The same content is stored once, and counts as kept `now`."""


class MessageStore(CaseReader, MessageReader, Protocol):
    """Deliver messages to cases."""

    async def post(
        self, post: Post, start: Transition | None = None, *, released: int | None = None, full: bool = False
    ) -> Posted | None:  # fmt: skip
        """Deliver a message (S10): to its case, to the case that `start` makes of it if there is none, or to nobody yet.

        `released` is the number of the held message that this one is: it is delivered if it is still held, and keeps its number
        and its key. If the intake is `full`, a message that would start a case is not stored, and the answer is None. Raises
        StoreError.
        """


class DefinitionStore(Reader, Protocol):
    """Register the definitions that engines are opened with."""

    async def register(self, definitions: Sequence[DefinitionRow]) -> None:
        """Store the definitions that are not known yet (S16). Raises StoreError."""


class LimitStore(LimitReader, Protocol):
    """Share limits among all engines on the store."""

    async def change_limit(self, change: LimitChange) -> LimitChanged:
        """Take a permit or give one back, and answer the state of the limit after that (S17).

        `kernel.limits.changed` says what the answer is; a limit that was never used is `LimitState()`. A store may keep the state
        in another form, as long as it answers the same. Raises StoreError.
        """


class ScheduleStore(Protocol):
    """Remember how far schedules have come. Times are Unix seconds. Every method may raise StoreError."""

    async def schedule(self, process: str, name: str, *, now: float) -> ScheduleRow:
        """Where a schedule stands; one that is not known yet begins `now` (S15)."""

    async def ticked(self, process: str, name: str, tick: float) -> None:
        """Note that this tick of a schedule is over, and every one before it (S15)."""


class RetentionStore(Protocol):
    """Delete what was kept long enough. Times are Unix seconds. Every method may raise StoreError."""

    async def outcomes(self, process: str) -> list[str]:
        """The outcomes of the cases of a process that are done, each once."""

    async def expire(self, process: str, outcome: str | None, *, before: float, at: float, limit: int) -> int:
        """Delete up to `limit` cases with this outcome (None: cancelled) that ended before that time; answers how many (S22).

        A case stays while an effect of it is in doubt, its parent or a child is open, or a message waits for its end.
        """

    async def collect_blobs(self, *, before: float) -> Collected:
        """Delete the blobs kept before that time that nothing refers to (S24)."""

    async def compact(self) -> int:
        """Give unused space back, and answer how many bytes; nothing is written meanwhile. A store without such a thing answers 0."""


class SharedStore(Protocol):
    """Share the store with other engines.

    `lease_seconds` is how long an engine has what it claimed without renewing, known from the opening on; None if only one engine
    at a time can open the store.
    """

    lease_seconds: float | None

    async def renew(self) -> float:
        """Prolong this engine's lease by `lease_seconds` from now; answers the store's time (Unix seconds).

        Only asked of a store that has leases. Raises LeaseLost if the lease has passed (S20), and StoreError.
        """

    def notifications(self) -> AsyncGenerator[None, None]:
        """Yield once another engine has committed something, again and again; end when nothing will come any more (S27).

        One that is not fetched in time stands for all that follow. Raises StoreError.
        """


class Store(
    CaseStore, MessageStore, DefinitionStore, LimitStore, ScheduleStore, RetentionStore, SharedStore, Protocol
):  # fmt: skip
    """All parts of a store. A handle belongs to one engine, which opens it inside its event loop and closes it.

    `clock_high_water` is the highest time (Unix seconds) that an earlier engine has committed, known from the opening on.
    """

    clock_high_water: float

    def closing(self) -> None:
        """The engine is about to close: what waits for another program to let go of the store fails, with StoreLocked."""

    async def close(self) -> None:
        """Finish what was handed in, and let go of the store: the engine's lease ends (S21)."""


def erased_key(incarnation: str, process: str, name: str, key: str) -> str:
    """What stays of an erased key: enough to recognise it when it comes again. `name` is a message's, and empty for a start."""
    return digest((incarnation, process, name, key))
