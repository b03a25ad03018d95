"""One of the connections on which an engine commits its batches.

Each batch has a number, which its transaction checks and raises. So a line can find out what happened to a batch whose commit was never
answered: it reads the number, and gives an absent batch's number away, so that the batch cannot be written later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, errors

from pointsman.errors import LeaseLost, PointsmanError, StoreError, ValueRefused
from pointsman.kernel.codec import message_of
from pointsman.kernel.rows import Transition
from pointsman.store.base import Failpoints
from pointsman.store.postgres.connections import AGAIN_SECONDS, LOST, Connections, explain, is_lost, rows_of
from pointsman.store.postgres.timeline import check_still
from pointsman.store.postgres.writes import Writing, has_moved

TRIES_MAX = 20  # of a batch that other engines' commits refuse (deadlocks)
# A plan that was made for a small table may read it whole to join it, and would be kept while it grows. Each statement has an index to use.
PLANS = ("enable_hashjoin = off", "enable_mergejoin = off", "plan_cache_mode = force_generic_plan")

LINES = 2  # of an engine: while the server works for one, the engine works for the other

T = TypeVar("T")


class Fates:
    """What is known about the batches of all lines of an engine."""

    def __init__(self) -> None:
        self.broken: Exception | None = None  # why it is unknown what happened to a batch; nothing may be written after it
        self.unknown = 0  # batches whose commit was not answered
        self.found_committed = 0  # of these, the ones that had been committed
        self.found_absent = 0  # of these, the ones that had not been, and never will be


class Line:
    """A connection, and the number of the last batch that was committed on it. It does one thing at a time."""

    def __init__(
        self, connections: Connections, writing: Writing, failpoints: Failpoints, give_up_seconds: float, fates: Fates, line: int
    ) -> None:  # fmt: skip
        self._connections = connections
        self._writing = writing
        self._failpoints = failpoints
        self._give_up_seconds = give_up_seconds
        self._answer_seconds = give_up_seconds / 2  # a batch that is not answered leaves time to find out what happened to it
        self._fates = fates
        self._line = line
        self._connection: AsyncConnection[Any] | None = None
        self.number = 0  # of the last batch that was committed

    async def write(self, transitions: Sequence[Transition]) -> Sequence[Any]:
        """Commit transitions of different cases together. Return the case of each, or the Conflict that refused it.

        Raises what refused all of them, or StoreError if the server cannot be reached for too long.
        """
        # A pooler's session has no settings, and they cannot be made in the statement itself.
        made = None if self._connections.place.pooled else self._writing.batches.statement(transitions)
        if made is None:
            return await self.transact(lambda connection: self._writing.apply(connection, transitions))
        written = await self._settled(lambda: self._in_one_statement(*made), lambda cases: cases)
        self._failpoints("store.committed")
        if len(written) == len(transitions):
            return [t.case for t in transitions]
        return await self._with_reasons(transitions, set(written))

    async def transact(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Run `work` in one transaction. Raises what refused it, or StoreError if the server cannot be reached for too long."""
        done: list[T] = []

        async def attempt() -> T:
            done.clear()
            connection = await self._connected()
            await connection.execute("BEGIN")
            if local := self._connections.local:
                await connection.execute(f"{local}; {self._set('SET LOCAL')}")
            await rows_of(connection, self._writing.sql["begin_batch"], self._numbered())
            done.append(await work(connection))
            self._failpoints("store.commit")
            await connection.execute("COMMIT")
            return done[0]

        answer = await self._settled(attempt, lambda _: done[0])  # a COMMIT is sent only after the work is done
        self._failpoints("store.committed")
        return answer

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def _in_one_statement(self, statement: bytes, values: Sequence[Any]) -> list[int]:
        """Run the statement of a batch, and return the cases that it wrote."""
        connection = await self._connected()
        self._failpoints("store.commit")
        # Psycopg would read a statement of this length anew each time, to find the places of its parameters.
        cursor = AsyncRawCursor(connection)
        await cursor.execute(statement, [*self._numbered().values(), self._writing.era, *values], prepare=True, binary=True)
        [(written,)] = await cursor.fetchall()
        cases: list[int] = written
        return cases

    async def _with_reasons(self, transitions: Sequence[Transition], written: set[int]) -> list[Any]:
        """The answers for a batch that was committed. A refused transition is a conflict also if nobody can say which."""
        refused = [t for t in transitions if t.case not in written]
        answers: dict[int, Any] = {t.case: has_moved(t) for t in refused}
        try:
            async with self._connections.connection() as connection:
                answers |= await self._writing.refused(connection, refused)
        except StoreError:
            pass
        return [t.case if t.case in written else answers[t.case] for t in transitions]

    def _numbered(self) -> dict[str, int]:
        return {"engine": self._writing.engine, "line": self._line, "number": self.number + 1}

    async def _settled(self, attempt: Callable[[], Awaitable[T]], found: Callable[[list[int]], T]) -> T:
        """Try to commit until it is known what happened; `found` gives the answer of a commit by the cases that it wrote."""
        if self._fates.broken is not None:
            raise self._fates.broken
        loop = asyncio.get_running_loop()
        until = loop.time() + self._give_up_seconds
        tries = 0
        while True:
            tries += 1
            try:
                async with asyncio.timeout(self._answer_seconds):
                    answer = await attempt()
            except (psycopg.OperationalError, psycopg.InternalError, psycopg.InterfaceError, TimeoutError) as error:
                if self._lost(error):
                    if (cases := await self._written(until)) is not None:
                        return found(cases)
                    again = loop.time() < until
                else:
                    await self._roll_back()
                    again = isinstance(error, errors.DeadlockDetected | errors.SerializationFailure) and tries < TRIES_MAX
                if not again:
                    raise explain(self._connections.place, error) from error
            except BaseException as error:
                await self._roll_back()
                raise self._as_raised(error) from error
            else:
                self.number += 1
                return answer

    def _as_raised(self, error: BaseException) -> BaseException:
        if isinstance(error, psycopg.Error):
            return explain(self._connections.place, error)
        if isinstance(error, ValueError) and not isinstance(error, PointsmanError):  # a text that is not UTF-8, a number that is not JSON
            return ValueRefused(f"it cannot be stored: {message_of(error)}")
        return error

    def _lost(self, error: psycopg.Error | TimeoutError) -> bool:
        """Return whether the connection is gone, so that the fate of the transaction is unknown."""
        connection = self._connection
        if isinstance(error, TimeoutError):
            return True
        return connection is None or connection.closed or is_lost(error)

    async def _written(self, until: float) -> list[int] | None:
        """Return the cases that the last batch wrote, or None if it was not committed. Then it never will be.

        An absent batch's number is skipped by two, so that a second look, after a void whose own commit was not answered, sees a void.
        """
        loop = asyncio.get_running_loop()
        self._fates.unknown += 1
        values, tries = self._numbered(), 0
        while True:
            try:
                if self._connection is not None:
                    await self._connection.close()
                self._connection = None
                async with asyncio.timeout(self._answer_seconds):
                    connection = await self._connected()
                    async with connection.transaction():
                        last, cases = await self._look(connection, values)
            except (psycopg.Error, TimeoutError) as error:
                if loop.time() > until:
                    self._fates.broken = explain(self._connections.place, error)
                    raise self._fates.broken from error
                await asyncio.sleep(AGAIN_SECONDS[min(tries, len(AGAIN_SECONDS) - 1)])
                tries += 1
                continue
            self.number = last
            self._fates.found_committed += last == values["number"]
            self._fates.found_absent += last != values["number"]
            return cases if last == values["number"] else None

    async def _look(self, connection: AsyncConnection[Any], values: Mapping[str, int]) -> tuple[int, list[int]]:
        """Read the number of the last batch, and the cases that it wrote; give the number of an absent batch away."""
        sql = self._writing.sql
        rows = await rows_of(connection, sql["last_batch"], values)
        if not rows:
            raise LeaseLost(LOST)  # the numbers of an engine without a lease are forgotten
        last, tx = rows[0]
        if last < values["number"]:
            await rows_of(connection, sql["void_batch"], values)
            return values["number"] + 1, []
        return last, [case for (case,) in await rows_of(connection, sql["written_by"], {"era": self._writing.era, "tx": tx})]

    async def _connected(self) -> AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await self._connections.connect()
            try:
                await check_still(self._connection, self._connections, self._numbered())
            except StoreError as error:
                self._fates.broken = error
                raise
            if not self._connections.place.pooled:
                await self._connection.execute(self._set("SET"))
        return self._connection

    def _set(self, how: str) -> str:
        """The statements that make the settings of this line."""
        shard = f"{self._connections.place.schema}.shard = {self._writing.engine * LINES + self._line}"
        return "; ".join(f"{how} {setting}" for setting in (*PLANS, shard))

    async def _roll_back(self) -> None:
        if self._connection is None:
            return
        try:
            await self._connection.execute("ROLLBACK")
        except psycopg.Error:
            await self._connection.close()
            self._connection = None
