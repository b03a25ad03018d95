"""The store contract on top of `SqliteCore`. A subclass says where and when the core runs."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

from pointsman.definition.state import Blob
from pointsman.definition.transactions import Database
from pointsman.kernel.limits import LimitChange, LimitChanged
from pointsman.kernel.rows import EventWrite, Post, Transition, UsageWrite
from pointsman.store import sqlite_keeping as keeping
from pointsman.store.base import (
    ANY_ROOM,
    FIRST,
    NONE_KNOWN,
    Claimed,
    Collected,
    DefinitionRow,
    Expired,
    IntakePaused,
    Place,
    Posted,
    PrivateField,
    Reader,
    ScheduleRow,
)
from pointsman.store.checkpoint_rules import Checkpoints
from pointsman.store.gaps import GapChange
from pointsman.store.sqlite_checkpoints import SqliteCheckpointReads
from pointsman.store.sqlite_core import SqliteCore
from pointsman.store.sqlite_file import explained
from pointsman.store.sqlite_reader import SqliteReader

BLOB_BYTES_MAX = 4_000_000  # of blobs deleted in one commit: SQLite overwrites every page of them with zeros

T = TypeVar("T")


class CoreStore(SqliteReader):
    """The writing half of the contract. A subclass runs the core and searches for unused blobs."""

    core: SqliteCore

    @property
    def reader(self) -> Reader:
        """The reading half; here the store itself."""
        return self

    @property
    def checkpoints(self) -> Checkpoints:
        """The checkpoints of LangGraph threads, for any thread; see the contract."""
        return Checkpoints(
            lambda work: self._commit_from_any_thread(lambda core: work(core.checkpoints)),
            lambda read: self._read_from_any_thread(
                lambda reader: reader.look(lambda connection, sql: read(SqliteCheckpointReads(connection, sql)))
            ),
        )

    @abstractmethod
    def _commit(self, work: Callable[[SqliteCore], T]) -> Awaitable[T]:
        """Run `work` on the core, commit, and return its result; if the result is an exception, raise it."""

    @abstractmethod
    def commit(self, transition: Transition) -> Awaitable[int]:
        """Commit a transition; see the contract."""

    @abstractmethod
    def _alone(self, work: Callable[[SqliteCore], T]) -> Awaitable[T]:
        """Run `work` on the core outside any transaction, and return its result."""

    @abstractmethod
    def _commit_from_any_thread(self, work: Callable[[SqliteCore], T]) -> Future[T]:
        """Run `work` on the core and commit, called from any thread."""

    @abstractmethod
    def _read_from_any_thread(self, read: Callable[[SqliteReader], T]) -> Future[T]:
        """Read what is committed, called from any thread."""

    @abstractmethod
    def _unreferenced(self, before: float) -> Awaitable[list[tuple[str, int]]]:
        """The blobs last kept before `before` that nothing refers to, with their sizes."""

    async def reserve(self, count: int) -> range:
        """Reserve numbers for new cases; see the contract. Nothing is written, because all handles share this core."""
        return self.core.reserve(count)

    async def transact(self, work: Callable[[Database], Transition]) -> int:
        """Commit an author's rows with a transition; see the contract."""
        number: int = await self._commit(lambda core: core.transact(work))
        return number

    async def post(
        self, post: Post, start: Transition | None = None, *, released: int | None = None, full: bool = False
    ) -> Posted | None:  # fmt: skip
        """Deliver a message; see the contract."""
        return await self._commit(lambda core: core.post(post, start, released, full))

    async def register(self, definitions: Sequence[DefinitionRow], private: Sequence[PrivateField] = ()) -> None:
        """Store definitions and private fields that are not known yet; see the contract."""
        await self._commit(lambda core: core.register(definitions, private))

    async def append(self, case: int, events: Sequence[EventWrite], *, at: float, usage: Sequence[UsageWrite] = ()) -> None:
        """Append events without changing their case; see the contract."""
        await self._commit(lambda core: core.append(case, events, at, usage))

    async def claim(
        self, processes: Sequence[str], *, now: float, limit: int, room: Mapping[str, int] = ANY_ROOM, known: Mapping[int, int] = NONE_KNOWN
    ) -> list[Claimed]:  # fmt: skip
        """Claim due cases; see the contract."""
        return await self._commit(lambda core: core.claim(processes, now, limit, room, known))

    async def next_wake(self, processes: Sequence[str], *, closed: Collection[str] = ()) -> float | None:
        """When the next case can be claimed; see the contract."""
        with explained(self.path):
            return self.core.line.next_wake(self._connection, processes, closed)

    async def change_limit(self, change: LimitChange) -> LimitChanged:
        """Take or return a permit; see the contract."""
        return await self._commit(lambda core: core.change_limit(change))

    async def release(self, cases: Sequence[int], *, now: float) -> None:
        """Release running cases; see the contract."""
        await self._commit(lambda core: core.release(cases, now))

    async def mark_waiting(self, case: int, fence: int, waiting: bool) -> None:
        """Mark whether all calls of a running case are waiting; see the contract."""
        await self._commit(lambda core: core.mark_waiting(case, fence, waiting))

    async def keep(self, content: bytes, *, now: float) -> Blob:
        """Store a blob by its content; see the contract."""
        blob = Blob.of(content)
        await self._commit(lambda core: core.keep(blob, content, now))
        return blob

    async def outcomes(self, process: str) -> list[str]:
        """The outcomes of the cases of a process that are done; see the contract."""
        with explained(self.path):
            return keeping.outcomes(self._connection, self._sql, process)

    async def expire(
        self, process: str, outcome: str | None, *, before: float, at: float, limit: int, after: Place = FIRST
    ) -> Expired:  # fmt: skip
        """Delete expired cases; see the contract."""
        return await self._commit(lambda core: core.expire(process, outcome, before, at, limit, after))

    async def compact(self) -> int:
        """Return unused space to the system; see the contract. Other work of the writer comes between two slices."""
        freed, more = 0, True
        while more:
            size, more = await self._alone(lambda core: keeping.compact(core.connection))
            freed += size
        return freed

    async def collect_blobs(self, *, before: float) -> Collected:
        """Delete blobs that nothing refers to; see the contract.

        The search reads page by page while the engine works. Keeping a blob meanwhile renews its time, so it is not deleted. A
        reference that is copied to a page already searched is still found at its origin. If something that may hold a reference
        is deleted meanwhile, the search is discarded.
        """
        gone = self.core.gone
        found = await self._unreferenced(before)
        collected = Collected(0, 0)
        if gone != self.core.gone:
            return collected
        while found:
            digests, size = [], 0
            while found and size < BLOB_BYTES_MAX:
                digest, more = found.pop()
                digests.append(digest)
                size += more
            sizes = await self._drop_blobs(digests, before)
            collected = Collected(collected.blobs + len(sizes), collected.size + sum(sizes))
        return collected

    def _drop_blobs(self, digests: Sequence[str], before: float) -> Awaitable[list[int]]:
        return self._commit(lambda core: core.drop_blobs(digests, before))

    async def schedule(self, process: str, name: str, *, now: float) -> ScheduleRow:
        """The position of a schedule; see the contract."""
        return await self._commit(lambda core: core.schedule(process, name, now))

    async def ticked(self, process: str, name: str, tick: float) -> None:
        """Record that this tick of a schedule is over; see the contract."""
        await self._commit(lambda core: core.ticked(process, name, tick))

    async def pause_intake(self, paused: IntakePaused | None) -> None:
        """Store whether the intake is paused; see the contract."""
        await self._commit(lambda core: core.pause_intake(paused))

    async def take_turn(self, subscriber: str, *, begin: str) -> str | None:
        """Take the turn of a subscriber; see the contract."""
        return await self._commit(lambda core: core.take_turn(subscriber, begin, self._lives))

    async def advance(self, subscriber: str, cursor: str) -> bool:
        """Store how far a subscriber has read; see the contract."""
        return await self._commit(lambda core: core.advance(subscriber, cursor))

    async def change_gaps(self, subscriber: str, change: GapChange) -> None:
        """Store what `change` makes of the gaps of a subscriber; see the contract."""
        await self._commit(lambda core: core.change_gaps(subscriber, change))

    def _lives(self, engine: int) -> bool:  # noqa: ARG002 - a store with leases looks at its lease
        """Return whether another engine with this number has its lease. A file has one engine at a time."""
        return False
