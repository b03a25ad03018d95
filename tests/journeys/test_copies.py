"""Copies for those in Cc, by the commands and a real mail server: who gets one is a person's choice, and nobody gets two, whatever breaks."""

import asyncio
import json
import mailbox
import time
from pathlib import Path
from typing import Any

import pytest
from desk_over_smtp import ARCHIVE, CommandedDesk

from pointsman import CaseRow, Status
from pointsman.testing.clock import ManualClock
from pointsman_desk import desk as at_desk
from pointsman_desk.config import load_config
from pointsman_desk.wiring import open_desk
from smtp_faults import mail_server

JANE, MARY, PAUL = "jane@customer.example", "mary@other.example", "paul@third.example"
OWN = "support@haus-und-hof.example"
QUESTION = (
    f"From: {JANE}\nTo: {OWN}\nCc: Mary <{MARY}>, {OWN}, {PAUL}\nSubject: Opening hours\nMessage-ID: <one@customer.example>\n"
    "Date: Mon, 02 Nov 2026 10:01:00 +0000\n\nI want my money back for the chair. When are you open?\n"
).encode()


@pytest.fixture(autouse=True)
def _nobody_outside(only_here: None) -> None:
    """No mail of these tests leaves this machine."""


def copied_in(content: bytes) -> bytes | None:
    """The Cc field of a mail."""
    head = content.replace(b"\r\n ", b" ").partition(b"\r\n\r\n")[0]
    return next((line[4:] for line in head.split(b"\r\n") if line.startswith(b"Cc: ")), None)


def told(command: Any) -> str:
    assert command.returncode == 0, command.stderr
    assert "Traceback" not in command.stderr
    return " ".join(command.stdout.split())


def waiting(folder: Path, server: Any, **settings: Any) -> CommandedDesk:
    desk = CommandedDesk(folder, server, QUESTION, **settings)
    told(desk.command("run"))
    return desk


@pytest.mark.parametrize(
    ("words", "copies"),
    [
        ([], []),
        ([["approve", "1", "--cc", "keep"]], [MARY, PAUL]),
        ([["approve", "1", "--cc", "drop"]], []),
        ([["approve", "1", "--cc", "keep"], ["approve", "1", "--cc", "drop"]], []),
        ([["approve", "1", "--to", MARY, "--cc", "keep"]], [PAUL]),
        ([["edit", "1", "--cc", "keep", "--text", "We look into it, and write to you."]], [MARY, PAUL]),
    ],
    ids=["nothing said", "keep", "drop", "kept and dropped", "another recipient", "edit"],
)
def test_those_in_cc_get_a_copy_where_a_person_says_so(words: list[list[str]], copies: list[str], tmp_path: Path) -> None:
    with mail_server() as server:
        desk = waiting(tmp_path, server)
        seen = told(desk.command("show", "1"))
        for command in words:
            told(desk.command(*command, "--by", "anna"))
        left_at_once = list(server.taken)
        composed = told(desk.command("show", "1"))
        told(desk.command("approve", "1", "--by", "anna", "--yes", "--despite-violations"))

    [(_, recipients, content)] = server.taken
    assert f"Cc: {MARY}, {PAUL}" in seen
    assert left_at_once == [], "what is composed anew waits for its approval"
    assert (f"Copy to {', '.join(copies)}" in composed) is bool(copies)
    assert ("Copy to" in composed) is bool(copies)
    assert recipients == [MARY if [MARY] in [w[3:4] for w in words] else JANE, *copies]
    assert copied_in(content) == (", ".join(copies).encode() or None)


def test_who_saw_the_draft_without_copies_has_not_approved_them(tmp_path: Path) -> None:
    with mail_server() as server:
        desk = waiting(tmp_path, server)
        seen = json.loads(desk.command("show", "1", "--json").stdout)["pause"]["digest"]
        told(desk.command("approve", "1", "--cc", "keep", "--by", "bob"))
        refused = desk.command("approve", "1", "--seen", seen, "--by", "anna")

    assert refused.returncode == 1
    assert "changed since you saw it" in " ".join(refused.stderr.split())
    assert f"Copy to {MARY}, {PAUL}" in " ".join(refused.stdout.split())
    assert server.taken == []


