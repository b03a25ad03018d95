"""Where mailboxes hand over their mails, and the desk takes them in when it is open."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from pointsman import Busy, Started
from pointsman_desk.errors import DeskError
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.mailbox import Mailbox

CLOSED_SECONDS = 10.0  # a desk that is started again is there by then


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    mails: Sequence[Found]
    taken: asyncio.Future[list[Started | None]]


class Arrivals:
    """Mails that mailboxes have handed over; `news` is set while there are some. `report` is told what the mailboxes ran into."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self._problems: list[str] = []
        self._batches: deque[_Batch] = deque()
        self._fetching: list[asyncio.Task[None]] = []
        self._closed = False

    async def hand_over(self, mails: Sequence[Found]) -> list[Started | None]:
        """Return when the desk has taken these mails in for good: the case of each, None for one that was not read. Raises Busy.

        Who gives up waiting has them back, as far as the desk has not begun with them.
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
        """Take nothing any more, and send away who waits: the desk stops."""
        self._closed = True
        for batch in self._batches:
            if not batch.taken.done():
                batch.taken.set_exception(_closed())

    async def take_in(
        self, take: Callable[[Found], Awaitable[Started | None]], stop: asyncio.Event, wanted: Callable[[], bool] = lambda: False
    ) -> None:
        """Take each mail in that was handed over, until `stop`. What is left then, and what `take` raises at, is not acknowledged.

        Between two batches it ends where the cases are `wanted` by others.
        """
        while self._batches and not (stop.is_set() or wanted()):
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
            elif not batch.taken.done():  # whoever handed it over may have gone
                batch.taken.set_result(started)
        if not self._batches:
            self.news.clear()

    async def _started(
        self, mails: Sequence[Found], take: Callable[[Found], Awaitable[Started | None]], stop: asyncio.Event
    ) -> list[Started | None] | None:
        """The cases of a batch; None where `stop` came before its end."""
        started = []
        for found in mails:
            if stop.is_set():
                return None
            started.append(await take(found))
        return started

    def report(self, problem: str) -> None:
        """Keep what a mailbox ran into until somebody asks."""
        self._problems.append(problem)

    def take_problems(self) -> list[str]:
        """What the mailboxes have run into since this was asked last, as sentences."""
        problems, self._problems = self._problems, []
        return problems

    async def fetched(self) -> None:
        """Return when every mailbox that is fetched once has been."""
        if self._fetching:
            await asyncio.wait(self._fetching)

    @asynccontextmanager
    async def of(self, mailboxes: Sequence[Mailbox], *, follow: bool) -> AsyncIterator[None]:
        """Have these mailboxes fetched: once, or with `follow` as mails come until the block is left."""
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
        with suppress(DeskError):  # the mailbox has told of it
            try:
                await mailbox.fetch(self.hand_over)
            except Busy as busy:
                self.report(str(busy))
        await mailbox.close()


def _closed() -> Busy:
    return Busy("the desk stops; hand the mails over to the next one.", retry_after=CLOSED_SECONDS)
