"""Mails with the signs of a machine: a proof closes them, a person decides on all others, and what was ended can be brought back."""

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import interpreter
from pointsman import Status, history_of
from pointsman_desk import desk as at_desk
from pointsman_desk import sorting
from pointsman_desk.case import Case
from pointsman_desk.cli.lists import print_cases
from pointsman_desk.cli.one_case import print_case
from pointsman_desk.cli.terminal import console
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import DeskError
from pointsman_desk.mail.message import read_mail
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.nodes.machines import is_proved
from pointsman_desk.standing import beside, probably_automatic
from pointsman_desk.wiring import Desk, open_desk

OWN, JOHN = "support@haus-und-hof.example", "john.smith@post.example"
ASKS = "Where is my order A-1002? It has not arrived yet."
# Each stands in mails that people write: newsletters' tools, exchange rules, groups, answering machines of colleagues, relays.
FIELDS = (
    "List-Unsubscribe: <mailto:u@sender.example>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click", "List-ID: <support.haus-und-hof.example>",
    "List-Id: Customers <customers.post.example>", "List-Post: <mailto:customers@post.example>", f"Mailing-List: list {OWN}", "Precedence: bulk",
    "Precedence: list", "Precedence: junk", "Precedence: auto_reply", "X-Auto-Response-Suppress: All", "X-Auto-Response-Suppress: OOF",
    f"X-Loop: {OWN}", "X-Loop: post.example", "Return-Path: <>", "Auto-Submitted: auto-generated", "Auto-Submitted: auto-replied",
    "Auto-Submitted: auto-notified", "X-Autoreply: yes", "X-Autorespond: yes", "X-Failed-Recipients: a@post.example",
    "Content-Type: multipart/report; report-type=delivery-status; boundary=x", "Content-Type: message/delivery-status",
    "Reply-To: no-reply@post.example", "Feedback-ID: 1:2:3", "X-Mailing-List: customers@post.example",
)  # fmt: skip
SUBJECTS = (
    "Undelivered parcel, order A-1002", "Undeliverable: my parcel", "Abwesenheit bei Lieferung", "Out of office chairs?", "Non remis : colis",
    "Returned mail order item", "Mail delivery failed again", "Automatic reply needed", "Unzustellbar: mein Paket", "Failure notice for my lamp",
    "Correo no entregado", "My order", "Delivery has failed twice", "complaint about message from 12.11.",
)  # fmt: skip
SENDERS = ("John Smith <john.smith@post.example>", "no-reply@post.example", "postmaster@post.example", OWN)
TEXTS = ("The lamp is broken.", ASKS)


def mail(number: int, text: str = ASKS, *fields: str, sender: str = JOHN, subject: str = "My order") -> bytes:
    head = [
        f"From: {sender}",
        f"To: {OWN}",
        f"Subject: {subject}",
        f"Date: Mon, 02 Nov 2026 10:{number:02}:00 +0000",
        f"Message-ID: <mail-{number}@post.example>",
        "Authentication-Results: mx.haus-und-hof.example; dmarc=pass header.from=post.example",
        *fields,
    ]
    return ("\n".join(head) + "\n\n" + text + "\n").encode()


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> DeskConfig:
    return DeskConfig(home=tmp_path / "desk", mailbox=None, authserv="mx.haus-und-hof.example")


