"""A mailbox on a mail server: hand over its mails as they come, each at least once, and record its health."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

from pointsman import Busy, Clock
from pointsman_desk.errors import DeskError, MailboxRefused, MailboxUnreachable
from pointsman_desk.mail.own_thread import in_thread
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.sources.imap import Connection, Listed
from pointsman_desk.mail.sources.turns import ReadElsewhere, Turn

BATCH_MAX = 50  # mails fetched together; a crash repeats at most these
BATCH_BYTES_MAX = 16 * 2**20  # of them in memory, unless a single mail is longer
RECONNECT_SECONDS, RECONNECT_MAX_SECONDS = 1.0, 120.0  # the first and the longest wait after a broken connection
REFUSED_SECONDS, REFUSED_MAX_SECONDS = 60.0, 1_800.0  # the same after a refusal, which a person must fix; many attempts lock an account

Deliver = Callable[[Sequence[Found]], Awaitable[object]]
"""Takes mails in: when it returns, the case of each is committed. Raises Busy if the backlog is full."""


class Mailbox:
    """One mailbox. `place` is the file with its bookmark, which moves only after mails were taken in, or the turn at a mailbox that desks share.

    While another desk has its turn, nothing is fetched. `clock` and `random` time the attempts; `report` is called with each new problem, as
    one sentence.
    """

    def __init__(
        self, account: Account, place: Path | Turn, *, clock: Clock, random: Random, report: Callable[[str], None] = lambda _: None
    ) -> None:
        self.account = account
        self._place = place
        self._turn_read = 0
        self._clock = clock
        self._random = random
        self._report = report
        self._connection: Connection | None = None
        self._failures = 0
        self._last_problem: str | None = None
        self._batch_max = BATCH_MAX
        self._broke_at: Listed | None = None
        self._missed_at = 0.0
        self.bookmark = Bookmark.read(place, account.place) if isinstance(place, Path) else Bookmark(place=account.place)

    async def fetch(self, deliver: Deliver) -> None:
        """Hand over every mail that has not been taken in yet. Raises MailboxUnreachable, MailboxRefused, and what `deliver` raises."""
        try:
            if await self._has_turn():
                await self._fetch(deliver)
        except ReadElsewhere:
            return
        except DeskError as error:
            await self._failed(error)
            raise

    async def follow(self, deliver: Deliver) -> None:
        """Hand over mails as they come, until cancelled. Errors of the server are retried; raises what `deliver` raises."""
        try:
            while True:
                try:
                    await self.fetch(deliver)
                    await self._wait_for_mails()
                    self._failures = 0
                except Busy as busy:
                    await self._clock.wait(asyncio.Event(), busy.retry_after)
                except DeskError as error:
                    await self._cut()
                    self._failures += 1
                    await self._clock.wait(asyncio.Event(), self._delay_seconds(error))
        finally:
            await self._cut()
            await self.leave()

    async def leave(self) -> None:
        """Let another desk read the mailbox."""
        if isinstance(self._place, Turn):
            with suppress(DeskError):  # then the turn ends by itself
                await self._place.leave()

    async def close(self) -> None:
        """Log out of the server; waits at most the account's `timeout_seconds`."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await in_thread(connection.close)

    async def _has_turn(self) -> bool:
        """Return whether this desk may read the mailbox. At the beginning of its turn, it reads how far another desk has come."""
        if isinstance(self._place, Path):
            return True
        if not await self._place.take():
            return False
        if self._turn_read != self._place.number:
            self.bookmark = Bookmark.of(await self._place.bookmark(), self.account.place)
            self._turn_read = self._place.number
        return True

    async def _fetch(self, deliver: Deliver) -> None:
        connection = await self._connected()
        uidvalidity = await in_thread(connection.look)
        if (
            uidvalidity != self.bookmark.uidvalidity
        ):  # the server has renumbered its mails; those with a case are recognised by their content
            await self._note(uidvalidity=uidvalidity, uid=0, missed=())
        missed = self._missed_now()
        listed = await in_thread(lambda: connection.beyond(self.bookmark.uid, missed))
        await self._note(looked_at=self._clock.now(), behind=len(listed))
        turn = self._turn_read
        while listed:
            batch = _batch(listed, self._batch_max)
            listed = listed[len(batch) :]
            if not await self._has_turn() or self._turn_read != turn:
                raise ReadElsewhere  # also if it is this desk's turn again: the list is old then
            texts = await self._texts(connection, batch)
            await deliver([Found(f"{self.account.name}/{uid}", raw) for uid, raw in texts.items() if raw is not None])
            await self._taken(batch, [uid for uid, raw in texts.items() if raw is None], behind=len(listed))
        self._batch_max, self._last_problem = BATCH_MAX, None
        await self._note(error=None, failing_since=None)

    def _missed_now(self) -> tuple[int, ...]:
        """Return the mails that the server did not return, from time to time, because it may be repaired."""
        if self._clock.now() < self._missed_at:
            return ()
        self._missed_at = self._clock.now() + REFUSED_MAX_SECONDS
        return self.bookmark.missed

    async def _texts(self, connection: Connection, batch: Sequence[Listed]) -> dict[int, bytes | None]:
        """Fetch a batch. If the server breaks off at a mail, that mail is fetched twice, alone, before it counts as missed."""
        try:
            return await in_thread(lambda: connection.fetch(batch))
        except MailboxUnreachable:
            self._batch_max = 1
            if len(batch) == 1 and (batch[0] == self._broke_at or batch[0].uid in self.bookmark.missed):
                await self._taken(batch, [batch[0].uid], behind=self.bookmark.behind)
            self._broke_at = batch[0]
            raise

    async def _taken(self, batch: Sequence[Listed], missed: Sequence[int], *, behind: int) -> None:
        """Move the bookmark past a batch, and record which of its mails the server did not return."""
        before = set(self.bookmark.missed)
        for uid in set(missed) - before:
            where = f"mailbox {self.account.name}: {self.account.host}"
            self._report(f"{where} does not return mail {uid}; look at it on the server. The desk continues with the others.")
        still = (before - {mail.uid for mail in batch}) | set(missed)
        uid = max(self.bookmark.uid, batch[-1].uid)
        await self._note(uid=uid, missed=tuple(sorted(still)), behind=behind, fetched_at=self._clock.now())

    async def _wait_for_mails(self) -> None:
        """Wait until there may be new mails, or until another desk's turn may have ended."""
        if isinstance(self._place, Turn) and not self._place.mine():
            await self._cut()
            await self._clock.wait(asyncio.Event(), self._place.again_seconds)
            return
        connection = await self._connected()
        seconds = self.account.poll_seconds
        if connection.pushes:
            await in_thread(lambda: connection.listen(seconds))
        else:
            await self._clock.wait(asyncio.Event(), seconds)

    async def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = await in_thread(lambda: Connection(self.account))
        return self._connection

    async def _cut(self) -> None:
        """Close the connection at once, even if a thread is waiting."""
        if self._connection is not None:
            self._connection.cut()
            await self.close()

    def _delay_seconds(self, error: DeskError) -> float:
        """Return the seconds until the next attempt: doubled each time, and random, so that two desks do not reconnect together."""
        first, most = (
            (REFUSED_SECONDS, REFUSED_MAX_SECONDS) if isinstance(error, MailboxRefused) else (RECONNECT_SECONDS, RECONNECT_MAX_SECONDS)
        )
        return min(most, first * 2.0 ** min(self._failures - 1, 20)) * self._random.uniform(0.5, 1.0)

    async def _failed(self, error: DeskError) -> None:
        with suppress(DeskError, ReadElsewhere):  # the tables that desks share may be what failed
            await self._note(error=str(error), failing_since=self.bookmark.failing_since or self._clock.now())
        if str(error) != self._last_problem:
            self._last_problem = str(error)
            self._report(str(error))

    async def _note(self, **known: object) -> None:
        self.bookmark = self.bookmark.model_copy(update=known)
        if isinstance(self._place, Turn):
            await self._place.mark(self.bookmark.model_dump_json())
            return
        try:
            self.bookmark.write(self._place)
        except OSError as error:  # without it, mails are fetched and recognised again
            self._report(
                f"mailbox {self.account.name}: {self._place} cannot be written ({error.strerror}); free disk space or make it writable."
            )


def _batch(listed: Sequence[Listed], most: int) -> Sequence[Listed]:
    """Return the first mails of `listed` that fit into memory, at least one."""
    size = 0
    for number, mail in enumerate(listed[:most]):
        size += mail.size
        if number and size > BATCH_BYTES_MAX:
            return listed[:number]
    return listed[:most]
