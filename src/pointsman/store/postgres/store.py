"""The store contract on PostgreSQL: a handle of one engine on a database that any number of engines share."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.errors import IdleInTransactionSessionTimeout
from psycopg.sql import SQL, Identifier

from pointsman.definition.transactions import Database
from pointsman.errors import DefinitionError, LeaseLost, StoreError
from pointsman.kernel.rows import EventWrite, Post, Transition, UsageWrite
from pointsman.store.base import ANY_ROOM, NONE_KNOWN, Claimed, Failpoints, Posted, Reader, no_failpoints
from pointsman.store.gaps import GapChange, gaps_of, gaps_text
from pointsman.store.postgres import LEASE_SECONDS, schema
from pointsman.store.postgres.author import AuthorsDatabase
from pointsman.store.postgres.checkpoints import PostgresCheckpoints
from pointsman.store.postgres.claims import Claims
from pointsman.store.postgres.connections import LOST, ConnectionLost, Connections, TryAgain, explained, place_of, rows_of
from pointsman.store.postgres.keeping import PostgresKeeping, clock_high_water
from pointsman.store.postgres.line import LINES
from pointsman.store.postgres.messages import post_message
from pointsman.store.postgres.reader import PostgresReader
from pointsman.store.postgres.writer import Writer
from pointsman.store.postgres.writes import Writing
from pointsman.store.stored_rows import gaps_name, subscriber_name, turn_of, turn_text

NOTIFY_SECONDS = 0.05  # between two notifications: each takes a lock that all commits of the server share, and wakes every engine
POLL_SECONDS = 1.0  # between two looks for commits of other engines, where no notification arrives
CONFLICTS_MAX = 10  # attempts of a small write that other engines' commits refuse
SILENT_MAX = 2  # times that a transaction is silent for too long: once, this process may have been stopped
AGAIN_SECONDS = 0.05  # between two looks at a transaction whose connection has ended, and before it runs again

T = TypeVar("T")


class PostgresStore(PostgresKeeping, PostgresReader):
    """The whole store contract. Make it with `open_postgres`, inside a running event loop."""

    def __init__(
        self, connections: Connections, writing: Writing, clock_high_water: float, failpoints: Failpoints, lease_seconds: float,
        skew: Callable[[], float],
    ) -> None:  # fmt: skip
        super().__init__(connections, writing.incarnation)
        self.lease_seconds: float | None = lease_seconds
        self.clock_high_water = clock_high_water
        self.checkpoints = PostgresCheckpoints(connections.place)
        self._writing = writing
        self._writer = Writer(connections, writing, failpoints, lease_seconds)
        self._claims = Claims(self, writing.engine)
        self._failpoints = failpoints
        self._skew = skew
        self._number = 0  # of the last small write that was begun
        self._settled: set[int] = set()  # small writes that are known to be committed, and whose numbers are to be deleted
        self._channel = f"{connections.place.schema}_committed"
        self._stopping = asyncio.get_running_loop().create_future()
        self._telling = asyncio.create_task(self._tell(), name="pointsman-notifier")

    @property
    def reader(self) -> Reader:
        """The reading half; its reads wait for the server and not for each other."""
        return self

    def commit(self, transition: Transition) -> Awaitable[int]:
        """Commit a transition; see the contract."""
        return self._writer.commit(transition)

    async def transact(self, work: Callable[[Database], Transition]) -> int:
        """Commit an author's rows with a transition; see the contract. `work` runs in a thread, and its statements on the server."""
        loop, silent = asyncio.get_running_loop(), 0

        async def write(connection: AsyncConnection[Any]) -> int:
            nonlocal silent
            try:
                async with AuthorsDatabase(connection, loop, self.connections) as db:
                    transition = await asyncio.to_thread(work, db)
                [answer] = await self._writing.apply(connection, [transition])
            except IdleInTransactionSessionTimeout:
                silent += 1
                if silent < SILENT_MAX:
                    raise
                raise DefinitionError(
                    f"a transaction has said nothing to the database for {self.connections.idle_seconds:g} seconds, and was rolled back; compute in a node before it."
                ) from None
            if isinstance(answer, Exception):
                raise answer
            return answer

        return await self._small_write(write)

    async def post(
        self, post: Post, start: Transition | None = None, *, released: int | None = None, full: bool = False
    ) -> Posted | None:  # fmt: skip
        """Deliver a message; see the contract."""
        return await self._small_write(lambda connection: post_message(connection, self._writing, post, start, released, full=full))

    async def append(self, case: int, events: Sequence[EventWrite], *, at: float, usage: Sequence[UsageWrite] = ()) -> None:
        """Append events without changing their case; see the contract."""
        first = (self.connections.sql["lock_appends"], {"case": case})
        await self._small_write(lambda connection: self._writing.append(connection, case, events, at, usage), first)

    async def claim(
        self, processes: Sequence[str], *, now: float, limit: int, room: Mapping[str, int] = ANY_ROOM, known: Mapping[int, int] = NONE_KNOWN
    ) -> list[Claimed]:  # fmt: skip
        """Claim due cases; see the contract."""
        return await self._writer.alone(lambda connection: self._claims.claim(connection, processes, now, limit, room, known, self._skew()))

    async def next_wake(self, processes: Sequence[str], *, closed: Collection[str] = ()) -> float | None:
        """When the next case can be claimed; see the contract."""

        async def look() -> float | None:
            async with self.connections.connection() as connection:
                return await self._claims.next_wake(connection, processes, closed)

        return await self.connections.repeated(look)

    async def release(self, cases: Sequence[int], *, now: float) -> None:
        """Release running cases; see the contract. What was handed in before is committed first."""
        await self._writer.all_committed()
        values = {"cases": list(cases), "now": now, "engine": self._writing.engine}
        await self._writer.alone(lambda connection: rows_of(connection, self.connections.sql["release_cases"], values))

    async def mark_waiting(self, case: int, fence: int, waiting: bool) -> None:
        """Mark whether all calls of a running case are waiting; see the contract."""
        values = {"case": case, "fence": fence, "waits": waiting}
        await self._small_write(lambda connection: rows_of(connection, self.connections.sql["mark_waiting"], values))

    async def renew(self) -> float:
        """Extend this engine's lease; see the contract."""
        values = {"engine": self._writing.engine, "seconds": self.lease_seconds, "skew": self._skew()}
        rows = await self.connections.repeatable(self.connections.sql["renew_lease"], values)
        if not rows:
            raise LeaseLost(LOST)
        return float(rows[0][0])

    async def announce(self, accepts: Mapping[str, Collection[int]]) -> None:
        """Claim only these versions from now on, and let the others know; see the contract."""
        self._claims.accepts = [f"{process} {version}" for process, versions in accepts.items() for version in versions]
        values = {"engine": self._writing.engine, "accepts": self._claims.accepts}
        await self._small_write(lambda connection: rows_of(connection, self.connections.sql["announce"], values))

    async def announced(self) -> set[tuple[str, int]]:
        """The versions that living engines accept; see the contract."""
        rows = await self.connections.rows(self.connections.sql["announced"], {"skew": self._skew()})
        return {(process, int(version)) for process, _, version in (row[0].rpartition(" ") for row in rows)}

    async def take_turn(self, subscriber: str, *, begin: str) -> str | None:
        """Take the turn of a subscriber; see the contract."""
        values = {"name": subscriber_name(subscriber), "engine": self._writing.engine, "begin": begin, "skew": self._skew()}
        rows = await self.connections.repeatable(self.connections.sql["take_turn"], values)
        return turn_of(rows[0][0])[1] if rows else None

    async def advance(self, subscriber: str, cursor: str) -> bool:
        """Store how far a subscriber has read; see the contract."""
        engine = self._writing.engine
        values = {"name": subscriber_name(subscriber), "engine": str(engine), "value": turn_text(engine, cursor)}
        return bool(await self.connections.repeatable(self.connections.sql["advance_subscriber"], values))

    async def change_gaps(self, subscriber: str, change: GapChange) -> None:
        """Store what `change` makes of the gaps of a subscriber; see the contract."""
        sql, name = self.connections.sql, gaps_name(subscriber)

        async def write(connection: AsyncConnection[Any]) -> None:
            [(stored,)] = await rows_of(connection, sql["lock_gaps"], {"name": name})
            changed = change(gaps_of(subscriber, stored))
            await rows_of(connection, sql["set_meta" if changed else "delete_meta"], {"name": name, "value": gaps_text(changed)})

        await self._small_write(write)

    async def notifications(self) -> AsyncGenerator[None, None]:
        """Yield after commits of other engines; see the contract."""
        if self.connections.place.pooled:
            async for _ in self._polled():
                yield
        with explained(self.connections.place):
            connection = await self.connections.connect()
            try:
                await connection.execute(SQL("LISTEN {}").format(Identifier(self._channel)))
                while True:
                    # All that has arrived is one yield: engines notify more often than a listener looks, and the server keeps what is unread.
                    heard = [notified.payload async for notified in connection.notifies(stop_after=1)]
                    if any(payload != str(self._writing.engine) for payload in heard):
                        yield
            finally:
                await connection.close()

    async def _polled(self) -> AsyncGenerator[None, None]:
        """Yield when a transaction that writes has begun or ended on the server, in whichever database: a pooler forwards no notification."""
        seen = ""
        while True:
            [(now,)] = await self.connections.repeatable("SELECT pg_current_snapshot()::text")
            if now != seen:
                seen = now
                yield
            await asyncio.sleep(POLL_SECONDS)

    def closing(self) -> None:
        """Do nothing: no other program locks this store for long."""

    async def close(self) -> None:
        """Finish the commits, end the lease and close the connections."""
        if self.connections.closed:
            return
        await self._writer.close()
        self._stopping.set_result(None)  # not a cancel: the driver may take one for the end of a statement, and go on
        self._writer.committed.set()
        await self._telling
        await asyncio.to_thread(self.checkpoints.close)
        with suppress(StoreError):  # then the lease ends by itself
            await self.connections.rows(self.connections.sql["end_lease"], {"engine": self._writing.engine})
            await self._notify()
        await self.connections.close()

    async def _small_write(
        self, work: Callable[[AsyncConnection[Any]], Awaitable[T]], first: tuple[str, Mapping[str, Any]] | None = None
    ) -> T:  # fmt: skip
        """Run `work` in a transaction of its own. If the connection ends, find out whether it was committed, and else run it again.

        `first` is a statement that runs before the transaction has a number.
        """
        loop = asyncio.get_running_loop()
        until, conflicts = loop.time() + self.connections.repeat_seconds, 0
        while True:
            self._number += 1
            mine, known = self._number, self._settled
            values = {"engine": self._writing.engine, "number": mine, "known": list(known)}
            done: list[tuple[str, T]] = []  # the server's number of the transaction and the answer, once it is complete
            try:
                async with self.connections.transaction() as connection:
                    if first is not None:
                        await rows_of(connection, *first)
                    [(tx,)] = await rows_of(connection, "SELECT pg_current_xact_id()::text")
                    answer = await work(connection)
                    # At the end: the work of an author locks none of our tables.
                    if not await rows_of(connection, self.connections.sql["number_small_write"], values):
                        raise LeaseLost(LOST)
                    self._failpoints("store.commit")
                    done = [(tx, answer)]
            except TryAgain:
                conflicts += 1
                if conflicts == CONFLICTS_MAX:
                    raise
                continue
            except ConnectionLost:
                if not done or not await self._was_committed(done[0][0], mine):
                    if loop.time() > until:
                        raise
                    await asyncio.sleep(AGAIN_SECONDS)
                    continue
            self._settled = {*self._settled - known, mine}
            self._failpoints("store.committed")
            self._writer.committed.set()
            return done[0][1]

    async def _was_committed(self, tx: str, number: int) -> bool:
        """Return whether a small write was committed. Raises StoreError if that stays unknown for a lease."""
        sql, values = self.connections.sql, {"engine": self._writing.engine, "number": number}
        loop = asyncio.get_running_loop()
        until = loop.time() + (self.lease_seconds or 0.0)
        while True:
            try:
                [(status,)] = await self.connections.rows(sql["look_at_transaction"], {"tx": tx})
                if status != "in progress":
                    return bool(await self.connections.rows(sql["look_at_small_write"], values))
                lost = StoreError(
                    f"{self.connections.place.shown} does not say whether a transaction was committed; open the engine again."
                )
            except StoreError as error:  # a server that begins again may take longer than a caller waits for a connection
                lost = error
            if loop.time() > until:
                raise lost
            await asyncio.sleep(AGAIN_SECONDS)

    async def _tell(self) -> None:
        """Notify the other engines after commits, several commits at once."""
        while not self._stopping.done():
            await self._writer.committed.wait()
            self._writer.committed.clear()
            with suppress(StoreError):  # others look again when they renew their leases
                await self._notify()
            await asyncio.wait([self._stopping], timeout=NOTIFY_SECONDS)

    async def _notify(self) -> None:
        await self.connections.rows(self.connections.sql["notify"], {"channel": self._channel, "engine": str(self._writing.engine)})


