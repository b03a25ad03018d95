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
        An attempt that an engine's end or a release cut short does not count; an engine's end is an interruption instead, unless
        the case was marked as waiting. A transition says how many interruptions the case keeps.
    S6  A pause is open until its case moves; it is answered at most once.
    S7  An intent is new to the ledger, or takes up the standing one on purpose (`again`); otherwise it is a Conflict.
    S8  Events are read in the order of their commits. Whoever has read up to a cursor has missed no event before it, and never will.
    S9  What is read is what was committed: never a part of a transition. The state as of any revision can be read, and what is
        added to a log costs its own bytes, not those of what was added before.
    S10 A message is delivered once: to its tenant's open case with its correlation key, to the case that it starts, or to nobody,
        and then to the first case of that tenant with that key. A case that rests is woken by it in the same commit. A commit that has not seen
        a pending message raises InboxChanged and changes nothing.
    S11 The rows of a transaction and its transition are one commit; where either is refused, nothing of both stands.
    S14 Events that are appended by themselves change nothing of their case: whoever has it in hand does not notice.
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
"""

from collections.abc import Callable, Collection, Mapping, Sequence
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


class LimitReader(Protocol):
    """Read the states of limits."""

    async def limits(self) -> dict[str, LimitState]:
        """The state of each limit that was ever used, by name."""


class Reader(LimitReader, Protocol):
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

    async def events(self, *, after: str = "", case: int | None = None, limit: int = 1_000) -> list[EventRow]:
        """Up to `limit` events in the order of their commits (S8), of all cases or of one, behind the event with the cursor `after`.

        The empty cursor is before all events. Raises ValueRefused for a cursor that no event of this store can have.
        """

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

    async def in_line(self, process: str, tenant: str | None, *, most: int) -> int:
        """How many cases of a process, or of one tenant of it, are ready or running; `most` ends the count."""

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None."""

    async def dossier(self, case: int) -> Dossier | None:
        """Everything that is stored of a case, or None."""


class LimitStore(LimitReader, Protocol):
    """Share limits among all engines on the store."""

    async def change_limit(self, change: LimitChange) -> LimitChanged:
        """Take a permit or give one back, and answer the state of the limit after that (S17).

        `kernel.limits.changed` says what the answer is; a limit that was never used is `LimitState()`. A store may keep the state
        in other words, as long as it answers the same. Raises StoreError.
        """


class Store(Reader, LimitStore, Protocol):
    """The writing half of a store. A handle belongs to one engine.

    `clock_high_water` is the highest time (Unix seconds) that an earlier engine has committed. `lease_seconds` is how
    long an engine has what it claimed without renewing; None where only one engine at a time can open the store.
    """

    clock_high_water: float
    lease_seconds: float | None

    def reserve(self) -> int:
        """A number for a new case; one that is not used leaves a gap."""

    async def commit(self, transition: Transition) -> int:
        """Commit a transition and answer the case's number: its own, or for a start with a known key the earlier case's.

        Raises Conflict (S3, S7), InboxChanged (S10), and StoreError where nothing was committed or nobody can tell.
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

    async def release(self, cases: Sequence[int], *, now: float) -> None:
        """Give running cases back unharmed: they are ready again, and the attempt that was cut short does not count."""

    async def mark_waiting(self, case: int, fence: int, waiting: bool) -> None:
        """Note whether all calls of a case that is in hand under this fence wait: the engine's end is no interruption then (S5).

        The next claim, release or transition of the case takes the mark away.
        """

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
