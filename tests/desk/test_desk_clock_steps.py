"""The desk while somebody sets the machine's clock: every run ends, nothing is sent twice, and nothing waits for the difference."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pointsman import NotSent, Status, SystemClock
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Receipt
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.transports.maildir import MaildirOutbox
from pointsman_desk.wiring import open_desk

BOUND_SECONDS = 100.0  # a run that waited for the clock to catch up would take longer; it never decides a run that ends


class Set(SystemClock):
    """The machine's clock, and by how much somebody has set it."""

    ahead_seconds = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead_seconds


class Later(MaildirOutbox):
    """An outbox that says "later" once, and at that moment the clock is set."""

    def __init__(self, path: Path, clock: Set, by_seconds: float) -> None:
        super().__init__(path)
        self.calls = 0
        self._clock, self._by_seconds = clock, by_seconds

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        self.calls += 1
        if self.calls == 1:
            self._clock.ahead_seconds += self._by_seconds
            raise NotSent("later", retry_after=0.5)
        return await super().deliver(raw, sender=sender, to=to, key=key, cc=cc)


@pytest.mark.parametrize("by_seconds", [-7_200.0, -120.0, 120.0, 7_200.0])
def test_a_run_ends_whatever_the_clock_does_and_the_next_one_sends_once(tmp_path: Path, by_seconds: float) -> None:
    config = DeskConfig(home=tmp_path / "desk", mailbox=None, authserv="mx.haus-und-hof.example")
    clock = Set()
    outbox = Later(config.outbox, clock, by_seconds)
    mails = [Found("a mail", (SAMPLE / "mails" / "06-hours-en.eml").read_bytes())]

    async def run(clock: SystemClock) -> list[tuple[Status, str | None]]:
        async with asyncio.timeout(BOUND_SECONDS), open_desk(config, transport=outbox, clock=clock) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event(), mails)
            return [(row.status, row.outcome) for row in await desk.engine.reader.cases()]

    first: Any = asyncio.run(run(clock))
    clock.ahead_seconds = 0.0  # and somebody sets it right again
    second = asyncio.run(run(clock))

    assert first[0][0] in {Status.READY, Status.DONE}
    assert second == [(Status.DONE, "sent")]
    assert outbox.calls == 2
    assert len(list((config.outbox / "new").iterdir())) == 1