def test_a_word_other_than_keep_and_drop_is_refused(tmp_path: Path) -> None:
    with mail_server() as server:
        desk = waiting(tmp_path, server)
        refused = desk.command("approve", "1", "--cc", "some", "--by", "anna")

    assert refused.returncode == 1
    assert "--cc some is not valid; use keep or drop" in refused.stderr
    assert server.taken == []


@pytest.mark.parametrize("mended", [True, False], ids=["sent again when mended", "opened again without copies"])
def test_a_reply_whose_copy_is_refused_goes_to_nobody_until_a_person_says_how(mended: bool, tmp_path: Path) -> None:
    with mail_server(f"RCPT {PAUL}", "550 no such user") as server:
        desk = waiting(tmp_path, server)
        told(desk.command("approve", "1", "--cc", "keep", "--by", "anna"))
        refused = desk.command("approve", "1", "--yes", "--by", "anna")
        shown = told(desk.command("show", "1"))
        [listed] = desk.cases()
        at_first = list(server.taken)
        if mended:
            server.mend()
            told(desk.command("resolve", "1", "--send-again", "--by", "anna"))
        else:
            told(desk.command("cancel", "1", "--why", "one address is gone", "--by", "anna"))
            told(desk.command("reopen", "1", "--by", "anna"))
            told(desk.command("approve", "2", "--yes", "--by", "anna"))

    assert refused.returncode == 1
    assert f"did not accept the recipient '{PAUL}': 550 no such user" in " ".join(refused.stdout.split())
    assert "Refused: the reply of" in shown
    assert "To change its text or recipient: cancel it, then pointsman-desk reopen 1" in shown
    assert listed["status"] == "parked"
    assert at_first == []
    assert [recipients for _, recipients, _ in server.taken] == [[JANE, MARY, PAUL] if mended else [JANE]]


async def looked_up(desk: CommandedDesk) -> CaseRow:
    """Let the time pass that the case waits for, beyond every deadline of the first life."""
    clock = ManualClock(time.time() + 10_000.0)
    async with open_desk(load_config(desk.file), clock=clock) as opened:
        work = asyncio.ensure_future(at_desk.work_off(opened, lambda name: None, asyncio.Event()))
        while (row := await opened.engine.case(1)).status not in {Status.DONE, Status.PARKED}:
            if row.status is Status.READY and (row.wake_at or 0.0) > clock.now():
                clock.advance((row.wake_at or 0.0) - clock.now())
            await asyncio.sleep(0)
        await work
        return row


@pytest.mark.parametrize("filed", [True, False], ids=["copy filed", "no copy"])
def test_a_desk_killed_behind_the_dot_looks_up_the_one_mail_that_all_recipients_got(filed: bool, tmp_path: Path) -> None:
    with mail_server(deliver=lambda *_: server.reached("taken")) as server:
        desk = waiting(tmp_path, server, archive=True)
        told(desk.command("approve", "1", "--cc", "keep", "--by", "anna"))
        desk.approve_and_die()
        [(_, recipients, content)] = server.taken
        if filed:
            mailbox.Maildir(desk.archive).add(content)
        row = asyncio.run(looked_up(desk))
        shown = told(desk.command("show", "1"))
        if not filed:
            told(desk.command("resolve", "1", "--send-again", "--by", "anna"))

    assert recipients == [JANE, MARY, PAUL, ARCHIVE]
    assert copied_in(content) == f"{MARY}, {PAUL}".encode()
    assert row.status is (Status.DONE if filed else Status.PARKED)
    assert f"Copy to {MARY}, {PAUL}" in shown
    assert ("In doubt: the reply of" in shown) is not filed
    for one in (JANE, MARY, PAUL):
        assert set(desk.got(one)) == {content}
        assert len(desk.got(one)) == (1 if filed else 2)
