"""A conversation through real mail servers: a mail comes in, its reply goes out, and the other side finds both in one thread."""

import asyncio
import imaplib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import interpreter
from dovecot import PASSWORD, Dovecot
from pointsman_desk.config import load_config
from pointsman_desk.mail.message import read_mail
from pointsman_desk.mail.transports.archive import Archive
from smtp_faults import mail_server

ARCHIVE = "support+sent@haus-und-hof.example"
MAILBOXES = {"support@haus-und-hof.example": "support", "jane@customer.example": "customer", ARCHIVE: "archive"}
LONG_ID = "AM9PR05MB8436B4F1D9C2A7E35D0F1B6E8AC4D@AM9PR05MB8436.eurprd05.prod.outlook.customer.example"
QUESTION = f"""From: =?utf-8?q?J=C3=A4ne_Doe?= <jane@customer.example>
To: support@haus-und-hof.example
Subject: =?utf-8?b?QVc6IE1laW4gR2FydGVuc2NobGF1Y2ggaXN0IGJlc2Now6RkaWd0?=
Date: Mon, 02 Nov 2026 10:00:00 +0100
Message-ID: <{LONG_ID}>
References: <first@customer.example>
 <second@haus-und-hof.example>
Content-Type: text/plain; charset=utf-8

Guten Tag, mein Gartenschlauch ist kaputt und ich möchte mein Geld zurück.
""".replace("\n", "\r\n").encode()


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Dovecot]:
    server = Dovecot()
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def reader(server: Dovecot) -> Iterator[imaplib.IMAP4]:
    """The customer's mail reader."""
    with imaplib.IMAP4("127.0.0.1", server.imap) as box:
        box.login("customer", PASSWORD)
        box.select()
        yield box


def threads(server: Dovecot) -> list[bytes]:
    """How the customer's mail server sorts their mails into threads (RFC 5256)."""
    with reader(server) as box:
        return [one for one in box.thread("REFERENCES", "UTF-8", "ALL")[1] if one]


def newest(server: Dovecot) -> bytes:
    with reader(server) as box:
        last = box.search(None, "ALL")[1][0].split()[-1]
        return box.fetch(last, "(RFC822)")[1][0][1]


def header(raw: bytes, name: str) -> bytes:
    """A header field as it stands in the bytes, with its folds."""
    head = raw.partition(b"\r\n\r\n")[0] + b"\r\n"
    [field] = re.findall(rb"^" + name.encode() + rb": ((?:[^\r\n]*\r\n)(?:[ \t][^\r\n]*\r\n)*)", head, re.MULTILINE)
    return field


def answered_with(message_id: str, parent: str, references: bytes, text: str) -> bytes:
    """What the customer's mail reader makes of an answer."""
    head = f"From: jane@customer.example\r\nTo: support@haus-und-hof.example\r\nSubject: Re: Re: Gartenschlauch\r\nMessage-ID: <{message_id}>\r\n"
    return head.encode() + f"In-Reply-To: {parent}\r\nReferences: ".encode() + references + f"\r\n\r\n{text}\r\n".encode()


def test_a_conversation_stays_one_thread_for_the_customer(server: Dovecot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILBOX_PASSWORD", PASSWORD)

    def desk(*arguments: str) -> Any:
        done = interpreter.run("-m", "pointsman_desk.cli.main", *arguments, "--json", "--config", tmp_path / "desk.toml")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def deliver(recipients: list[str], content: bytes) -> None:
        for recipient in recipients:
            server.deliver(MAILBOXES[recipient], [content])

    with mail_server("content", "250 2.0.0 Ok: queued as 4711", deliver) as relay:
        (tmp_path / "desk.toml").write_text(
            f"""
            home = "{tmp_path / "desk"}"
            name = "Haus & Hof, Grünwald"
            [[mailboxes]]
            name = "support"
            host = "127.0.0.1"
            port = {server.imap}
            tls = "none"
            username = "support"
            password_env = "MAILBOX_PASSWORD"
            [smtp]
            host = "127.0.0.1"
            port = {relay.port}
            tls = "none"
            archive = "{ARCHIVE}"
            [smtp.archive_mailbox]
            name = "archive"
            host = "127.0.0.1"
            port = {server.imap}
            tls = "none"
            username = "archive"
            password_env = "MAILBOX_PASSWORD"
            """,
            encoding="utf-8",
        )
        server.deliver("customer", [QUESTION])  # the copy that the customer keeps of what they sent
        server.deliver("support", [QUESTION])
        desk("run")
        shown = desk("show", "1")["state"]["outgoing"]
        sent = desk("approve", "1", "--yes", "--by", "anna")
        reply = newest(server)
        after_reply = threads(server)

        ours = header(reply, "Message-ID").strip().decode()
        earlier = header(reply, "References").strip() + f"\r\n {ours}".encode()
        server.deliver("customer", [answer := answered_with("answer@customer.example", ours, earlier, "Und wann?")])
        server.deliver("support", [answer])
        begun = desk("run")
        more = answered_with("more@customer.example", "<answer@customer.example>", earlier + b"\r\n <answer@customer.example>", "Danke!")
        server.deliver("customer", [more])
        server.deliver("support", [more])
        joined = desk("run")
        asked, answered = desk("show", "1"), desk("show", "2")

    assert reply.endswith(shown["raw"].encode())
    assert "250 2.0.0 Ok: queued as 4711" in sent["state"]["receipt"]["detail"]
    assert header(reply, "Message-ID") == f"<{shown['message_id']}>\r\n".encode()
    assert header(reply, "In-Reply-To") == f"<{LONG_ID}>\r\n".encode()
    assert header(reply, "References") == f"<first@customer.example>\r\n <second@haus-und-hof.example>\r\n <{LONG_ID}>\r\n".encode()
    assert (read_mail(reply).subject, read_mail(reply).sender_name) == ("Re: Mein Gartenschlauch ist beschädigt", "Haus & Hof, Grünwald")
    assert [after_reply, threads(server)] == [[b"(1 2)"], [b"(1 2 3 4)"]]
    archive = load_config(tmp_path / "desk.toml").smtp.archive_mailbox  # type: ignore[union-attr]
    held = [asyncio.run(Archive(archive).holds(message_id)) for message_id in (shown["message_id"], LONG_ID, shown["message_id"][1:])]
    assert held == [True, False, False]
    assert (begun["started"], joined["started"], joined["joined"]) == ([2], [], [2])
    assert {mail["conversation"] for case in (asked, answered) for mail in case["state"]["mails"]} == {
        sent["state"]["mails"][0]["conversation"]
    }
    assert [mail["email_id"] for mail in answered["state"]["mails"]] == ["answer@customer.example", "more@customer.example"]
