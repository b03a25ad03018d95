"""Mails on their way from mailboxes to the desk, which takes them in when it is open."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from pointsman import Busy, Started
from pointsman_desk.errors import DeskError
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.mailbox import Mailbox

CLOSED_SECONDS = 10.0  # a restarted desk is open by then


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    mails: Sequence[Found]
    taken: asyncio.Future[list[Started | None]]


class Arrivals:
    """Mails that mailboxes have handed over. `news` is set while there are any; `report` gets the problems of the mailboxes."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._problems: list[str] = []
        self._batches: deque[_Batch] = deque()
        self._fetching: list[asyncio.Task[None]] = []
        self._closed = False

    async def hand_over(self, mails: Sequence[Found]) -> list[Started | None]:
        """Wait until the desk has committed these mails, and return the case of each (None for one that was not read). Raises Busy.

        If the caller stops waiting, mails that the desk has not begun with are not taken in.
        """
        if self._closed:
            raise _closed()
        batch = _Batch(mails, asyncio.get_running_loop().create_future())
        self._batches.append(batch)
        self.news.set()
        try:
            return await batch.taken
        finally:
            with suppress(ValueError):
                self._batches.remove(batch)

    def close(self) -> None:
        """Accept no more mails, and raise Busy for waiting callers, because the desk stops."""
        self._closed = True
        for batch in self._batches:
            if not batch.taken.done():
                batch.taken.set_exception(_closed())

    async def take_in(self, take: Callable[[Found], Awaitable[Started | None]], stop: asyncio.Event) -> None:
        """Take in each mail that was handed over, until `stop`. Mails that remain, or for which `take` raises, are not acknowledged."""
        while self._batches and not stop.is_set():
            batch = self._batches.popleft()
            try:
                started = await self._started(batch.mails, take, stop)
            except Busy as busy:
                if not batch.taken.done():
                    batch.taken.set_exception(busy)
                continue
            except BaseException:
                self._batches.appendleft(batch)
                raise
            if started is None:
                self._batches.appendleft(batch)
            elif not batch.taken.done():  # the caller may have stopped waiting
                batch.taken.set_result(started)
        if not self._batches:
            self.news.clear()

    async def _started(
        self, mails: Sequence[Found], take: Callable[[Found], Awaitable[Started | None]], stop: asyncio.Event
    ) -> list[Started | None] | None:
        """Return the cases of a batch; None if `stop` was set before its end."""
        started = []
        for found in mails:
            if stop.is_set():
                return None
            started.append(await take(found))
        return started

    def report(self, problem: str) -> None:
        """Store a problem of a mailbox until `take_problems`."""
        self._problems.append(problem)

    def take_problems(self) -> list[str]:
        """Return the problems since the last call, as sentences."""
        problems, self._problems = self._problems, []
        return problems

    async def fetched(self) -> None:
        """Wait until every mailbox that is fetched once is finished."""
        if self._fetching:
            await asyncio.wait(self._fetching)

    @asynccontextmanager
    async def of(self, mailboxes: Sequence[Mailbox], *, follow: bool) -> AsyncIterator[None]:
        """Fetch these mailboxes while the block runs: once, or with `follow` as mails come."""
        async with asyncio.TaskGroup() as group:
            fetches = [mailbox.follow(self.hand_over) if follow else self._fetch(mailbox) for mailbox in mailboxes]
            tasks = [group.create_task(fetch) for fetch in fetches]
            self._fetching = [] if follow else tasks
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _fetch(self, mailbox: Mailbox) -> None:
        with suppress(DeskError):  # the mailbox has reported it
            try:
                await mailbox.fetch(self.hand_over)
            except Busy as busy:
                self.report(str(busy))
        await mailbox.close()
        await mailbox.leave()


def _closed() -> Busy:
    return Busy("the desk is stopping; hand the mails over again after its restart.", retry_after=CLOSED_SECONDS)
