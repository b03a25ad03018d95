"""The in-memory store: the core of the SQLite store on a `:memory:` database.

Each method is one transaction, runs at once in the caller's thread and awaits nothing, so that a simulation controls the order of
all commits.
"""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from copy import copy
from pathlib import Path
from typing import TypeVar, cast

from pointsman.errors import LeaseLost, PointsmanError
from pointsman.kernel.rows import Transition
from pointsman.store import sqlite_keeping as keeping
from pointsman.store.base import ANY_ROOM, NONE_KNOWN, Claimed, Failpoints, no_failpoints
from pointsman.store.core_store import CoreStore
from pointsman.store.sqlite_core import SqliteCore, concerns_the_file, refusal
from pointsman.store.sqlite_file import STATEMENTS_MAX, explain, image
from pointsman.store.sqlite_reader import SqliteReader
from pointsman.store.statements import migrations, statements

T = TypeVar("T")

NOWHERE = Path(":memory:")


class _Connection(sqlite3.Connection):
    """A connection that closes when the last handle on it is garbage-collected."""

    def __del__(self) -> None:
        self.close()


class MemoryStore(CoreStore):
    """The whole store contract in memory (S2 within the process only).

    With `lease_seconds` several engines can share it, each with its own handle (`beside`); the clock `now` decides when leases
    expire. Two stores with one `incarnation` make the same idempotency keys. A `copy_of` the database of another store has its cases and its incarnation.
    """

    def __init__(
        self, *, failpoints: Failpoints = no_failpoints, lease_seconds: float | None = None, now: Callable[[], float] = lambda: 0.0,
        incarnation: str | None = None, copy_of: sqlite3.Connection | None = None,
    ) -> None:  # fmt: skip
        connection = _new_database(incarnation) if copy_of is None else _copied(copy_of)
        super().__init__(NOWHERE, connection)
        self.core = SqliteCore(connection, NOWHERE)
        self.lease_seconds = lease_seconds
        self.clock_high_water = 0.0
        self._failpoints = failpoints
        self._now = now
        self._engine = 0
        self._accepts: str | None = None
        self._announced: dict[int, frozenset[tuple[str, int]]] = {}  # by engine, shared by all handles
        self._one_at_a_time = threading.RLock()  # for LangGraph, which calls from threads
        self._listening: dict[int, asyncio.Event] = {}  # by engine, shared by all handles
        self._latest = [0.0]  # the latest time returned to any handle: it never runs backwards

    def beside(self) -> "MemoryStore":
        """Return another handle on the same cases: for a second engine, or without leases for the engine that comes next."""
        other = copy(self)
        other.clock_high_water = self.core.clock_high_water()
        other._accepts = None  # noqa: SLF001 - of the same class
        other._engine = engine = self.core.raise_epoch()  # noqa: SLF001 - of the same class
        if self.lease_seconds is not None:
            self.core.begin_lease(engine, self._time() + self.lease_seconds)
        return other

    def recover(self, *, now: float) -> None:
        """Make the cases that a dead engine left running ready again, as opening a file does; for a store without leases."""
        self._at_once(lambda core: core.recover(now))
        self.core.highest = self.core.highest_case()

    async def commit(self, transition: Transition) -> int:
        """Commit a transition; see the contract."""
        return cast("int", self._at_once(lambda core: core.apply([transition])[0]))  # a Conflict is raised

    async def claim(
        self, processes: Sequence[str], *, now: float, limit: int, room: Mapping[str, int] = ANY_ROOM, known: Mapping[int, int] = NONE_KNOWN
    ) -> list[Claimed]:  # fmt: skip
        """Claim due cases, and those whose engine's lease has expired; see the contract."""

        def take_over_and_claim(core: SqliteCore) -> list[Claimed]:
            if self.lease_seconds is not None:
                time = self._time()
                _refuse_lost(held=core.has_lease(time))
                core.recover(now, time)
            return core.claim(processes, now, limit, room, known)

        return self._at_once(take_over_and_claim)

    async def next_wake(self, processes: Sequence[str], *, closed: Collection[str] = ()) -> float | None:
        """When the next case can be claimed, or taken from an engine whose lease expires; see the contract."""
        self.core.line.accepts = self._accepts
        due = await super().next_wake(processes, closed=closed)
        if self.lease_seconds is None:
            return due
        self.core.engine = self._engine
        return min((at for at in (due, self.core.next_lease_end()) if at is not None), default=None)

    async def renew(self) -> float:
        """Extend this handle's lease; see the contract."""
        time, core = self._time(), self.core
        core.engine = self._engine
        _refuse_lost(held=core.renew_lease(time + (self.lease_seconds or 0.0), time))
        return time

    async def announce(self, accepts: Mapping[str, Collection[int]]) -> None:
        """Claim only these versions from now on, and let the others know; see the contract."""
        pairs = frozenset((process, version) for process, versions in accepts.items() for version in versions)
        self._accepts = "\n".join(["", *(f"{process} {version}" for process, version in pairs), ""])
        self._announced[self._engine] = pairs

    async def announced(self) -> Collection[tuple[str, int]]:
        """The versions that living engines accept; see the contract."""
        time, found = self._time(), set[tuple[str, int]]()
        for engine, pairs in self._announced.items():
            self.core.engine = engine
            if self.core.has_lease(time):
                found |= pairs
        return found

    async def notifications(self) -> AsyncGenerator[None, None]:
        """Yield after commits of other handles; see the contract."""
        if self.lease_seconds is None:
            return
        news = self._listening[self._engine] = asyncio.Event()
        try:
            while True:
                await news.wait()
                news.clear()
                yield
        finally:
            self._listening.pop(self._engine, None)

    def closing(self) -> None:
        """Do nothing: no other program can lock this store."""

    async def close(self) -> None:
        """End the lease; the cases live until the last handle is gone."""
        self.core.end_lease(self._engine)

    def _lives(self, engine: int) -> bool:
        if self.lease_seconds is None:
            return False
        self.core.engine = engine
        try:
            return self.core.has_lease(self._time())
        finally:
            self.core.engine = self._engine

    async def _commit(self, work: Callable[[SqliteCore], T]) -> T:
        return self._at_once(work)

    async def _alone(self, work: Callable[[SqliteCore], T]) -> T:
        return work(self.core)

    def _commit_from_any_thread(self, work: Callable[[SqliteCore], T]) -> Future[T]:
        return _done(lambda: self._at_once(work))

    def _read_from_any_thread(self, read: Callable[[SqliteReader], T]) -> Future[T]:
        with self._one_at_a_time:
            return _done(lambda: read(self))

    def _at_once(self, work: Callable[[SqliteCore], T]) -> T:
        with self._one_at_a_time:
            return self._committed(work)

    def _committed(self, work: Callable[[SqliteCore], T]) -> T:
        self._failpoints("store.commit")
        core = self.core
        core.engine, core.line.accepts = self._engine, self._accepts
        connection = core.connection
        connection.execute("BEGIN")
        changes = connection.total_changes
        try:
            result = work(core)
        except BaseException as error:
            if connection.in_transaction:
                core.roll_back()
            raise _as_raised(error) from error
        if isinstance(result, Exception):
            core.roll_back()
            raise result
        connection.execute("COMMIT")
        self._failpoints("store.committed")
        if connection.total_changes > changes:
            for engine, news in self._listening.items():
                if engine != self._engine:
                    news.set()
        return result

    async def _unreferenced(self, before: float) -> list[tuple[str, int]]:
        return keeping.unreferenced(self.core.connection, self._sql, before, lambda: False)

    def _time(self) -> float:
        self._latest[0] = max(self._latest[0], self._now())
        return self._latest[0]


def _done(call: Callable[[], T]) -> Future[T]:
    """A future that has the result of a call, or its exception."""
    future: Future[T] = Future()
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)
    return future


def _refuse_lost(*, held: bool) -> None:
    if not held:
        raise LeaseLost("this engine's lease has expired, and other engines may have claimed its cases; open it again.")


def _as_raised(error: BaseException) -> BaseException:
    """The exception for the caller, the same as the SQLite store's writer raises."""
    if isinstance(error, sqlite3.Error) and concerns_the_file(error):
        return explain(NOWHERE, error)
    return refusal(error) if isinstance(error, Exception) and not isinstance(error, PointsmanError) else error


def _new_database(incarnation: str | None) -> sqlite3.Connection:
    connection = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS_MAX, factory=_Connection
    )
    connection.deserialize(image(migrations("sqlite")))
    connection.execute(statements("sqlite")["name_incarnation"], (incarnation,))
    return connection


def _copied(source: sqlite3.Connection) -> sqlite3.Connection:
    connection = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS_MAX, factory=_Connection
    )
    source.backup(connection)
    return connection
