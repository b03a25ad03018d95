"""A reply whose sending was cut short, and a customer who writes again: nobody gets two, nobody is forgotten, and all of it is shown."""

import asyncio
import mailbox
import time
from pathlib import Path
from typing import Any

import pytest
from desk_over_smtp import CommandedDesk

from pointsman import Status
from pointsman.testing.clock import ManualClock
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Case
from pointsman_desk.config import SAMPLE, load_config
from pointsman_desk.mail.message import read_mail
from pointsman_desk.wiring import open_desk
from smtp_faults import MailServer, mail_server

ARTICLE = (SAMPLE / "mails" / "01-article.eml").read_bytes()
FIRST = read_mail(ARTICLE)
SECOND = (
    f"From: {FIRST.sender}\nTo: support@haus-und-hof.example\nSubject: Re: {FIRST.subject}\nMessage-ID: <second@mail.example>\n"
    f"Date: Mon, 30 Nov 2026 10:00:00 +0000\nIn-Reply-To: <{FIRST.message_id}>\n\nMy address has changed, too. It is Elm Road 7 now.\n"
).encode()


def keys_answered(desk: CommandedDesk, case: int) -> list[list[str]]:
    async def look() -> list[list[str]]:
        async with open_desk(load_config(desk.file)) as opened:
            return [sorted(one.answers) for one in (await opened.engine.state(case, Case)).sent]

    return asyncio.run(look())


def in_doubt(folder: Path, server: MailServer, *, archive: bool = False) -> CommandedDesk:
    life = CommandedDesk(folder, server, ARTICLE, archive=archive)
    assert life.command("run").returncode == 0
    life.approve_and_die()
    assert len(life.got(FIRST.sender)) == 1
    (life.mailbox / "2.eml").write_bytes(SECOND)
    assert life.command("run").returncode == 0
    return life


@pytest.mark.parametrize("way_on", ["--arrived", "--send-again", "cancel"])
def test_a_reply_in_doubt_is_settled_first_and_the_newer_mail_waits_beside_it(way_on: str, tmp_path: Path) -> None:
    days = {time.strftime("%Y-%m-%d")}
    with mail_server(deliver=lambda *_: server.reached("taken")) as server:
        life = in_doubt(tmp_path, server)
        days.add(time.strftime("%Y-%m-%d"))  # midnight may have come
        shown, listed = life.command("show", "1").stdout, life.cases()

        if way_on == "cancel":
            done = life.command("cancel", "1", "--why", "answered by telephone", "--by", "anna")
        else:
            done = life.command("resolve", "1", way_on, "--by", "anna")
        newer = 2 if way_on == "cancel" else 1
        then = life.cases()
        drafted = life.command("show", str(newer)).stdout
        sent = life.command("approve", str(newer), "--by", "anna", "--despite-violations")

    assert (listed[0]["status"], listed[0]["why"]) == (
        "parked",
        "nobody knows whether the reply was sent; a newer mail waits beside it",
    )
    told = " ".join(shown.split())
    assert "I need it for Monday" in told, "the mail that the reply answers"
    assert any(f"In doubt: the reply of {day}" in told for day in days)
    assert f"to {FIRST.sender}" in told
    assert "A newer mail waits for this decision" in told
    assert "Elm Road 7" in told
    assert "pointsman-desk resolve 1 --arrived" in told
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert [case["status"] for case in then] == (["cancelled", "waiting"] if way_on == "cancel" else ["waiting"])
    assert "Elm Road 7" in drafted
    assert sent.returncode == 0, sent.stderr
    assert len(life.got(FIRST.sender)) == 2, "the reply that was in doubt, and one to what came since"
    assert len(set(life.got(FIRST.sender))) == 2
    answered = [len(keys) for keys in keys_answered(life, newer)]
    assert answered == {"--arrived": [1, 1], "--send-again": [2], "cancel": [1]}[way_on]


def test_the_archive_settles_a_reply_in_doubt_before_the_newer_mail_is_taken_up(tmp_path: Path) -> None:
    async def later(life: CommandedDesk) -> Any:
        clock = ManualClock(time.time() + 10_000.0)  # beyond every deadline and settle time of the first life
        async with open_desk(load_config(life.file), clock=clock) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event())
            return await desk.engine.case(1), await desk.engine.state(1, Case)

    with mail_server(deliver=lambda *_: server.reached("taken")) as server:
        life = in_doubt(tmp_path, server, archive=True)
        before = life.cases()
        archive = mailbox.Maildir(life.archive)
        for content in life.got(FIRST.sender):
            archive.add(content)
        row, state = asyncio.run(later(life))

    assert (before[0]["status"], before[0]["why"]) == (
        "ready",
        "it is not known yet whether the reply was sent; a newer mail waits beside it",
    )
    assert row.status is Status.WAITING
    assert [len(one.answers) for one in state.sent] == [1], "the first reply is known to have answered the first mail"
    assert state.mail is not None
    assert "Elm Road 7" in state.mail.text
    assert len(life.got(FIRST.sender)) == 1
