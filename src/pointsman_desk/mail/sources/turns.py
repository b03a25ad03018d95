"""Which of several desks reads a mailbox: one at a time, by a lease in the tables that they share.

The lease saves work and nothing else: two desks that read one mailbox would make no double case, because each mail has a key.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from pointsman import Clock
from pointsman_desk.errors import DeskError
from pointsman_desk.mail.own_thread import in_thread

if TYPE_CHECKING:  # it needs psycopg
    from pointsman_desk.shared import SharedTables

LEASE_SECONDS = 30.0  # the mailbox of a desk that has died waits so long for another desk; as long as an engine's lease
RENEWALS = 3  # within one lease: two may fail or be late before it ends


class ReadElsewhere(Exception):
    """Another desk reads the mailbox now."""


class Turn:
    """The turn of this desk, `reader`, at one mailbox, and the bookmark of the mailbox. `tables` opens the shared tables.

    Every method may raise IndexUnavailable.
    """

    def __init__(
        self, tables: "Callable[[], SharedTables]", mailbox: str, reader: str, clock: Clock, *, seconds: float = LEASE_SECONDS
    ) -> None:  # fmt: skip
        self.number = 0  # of this turn: after another desk's turn, its bookmark counts
        self._open = tables
        self._tables: SharedTables | None = None
        self._mailbox = mailbox
        self._reader = reader
        self._clock = clock
        self._seconds = seconds
        self._until = self._ask_at = float("-inf")
        self._renewing: asyncio.Task[None] | None = None

    @property
    def again_seconds(self) -> float:
        """How long to wait until it makes sense to ask for a turn again."""
        return self._seconds / RENEWALS

    def mine(self) -> bool:
        """Return whether this desk certainly has its turn."""
        return self._clock.monotonic() < self._until

    async def take(self) -> bool:
        """Return whether this desk has its turn, which is renewed until `leave`. Another desk's turn is asked for from time to time only."""
        now = self._clock.monotonic()
        if self.mine() or now < self._ask_at:
            return self.mine()
        self._ask_at = now + self.again_seconds
        await self._stop_renewing()
        if await self._ask():
            self.number += 1
            self._renewing = asyncio.create_task(self._renew(), name="pointsman-desk-turn")
        return self.mine()

    async def bookmark(self) -> str | None:
        """Return the bookmark of the mailbox, or None."""
        tables = await self._opened()
        return await in_thread(lambda: tables.bookmark(self._mailbox))

    async def mark(self, bookmark: str) -> None:
        """Move the bookmark. Raises ReadElsewhere if another desk has its turn by now."""
        tables = await self._opened()
        if not await in_thread(lambda: tables.mark(self._mailbox, self._reader, bookmark)):
            self._until = float("-inf")
            raise ReadElsewhere

    async def leave(self) -> None:
        """End the turn, so that another desk need not wait, and close the tables."""
        await self._stop_renewing()
        tables, self._tables, self._until = self._tables, None, float("-inf")
        if tables is not None:
            try:
                await in_thread(lambda: tables.leave(self._mailbox, self._reader))
            finally:
                tables.close()

    async def _ask(self) -> bool:
        asked = self._clock.monotonic()  # before the question: the turn must end here before it ends there
        tables = await self._opened()
        given = await in_thread(lambda: tables.read(self._mailbox, self._reader, self._seconds))
        self._until = asked + self._seconds * (RENEWALS - 1) / RENEWALS if given else float("-inf")
        return given

    async def _renew(self) -> None:
        never = asyncio.Event()
        while self.mine():
            await self._clock.wait(never, self.again_seconds)
            try:
                if not self.mine() or not await self._ask():
                    return
            except DeskError:
                continue  # the turn ends by itself if this lasts

    async def _stop_renewing(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
            self._renewing = None

    async def _opened(self) -> "SharedTables":
        if self._tables is None:
            self._tables = await in_thread(self._open)
        return self._tables
