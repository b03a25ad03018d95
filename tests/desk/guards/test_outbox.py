"""A model that obeys the mail, invents, flatters and leaks, and never mends it: none of that is written or leaves."""

import asyncio
from collections.abc import Sequence
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

from desk.guards.replies import EVIL, LATE, Scene, scene
from pointsman import history_of
from pointsman.models import Message, Scripted, Task
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Language, Trust
from pointsman_desk.config import DeskConfig, LimitsConfig
from pointsman_desk.wiring import open_desk

SERVER = "mx.haus-und-hof.example"
HARMLESS = scene("We are looking into it.")
# What is evil whatever the mail asks, as an order's status is the one question here that the sample policy leaves to the machine;
# and not in the subject, which no model writes.
SENDABLE = tuple(
    one for one in EVIL if one.order is LATE and one.trust is Trust.BOUND and one.caught not in ("apology_included", "subject_kept")
    and one.reply.subject == "Question"
)  # fmt: skip
ASKS = {
    Language.ENGLISH: "Hello,\n\nwhere is my order A-1012?\n\nJonas Weber",
    Language.GERMAN: "Guten Tag,\n\nwo bleibt meine Bestellung A-1012?\n\nJonas Weber",
    Language.FRENCH: "Bonjour,\n\noù est ma commande A-1012 ?\n\nJonas Weber",
    Language.SPANISH: "Hola:\n\n¿dónde está mi pedido A-1012?\n\nJonas Weber",
}


def answer(script: Sequence[Scene], task: Task) -> dict[str, Any]:
    """The n-th scene for the n-th mail; every tenth mail is put into a class that does not exist."""
    mail = task.inputs["mail"] if task.name == "classify" else task.inputs["brief"].mail
    number = int(mail.message_id.partition("@")[0])
    one = script[number]
    if task.name == "classify":
        intent = "send_at_once" if number % 10 == 0 else "order_status"
        return {"intent": intent, "risk": "low", "language": one.language, "order_number": "A-1012"}
    return {"body": one.reply.body, "tone": one.reply.tone, "language": one.reply.language}


def eml(number: int, language: Language) -> bytes:
    return (
        f"Authentication-Results: {SERVER}; dkim=pass header.d=mail.example; dmarc=pass header.from=mail.example\r\n"
        "From: Jonas Weber <jonas.weber@mail.example>\r\nTo: support@haus-und-hof.example\r\nSubject: A-1012\r\n"
        f"Date: Wed, 18 Nov 2026 08:41:52 +0100\r\nMessage-ID: <{number}@mail.example>\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{ASKS[language]}\r\n"
    ).encode()


UNLIMITED = LimitsConfig(machine_address_day=1_000, mails_minute=1_000, mails_five_minutes=1_000, mails_hour=1_000)


def test_no_evil_reply_reaches_the_outbox(tmp_path: Path) -> None:
    script = (*SENDABLE, HARMLESS)
    mailbox = tmp_path / "mailbox"
    mailbox.mkdir()
    for number, one in enumerate(script):
        (mailbox / f"{number:04}.eml").write_bytes(eml(number, one.language))
    config = DeskConfig(home=tmp_path / "desk", mailbox=mailbox, authserv=SERVER, limits=UNLIMITED)

    def says(task: Task, _: Sequence[Message]) -> dict[str, Any]:
        return answer(script, task)

    async def work() -> list[Any]:
        async with open_desk(config, models=[Scripted(says)]) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event())
            rows = await desk.engine.reader.cases(limit=1_000)
            return [(row.outcome, (await history_of(desk.engine.reader, row.id)).state["reply"]) for row in rows]

    ends = asyncio.run(work())

    sent = [text_of(file.read_bytes()) for file in (config.outbox / "new").glob("*")]
    evil = [one for one in SENDABLE if one.reply.body.strip() and any(flat(one.reply.body) in text for text in sent)]
    stood = [reply.get("author") for _, reply in ends]
    templates = sum(outcome == "sent" for outcome, _ in ends)
    print(
        f"{len(SENDABLE)} evil replies: {stood.count('scripted') - 1} in the state, {len(evil)} in the outbox; {templates} templates in their stead"
    )
    assert len(ends) == len(script)
    assert stood[-1] == "scripted"
    assert stood.count("scripted") == 1
    assert evil == []
    assert templates > len(SENDABLE) // 2


def text_of(raw: bytes) -> str:
    body = message_from_bytes(raw, policy=default).get_body()
    assert body is not None
    return flat(body.get_content())


def flat(text: str) -> str:
    return " ".join(text.split())