def at_the_desk(config: DeskConfig, work: Callable[[Desk], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with open_desk(config, models=()) as desk:
            return await work(desk)

    return asyncio.run(main())


async def take(desk: Desk, *mails: bytes) -> at_desk.Run:
    return await at_desk.work_off(desk, lambda name: None, asyncio.Event(), [Found(name="a mail", raw=raw) for raw in mails])


def test_no_field_and_no_subject_of_a_mail_that_a_person_may_have_written_closes_it() -> None:
    """With a link to a mail of the conversation, too: only what answers a mail of ours could be a proof."""
    tried = list(product(FIELDS, SUBJECTS, SENDERS, TEXTS))
    closed = [
        one
        for one in tried
        for read in [read_mail(mail(1, one[3], one[0], sender=one[2], subject=one[1]), own=OWN)]
        if is_proved(read, None) or is_proved(read, "answer to a mail of the conversation")
    ]

    print(f"\n{len(tried)} mails ({len(FIELDS)} fields x {len(SUBJECTS)} subjects x senders x texts): {len(closed)} closed unseen")
    assert closed == []


def test_what_is_probably_automatic_waits_in_a_group_of_its_own_for_one_command(config: DeskConfig) -> None:
    letters = [mail(number, "Our new lamps are here.", "Precedence: bulk", sender=f"news{number}@post.example") for number in (1, 2)]

    async def work(desk: Desk) -> Any:
        await take(desk, *letters, mail(3, "I want my money back for order A-1002."), mail(4, ASKS, "Precedence: bulk"))
        rows = await desk.engine.reader.cases()
        listed = await probably_automatic(desk.engine.reader)
        with pytest.raises(at_desk.NotSendable, match="accept 1"):
            await at_desk.approve(desk, 1, by="anna", seen=None)
        accepted = await sorting.accept(desk, 1, by="anna")
        closed = await sorting.close_all(desk, [1, 2, 3], by="anna")
        return rows, [row.id for row in listed], accepted, [(row.id, row.outcome) for row in closed], await desk.engine.state(1, Case)

    rows, listed, accepted, closed, state = at_the_desk(config, work)

    assert [row.status for row in rows] == [Status.WAITING] * 4
    assert [row.rule == "it is probably automatic" for row in rows] == [True, True, False, False]
    assert listed == [1, 2]
    assert (accepted.status, accepted.rule, state.sorting.by) == (Status.WAITING, "a machine may have sent it", "anna")
    assert closed == [(2, "automatic")]
    with console.capture() as shown:
        told = {"intents": (), "from": None, "subject": ""}
        print_cases([told | {"id": row.id, "status": row.status, "why": row.rule} for row in rows])
    assert "Probably automatic (2)" in shown.get().splitlines()


def test_a_mail_that_looks_automatic_voids_a_draft_and_does_not_close_what_the_customer_asked(config: DeskConfig) -> None:
    """A customer answers in the thread by a program that sends newsletters, too."""
    answer = mail(2, "Hello? I am still waiting.", "List-Unsubscribe: <mailto:u@sender.example>", "In-Reply-To: <mail-1@post.example>")

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, "I want my money back for order A-1002."))
        run = await take(desk, answer)
        return run.joined, await desk.engine.case(1), await probably_automatic(desk.engine.reader), await desk.engine.state(1, Case)

    joined, row, listed, state = at_the_desk(config, work)

    assert (joined, row.status, listed, state.reports) == ([1], Status.WAITING, [], [])
    assert len(state.mails) == 2


def test_an_automatic_reply_to_a_mail_of_ours_is_closed_with_proof(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1))
        ours = (await desk.engine.state(1, Case)).outgoing
        assert ours is not None
        away = "Auto-Submitted: auto-replied"
        await take(desk, mail(2, "I am away.", away, f"In-Reply-To: <{ours.message_id}>"), mail(3, "I am away.", away))
        return [(row.status, row.outcome or row.rule) for row in await desk.engine.reader.cases()]

    assert at_the_desk(config, work) == [
        (Status.DONE, "sent"), (Status.DONE, "automatic"), (Status.WAITING, "it is probably automatic"),
    ]  # fmt: skip


def test_our_own_mail_that_comes_round_is_closed_and_one_that_only_has_our_address_is_not(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1))
        [ours] = (config.outbox / "new").iterdir()
        await take(desk, b"Received: by mx.example\n" + ours.read_bytes(), mail(3, "Please call me back.", sender=OWN))
        return [(row.status, row.outcome or row.rule) for row in await desk.engine.reader.cases()]

    assert at_the_desk(config, work) == [
        (Status.DONE, "sent"), (Status.DONE, "automatic"), (Status.WAITING, "it is probably automatic"),
    ]  # fmt: skip


REPORT = """From: MAILER-DAEMON@mx.post.example
Return-Path: <>
Subject: Undelivered Mail Returned to Sender
Message-ID: <report@mx.post.example>
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It did not arrive.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.post.example

Final-Recipient: rfc822; info@haus-und-hof.example
Action: failed
Status: 5.1.1
--b
Content-Type: message/rfc822

From: {author}
To: info@haus-und-hof.example
Message-ID: <theirs@post.example>

I want a refund.
--b--
"""


@pytest.mark.parametrize(
    ("author", "ends"),
    [(JOHN, (Status.WAITING, "it is probably automatic")), ("no-reply@post.example", (Status.DONE, "automatic"))],
)
def test_a_report_that_brings_a_persons_mail_is_not_closed_unseen(config: DeskConfig, author: str, ends: Any) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, REPORT.format(author=author).encode())
        row = await desk.engine.case(1)
        return row.status, row.outcome or row.rule

    assert at_the_desk(config, work) == ends


