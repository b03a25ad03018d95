"""Commit the transitions that come in together as one batch, on two connections, so that one batch is made while another is committed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from psycopg import AsyncConnection

from pointsman.errors import EngineStopped, StoreError
from pointsman.kernel.rows import Transition
from pointsman.store.base import Failpoints
from pointsman.store.postgres.connections import Connections
from pointsman.store.postgres.line import LINES, Fates, Line
from pointsman.store.postgres.writes import Writing

BATCH_MAX = 256  # transitions from which on a commit takes in no more
BATCH_MIN = 32  # transitions up to which a commit takes in all that there are; of more, each line gets its share
FORGETS = 16  # each batch lowers what was lately under way at once by this part, unless it is as much again

TURNS_MAX = 10  # of the event loop, to wait for more transitions

T = TypeVar("T")


class _Job(NamedTuple):
    """A transition whose caller waits for the `answer`, or has been cancelled."""

    transition: Transition
    answer: asyncio.Future[Any]


class Writer:
    """The only place that commits an engine's transitions. Make it inside the event loop that uses it, and `close` it.

    The transitions of a case are committed one after the other, in the order in which they were handed in.
    """

    def __init__(self, connections: Connections, writing: Writing, failpoints: Failpoints, give_up_seconds: float) -> None:
        self._connections = connections
        self.fates = Fates()
        self.lines = [Line(connections, writing, failpoints, give_up_seconds, self.fates, line) for line in range(1, LINES + 1)]
        self._flights: dict[Line, dict[int, _Job]] = {}  # what each line is committing, by its case
        self._tasks: set[asyncio.Task[None]] = set()
        self._jobs: list[_Job] = []
        self._others: list[tuple[Callable[[AsyncConnection[Any]], Awaitable[Any]], asyncio.Future[Any]]] = []
        self._together = 0  # transitions that were lately waiting and being committed at once
        self._work = asyncio.Event()
        self._landed = asyncio.Event()  # set when a batch has been committed or refused
        self._closed = False
        self.committed = asyncio.Event()  # set after each commit, for those who notify others
        self._task = asyncio.create_task(self._write(), name="pointsman-writer")

    def commit(self, transition: Transition) -> asyncio.Future[Any]:
        """Commit a transition with the next batch."""
        if self._closed:
            raise EngineStopped(f"the engine on {self._connections.place.shown} is closed; open it again.")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(transition, answer))
        self._work.set()
        return answer

    def alone(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> asyncio.Future[T]:
        """Run `work` in a transaction of its own while no batch is committed; a lost connection makes it run again, or not, as a batch does."""
        if self._closed:
            raise EngineStopped(f"the engine on {self._connections.place.shown} is closed; open it again.")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._others.append((work, answer))
        self._work.set()
        return answer

    async def all_committed(self) -> None:
        """Wait until everything that was handed in so far is committed, but not for what comes in meanwhile."""
        handed_in = self._uncommitted()
        while not handed_in.isdisjoint(self._uncommitted()):
            self._landed.clear()
            await self._landed.wait()

    def _uncommitted(self) -> set[asyncio.Future[Any]]:
        return {job.answer for jobs in (self._jobs, *(batch.values() for batch in self._flights.values())) for job in jobs}

    async def close(self) -> None:
        """Finish the batches, and close the connections."""
        self._closed = True
        self._work.set()
        await self._task
        for line in self.lines:
            await line.close()

    async def _write(self) -> None:
        while self._jobs or self._others or self._flights or not self._closed:
            await self._work.wait()
            self._work.clear()
            if self._others and not self._flights:
                await self._work_alone(*self._others.pop(0))
                self._work.set()
            await self._gather()
            while not (self._others and self._flights) and (batch := self._take()):
                line = next(line for line in self.lines if line not in self._flights)
                self._flights[line] = batch
                task = asyncio.create_task(self._fly(line, list(batch.values())), name="pointsman-batch")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _gather(self) -> None:
        """Wait as long as each turn of the event loop hands in more: many small batches cost more than a few large ones."""
        for _ in range(TURNS_MAX):
            before = len(self._jobs)
            await asyncio.sleep(0)
            if len(self._jobs) == before:
                return

    async def _work_alone(self, work: Callable[[AsyncConnection[Any]], Awaitable[Any]], answer: asyncio.Future[Any]) -> None:
        try:
            answered: Any = await self.lines[0].transact(work)
        except Exception as error:
            answered = error
        self._answer([answer], [answered])

    async def _fly(self, line: Line, batch: Sequence[_Job]) -> None:
        try:
            answered = await self._commit(line, batch)
        except Exception as error:
            answered = [error] * len(batch)
        del self._flights[line]
        self._work.set()
        self._landed.set()
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

    def _take(self) -> dict[int, _Job]:
        """The next batch, if a line is free: at most one transition of each case, and none of a case that another line is committing."""
        if len(self._flights) == LINES or not self._jobs:
            return {}
        flying = {case for batch in self._flights.values() for case in batch}
        # Some of what is under way is elsewhere: its callers make the next transitions. To share only the rest would make batches ever smaller.
        self._together = max(len(self._jobs) + len(flying), self._together - self._together // FORGETS)
        most = min(BATCH_MAX, max(BATCH_MIN, -(-self._together // LINES)))
        batch: dict[int, _Job] = {}
        later: list[_Job] = []
        for job in self._jobs:
            case = job.transition.case
            if len(batch) < most and case not in batch and case not in flying:
                batch[case] = job
            else:
                later.append(job)
        self._jobs = later
        return batch

    async def _commit(self, line: Line, batch: Sequence[_Job]) -> Sequence[Any]:
        """Commit a batch in one transaction. If one of them is refused, commit each alone to find out which."""
        try:
            return await line.write([job.transition for job in batch])
        except StoreError:
            raise
        except Exception as refused:
            if len(batch) == 1:
                return [refused]
        return [answer for job in batch for answer in await self._commit(line, [job])]
