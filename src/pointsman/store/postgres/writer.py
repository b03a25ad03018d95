"""Commit the transitions that come in together as one batch, on a connection of its own.

Each batch has a number, which its transaction checks and raises. So the writer can find out what happened to a batch whose COMMIT was
never answered: it reads the number, and gives an absent batch's number away, so that the batch cannot be written later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import AsyncConnection, errors

from pointsman.errors import EngineStopped, LeaseLost, PointsmanError, StoreError, ValueRefused
from pointsman.kernel.codec import message_of
from pointsman.kernel.rows import Transition
from pointsman.store.base import Failpoints
from pointsman.store.postgres.connections import AGAIN_SECONDS, LOST, Connections, explain, rows_of
from pointsman.store.postgres.writes import Writing

BATCH_MAX = 256  # transitions from which on a commit takes in no more
TRIES_MAX = 20  # of a batch that other engines' commits refuse (deadlocks)

T = TypeVar("T")


class _Job(NamedTuple):
    """A transition whose caller waits for the `answer`, or has been cancelled. `over` is set once it is committed or refused."""

    transition: Transition
    answer: asyncio.Future[Any]
    over: asyncio.Event


class Writer:
    """The only place that commits an engine's transitions. Make it inside the event loop that uses it, and `close` it."""

    def __init__(self, connections: Connections, writing: Writing, failpoints: Failpoints, give_up_seconds: float) -> None:
        self._connections = connections
        self._writing = writing
        self._failpoints = failpoints
        self._give_up_seconds = give_up_seconds
        self._answer_seconds = give_up_seconds / 2  # a batch that is not answered leaves time to find out what happened to it
        # The server would hold the locks of a batch whose COMMIT never arrives, and the writer could not find out what happened to it.
        self._idle = f"idle_in_transaction_session_timeout = {round(1000 * self._answer_seconds)}"
        self._broken: Exception | None = None  # why it is unknown what happened to a batch; nothing may be written after it
        self._connection: AsyncConnection[Any] | None = None
        self._number = 0  # of the last batch that was committed
        self._jobs: list[_Job] = []
        self._batch: list[_Job] = []  # that is being committed
        self._others: list[tuple[Callable[[AsyncConnection[Any]], Awaitable[Any]], asyncio.Future[Any]]] = []
        self._work = asyncio.Event()
        self._closed = False
        self.unknown = 0  # batches whose commit was not answered
        self.found_committed = 0  # of these, the ones that had been committed
        self.committed = asyncio.Event()  # set after each commit, for those who notify others
        self._task = asyncio.create_task(self._write(), name="pointsman-writer")

    def commit(self, transition: Transition) -> asyncio.Future[Any]:
        """Commit a transition with the next batch."""
        if self._closed:
            raise EngineStopped(f"the engine on {self._connections.place.shown} is closed; open it again.")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(transition, answer, asyncio.Event()))
        self._work.set()
        return answer

    def alone(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> asyncio.Future[T]:
        """Run `work` in a transaction of its own between two batches; a lost connection makes it run again, or not, as a batch does."""
        if self._closed:
            raise EngineStopped(f"the engine on {self._connections.place.shown} is closed; open it again.")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._others.append((work, answer))
        self._work.set()
        return answer

    async def all_committed(self) -> None:
        """Wait until everything that was handed in so far is committed, but not for what comes in meanwhile."""
        for job in [*self._batch, *self._jobs]:
            await job.over.wait()

    async def close(self) -> None:
        """Finish the batches, and close the connection."""
        self._closed = True
        self._work.set()
        await self._task
        if self._connection is not None:
            await self._connection.close()

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            if not self._jobs and not self._others:
                if self._closed:
                    return
                self._work.clear()
                continue
            if self._others:
                work, answer = self._others.pop(0)
                try:
                    answered: Sequence[Any] = [await self._in_one_transaction(work)]
                except Exception as error:
                    answered = [error]
                self._answer([answer], answered)
            self._batch = self._take()
            if self._batch:
                try:
                    answered = await self._commit(self._batch)
                except Exception as error:
                    answered = [error] * len(self._batch)
                batch, self._batch = self._batch, []
                for job in batch:
                    job.over.set()
                self._answer([job.answer for job in batch], answered)

    def _answer(self, callers: Sequence[asyncio.Future[Any]], answers: Sequence[Any]) -> None:
        self.committed.set()
        for caller, answer in zip(callers, answers, strict=True):
            if caller.done():
                continue  # the caller was cancelled; its work is committed all the same
            if isinstance(answer, Exception):
                caller.set_exception(answer)
            else:
                caller.set_result(answer)

    def _take(self) -> list[_Job]:
        """The next batch: at most one transition of each case, because a statement cannot move a case twice."""
        batch: dict[int, _Job] = {}
        later: list[_Job] = []
        for job in self._jobs:
            fits = job.transition.case not in batch and len(batch) < BATCH_MAX
            if fits:
                batch[job.transition.case] = job
            else:
                later.append(job)
        self._jobs = later
        return list(batch.values())

    async def _commit(self, batch: Sequence[_Job]) -> Sequence[Any]:
        """Commit a batch in one transaction. If one of them is refused, commit each alone to find out which."""
        transitions = [job.transition for job in batch]
        try:
            return await self._in_one_transaction(lambda connection: self._writing.apply(connection, transitions))
        except StoreError:
            raise
        except Exception as refused:
            if len(batch) == 1:
                return [refused]
        return [answer for job in batch for answer in await self._commit([job])]

    async def _in_one_transaction(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Run `work` and commit it. Raises what refused it, or StoreError if the server cannot be reached for too long."""
        if self._broken is not None:
            raise self._broken
        loop = asyncio.get_running_loop()
        until = loop.time() + self._give_up_seconds
        tries = 0
        while True:
            tries += 1
            done: list[T] = []
            try:
                async with asyncio.timeout(self._answer_seconds):
                    await self._run(work, done)
            except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
                if self._lost(error):
                    if await self._was_committed(until):
                        self._failpoints("store.committed")
                        return done[0]  # a COMMIT is sent only after the work is done
                    again = loop.time() < until
                else:
                    await self._roll_back()
                    again = isinstance(error, errors.DeadlockDetected | errors.SerializationFailure) and tries < TRIES_MAX
                if not again:
                    raise explain(self._connections.place, error) from error
                continue
            except BaseException as error:
                await self._roll_back()
                raise self._as_raised(error) from error
            else:
                self._number += 1
            self._failpoints("store.committed")
            return done[0]  # a COMMIT is sent only after the work is done

    async def _run(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]], done: list[T]) -> None:
        connection = await self._connected()
        await connection.execute("BEGIN")
        if local := self._connections.place.local():
            await connection.execute(f"{local}; SET LOCAL {self._idle}")
        await rows_of(connection, self._writing.sql["begin_batch"], {"engine": self._writing.engine, "number": self._number + 1})
        done.append(await work(connection))
        self._failpoints("store.commit")
        await connection.execute("COMMIT")

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
        return connection is None or connection.closed or error.sqlstate is None or error.sqlstate.startswith(("57P", "08"))

    async def _was_committed(self, until: float) -> bool:
        """Return whether the last batch was committed. If it was not, it never will be.

        An absent batch's number is skipped by two, so that a second look, after a void whose own commit was not answered, sees a void.
        """
        loop = asyncio.get_running_loop()
        self.unknown += 1
        number, tries = self._number + 1, 0
        while True:
            try:
                if self._connection is not None:
                    await self._connection.close()
                self._connection = None
                async with asyncio.timeout(self._answer_seconds):
                    connection = await self._connected()
                    async with connection.transaction():
                        values = {"engine": self._writing.engine, "number": number}
                        rows = await rows_of(connection, self._writing.sql["last_batch"], values)
                        if not rows:
                            raise LeaseLost(LOST)  # the number of an engine without a lease is forgotten
                        last = rows[0][0]
                        if last < number:
                            await rows_of(connection, self._writing.sql["void_batch"], values)
                            last = number + 1
            except (psycopg.Error, TimeoutError) as error:
                if loop.time() > until:
                    self._broken = explain(self._connections.place, error)
                    raise self._broken from error
                await asyncio.sleep(AGAIN_SECONDS[min(tries, len(AGAIN_SECONDS) - 1)])
                tries += 1
                continue
            self._number = last
            self.found_committed += last == number
            return bool(last == number)

    async def _connected(self) -> AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await self._connections.connect()
            if not self._connections.place.pooled:
                await self._connection.execute(f"SET {self._idle}")
        return self._connection

    async def _roll_back(self) -> None:
        if self._connection is None:
            return
        try:
            await self._connection.execute("ROLLBACK")
        except psycopg.Error:
            await self._connection.close()
            self._connection = None
