"""The newest events, read once each: a page that is shown again reads only what was committed since."""

import asyncio

from pointsman.operations.flow import Flow
from pointsman.runtime.engine import Engine

EVENTS_MAX = 10_000  # to begin with: about a thousand cases, read in a tenth of a second
PAGE_EVENTS = 2_000  # in one read, so that no read takes long
LOOKED_UP_MAX = 100  # pauses to read for one page whose answer is among the events, and their opening is not


class Newest:
    """What the newest events of an engine tell; it belongs to one set of pages."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._flow = Flow()
        self._cursor = ""
        self._looking = asyncio.Lock()

    async def flow(self, engine: Engine) -> Flow:
        """Return what the newest events tell, with those that have been committed until now."""
        async with self._looking:
            if engine is not self._engine or not self._cursor or not await self._go_on(engine):
                await self._begin(engine)
            await self._pair(engine)
            return self._flow

    async def _begin(self, engine: Engine) -> None:
        events = await engine.reader.newest_events(limit=EVENTS_MAX)
        self._engine, self._flow, self._cursor = engine, Flow(), events[-1].cursor if events else ""
        self._flow.take(events)

    async def _go_on(self, engine: Engine) -> bool:
        """Read the events since the last look; False if they are so many that it is better to begin again."""
        for _ in range(EVENTS_MAX // PAGE_EVENTS):
            events = await engine.reader.events(after=self._cursor, limit=PAGE_EVENTS)
            if not events:
                return True
            self._cursor = events[-1].cursor
            self._flow.take(events)
            if len(events) < PAGE_EVENTS:
                return True
        return False

    async def _pair(self, engine: Engine) -> None:
        """Find out when the pauses opened that are older than the events."""
        unpaired, self._flow.unpaired = self._flow.unpaired[-LOOKED_UP_MAX:], []
        for event in unpaired:
            pause = await engine.reader.pause(event.case)
            if pause is not None and pause.name == event.step and pause.closed_at == event.at:
                self._flow.answered(event, pause.opened_at)
