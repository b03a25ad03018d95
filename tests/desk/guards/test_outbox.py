"""A model that writes evil replies and never mends them: none leaves without a person, and what it sends by itself is good."""

import asyncio
import sys
from pathlib import Path

from pointsman import Status, Violation
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Grounds, Intent, Mail, Reply, Risk, Trust
from pointsman_desk.config import DeskConfig
from pointsman_desk.models.base import Brief, Classification
from pointsman_desk.wiring import Desk, open_desk

sys.path.insert(0, str(Path(__file__).parent))

from replies import EVIL, LATE, Scene, scene

SERVER = "mx.haus-und-hof.example"
HARMLESS = scene("We are looking into it.")
# What is evil whatever the mail is about, as an order's status is the one intent that the sample policy leaves to the machine.
SENDABLE = tuple(one for one in EVIL if one.order is LATE and one.trust is Trust.BOUND and one.caught != "apology_included")


class Scripted:
    """A model that calls every mail a harmless question, and answers the n-th with the n-th reply of its script."""

    label = "scripted"

    def __init__(self, script: tuple[Scene, ...]) -> None:
        self._script = script

    async def classify(self, mail: Mail) -> Classification:
        grounds = Grounds(language=self._of(mail).language, order_number="A-1012", model=self.label)
        return Classification(intent=Intent.ORDER_STATUS, risk=Risk.LOW, grounds=grounds)

    async def draft(self, brief: Brief) -> Reply:
        return self._of(brief.mail).reply.model_copy(update={"author": self.label})

    async def repair(self, brief: Brief, reply: Reply, violations: tuple[Violation, ...]) -> Reply:
        assert violations
        return (await self.draft(brief)).model_copy(update={"repairs": reply.repairs + 1})

    def _of(self, mail: Mail) -> Scene:
        return self._script[int(mail.text)]


def eml(number: int) -> bytes:
    return (
        f"Authentication-Results: {SERVER}; dkim=pass header.d=mail.example; dmarc=pass header.from=mail.example\r\n"
        f"From: Jonas Weber <jonas.weber@mail.example>\r\nTo: support@haus-und-hof.example\r\nSubject: Question\r\n"
        f"Date: Wed, 18 Nov 2026 08:41:52 +0100\r\nMessage-ID: <{number}@mail.example>\r\n\r\n{number}\r\n"
    ).encode()


def test_no_evil_reply_reaches_the_outbox(tmp_path: Path) -> None:
    script = (*SENDABLE, HARMLESS)
    mailbox = tmp_path / "mailbox"
    mailbox.mkdir()
    for number in range(len(script)):
        (mailbox / f"{number:04}.eml").write_bytes(eml(number))
    config = DeskConfig(home=tmp_path / "desk", mailbox=mailbox, authserv=SERVER)

    async def work() -> list[Status]:
        async with open_desk(config, model=Scripted(script)) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event())
            return [row.status for row in await rows_of(desk)]

    statuses = asyncio.run(work())

    left = len(list((config.outbox / "new").glob("*")))
    print(f"{len(SENDABLE)} evil replies: {left - 1} in the outbox; 1 harmless reply: {statuses.count(Status.DONE)} in the outbox")
    assert statuses.count(Status.WAITING) == len(SENDABLE)
    assert (left, statuses.count(Status.DONE)) == (1, 1)


async def rows_of(desk: Desk) -> list[at_desk.CaseRow]:
    return list(await desk.engine.reader.cases(limit=1_000))