async def open_postgres(
    url: str, *, failpoints: Failpoints = no_failpoints, lease_seconds: float = LEASE_SECONDS, skew: Callable[[], float] = lambda: 0.0
) -> PostgresStore:  # fmt: skip
    """Open a database for one more engine, and create or migrate its tables if needed.

    `lease_seconds` is how long the cases of a crashed engine wait for another one. `skew` (seconds) is added to the database's clock, for
    tests. Raises StoreError with the fix.
    """
    connections = Connections(place_of(url), lease_seconds, idle_seconds=lease_seconds / 2)
    try:
        await connections.open()
        await schema.check(connections)
        await schema.prepare(connections)
        known = connections.sql
        meta = dict(await connections.rows(known["all_meta"]))
        async with connections.transaction() as connection:
            lapsed = [engine for (engine,) in await rows_of(connection, known["lock_lapsed"], {"skew": skew()})]
            await rows_of(connection, known["forget_engines"], {"engines": lapsed})
            await rows_of(connection, known["forget_commits"])
            await rows_of(connection, known["forget_small_writes"])
            [(engine,)] = await rows_of(connection, known["enter_engine"], {"seconds": lease_seconds, "skew": skew()})
            await rows_of(connection, known["enter_commits"], {"engine": engine, "lines": LINES})
        writing = Writing(known, meta["incarnation"], engine, int(meta["era"]))
        return PostgresStore(connections, writing, await clock_high_water(connections), failpoints, lease_seconds, skew)
    except BaseException:
        await connections.close()
        raise
