"""Take in mails side by side.

Mails are looked up one after the other, so that their cases start in their order. Their deliveries overlap, so that their commits share
flushes. A mail is looked up only after the delivery of each mail that it may belong to.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from pointsman_desk.mail.apart import first_look
from pointsman_desk.nodes.ingest import Taken, look_up, names_of
from pointsman_desk.wiring import Desk

TAKEN_AT_ONCE = 16  # mails: with more, a flush is a small part of what they cost


class Intake:
    """Takes in mails, and calls `count` with what happened to each."""

    def __init__(self, desk: Desk, count: Callable[[Taken], None]) -> None:
        self._desk = desk
        self._count = count
        self._under_way: dict[asyncio.Task[None], frozenset[str]] = {}

    async def begin(self, raw: bytes) -> None:
        """Begin to take in a mail, when there is a place for it. Raises what the taking of an earlier mail raised."""
        identity = await first_look(raw)
        names = names_of(identity)
        while len(self._under_way) == TAKEN_AT_ONCE or any(not names.isdisjoint(others) for others in self._under_way.values()):
            await self._one_ends()
        desk = self._desk
        deliver = await look_up(desk.engine, desk.process, raw, identity, desk.conversations, now=desk.clock.now())
        self._under_way[asyncio.create_task(self._counted(deliver))] = names

    async def end(self) -> None:
        """Wait until all mails are taken in. Raises what the taking of a mail raised."""
        while self._under_way:
            await self._one_ends()

    async def cancel(self) -> None:
        """Cancel what is under way. Those mails come again, as after a crash."""
        for taking in self._under_way:
            taking.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _counted(self, deliver: Callable[[], Awaitable[Taken]]) -> None:
        self._count(await deliver())

    async def _one_ends(self) -> None:
        ended, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        for taking in ended:
            del self._under_way[taking]
            taking.result()


@asynccontextmanager
async def side_by_side(desk: Desk, count: Callable[[Taken], None]) -> AsyncIterator[Intake]:
    """Take in mails side by side, all of them by the end of the block. Raises what the taking of a mail raised."""
    intake = Intake(desk, count)
    try:
        yield intake
        await intake.end()
    finally:
        await intake.cancel()