@pytest.mark.parametrize(("text", "ends"), [("Our next meeting is in May.", Status.DONE), (ASKS, Status.WAITING)])
def test_a_post_to_somebody_elses_list_is_closed_where_no_customer_speaks(config: DeskConfig, text: str, ends: Status) -> None:
    to, post = f"To: {OWN}".encode(), b"To: talk@lists.example"
    fields = ("List-Id: <talk.lists.example>", "List-Post: <mailto:talk@lists.example>")

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, text, *fields).replace(to, post), mail(2, text, *fields))
        return [row.status for row in await desk.engine.reader.cases()]

    assert at_the_desk(config, work) == [ends, Status.WAITING]


async def _end(desk: Desk, how: str) -> None:
    if how == "automatic":
        [row] = await probably_automatic(desk.engine.reader)
        await sorting.close_all(desk, [row.id], by="anna")
    elif how == "rejected":
        await at_desk.reject(desk, 1, by="anna", why="not ours", seen=None)
    elif how == "cancelled":
        await at_desk.cancel(desk, 1, by="anna", why="a slip")


@pytest.mark.parametrize("how", ["automatic", "rejected", "cancelled", "sent"])
def test_whatever_has_ended_is_brought_back_once_and_never_answered_without_a_person(config: DeskConfig, how: str) -> None:
    raw = {"automatic": mail(1, "Our new lamps.", "Precedence: bulk"), "sent": mail(1)}.get(how, mail(1, "I want my money back."))

    async def work(desk: Desk) -> Any:
        await take(desk, raw)
        await _end(desk, how)
        before = await desk.engine.case(1)
        row = await sorting.reopen(desk, 1, by="ben", why="it was a customer")
        again = await sorting.reopen(desk, 1, by="ben", why="")
        cases = await desk.engine.reader.cases()
        with pytest.raises(DeskError, match="case 2 has not ended"):
            await sorting.reopen(desk, 2, by="ben", why="")
        history, later = (
            await history_of(desk.engine.reader, 2),
            (await beside(config, desk.engine.reader, await desk.engine.case(1))).later,
        )
        await at_desk.cancel(desk, 2, by="ben", why="after all")
        with pytest.raises(DeskError, match="reopen case 2"):
            await sorting.reopen(desk, 1, by="ben", why="")
        return before, row, again, len(cases), history, later, await take(desk, raw)

    before, row, again, cases, history, later, run = at_the_desk(config, work)

    assert before.outcome == how or before.status is Status.CANCELLED
    assert (row.id, row.status, again.id, cases, [one.case for one in later], run.known) == (2, Status.WAITING, 2, 2, [2], 1)
    assert row.correlation == before.correlation
    with console.capture() as shown:
        print_case(history)
    assert "Reopened by ben: it was a customer from case 1" in shown.get()
    assert len(list((config.outbox / "new").glob("*")) if how == "sent" else []) == (how == "sent")


def test_a_case_whose_bytes_are_gone_is_not_reopened(config: DeskConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(blob: object) -> None:
        return None

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1))
        monkeypatch.setattr(desk.engine.reader, "blob", gone)
        with pytest.raises(DeskError, match="were deleted at the end of their retention"):
            await sorting.reopen(desk, 1, by="ben", why="")
        return len(await desk.engine.reader.cases())

    assert at_the_desk(config, work) == 1


def test_the_command_closes_what_it_lists_and_asks_before(config: DeskConfig, tmp_path: Path) -> None:
    at_the_desk(config, lambda desk: take(desk, mail(1, "Our new lamps.", "Precedence: bulk"), mail(2, "I want my money back.")))
    file = tmp_path / "desk.toml"
    file.write_text(f'home = "{config.home}"\nauthserv = "{config.authserv}"\n', encoding="utf-8")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return interpreter.run("-m", "pointsman_desk.cli.main", *arguments, "--config", file)

    asked = command("close", "--probably-automatic")
    closed = command("close", "--probably-automatic", "--yes", "--json")
    none = command("close", "--probably-automatic", "--yes")
    opened = command("reopen", "1", "--json")

    assert asked.returncode == 1
    assert "Probably automatic (1)" in asked.stdout
    assert "closing 1 case needs a confirmation, and this is not a terminal; use --yes" in asked.stderr
    assert [(case["id"], case["outcome"]) for case in json.loads(closed.stdout)] == [(1, "automatic")]
    assert none.stdout == "No case is probably automatic.\n"
    assert json.loads(opened.stdout)["status"] == "waiting"
