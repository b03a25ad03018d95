"""Replies that leave: what each end of an attempt says of the mail."""

import asyncio
import base64
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from pydantic import ValidationError

from pointsman import NotSent, Rejected, SmtpInDoubt
from pointsman.testing.clock import ManualClock
from pointsman_desk.case import Receipt
from pointsman_desk.mail.transports.maildir import MaildirOutbox, OutboxInDoubt
from pointsman_desk.mail.transports.relay import Relay
from pointsman_desk.mail.transports.smtp import SmtpTransport
from ports import free_ports
from tiers import program

RAW = b"From: s@shop.example\r\nMessage-ID: <c1@shop.example>\r\n\r\nHello\r\n.\r\n..dots\r\nend\r\n"
SECRET = "correct-horse"
HANG_SECONDS = 300.0  # no server of these tests takes so long


def deliver(transport: SmtpTransport | MaildirOutbox, *, to: str = "jane@customer.example", key: str = "k1") -> str:
    return receipt_of(transport, to=to, key=key).provider_message_id


def receipt_of(transport: SmtpTransport | MaildirOutbox, *, to: str = "jane@customer.example", key: str = "k1") -> Receipt:
    return asyncio.run(transport.deliver(RAW, sender="s@shop.example", to=to, key=key))


def smtp(port: int, clock: ManualClock | None = None, **changed: Any) -> SmtpTransport:
    return SmtpTransport(Relay(**({"host": "127.0.0.1", "port": port, "tls": "none", "timeout_seconds": HANG_SECONDS} | changed)), clock)


@pytest.fixture(autouse=True)
def _nobody_outside(only_here: None) -> None:
    """No mail of these tests leaves this machine."""


def test_a_key_is_written_once_however_often_it_is_delivered(tmp_path: Path) -> None:
    outbox = MaildirOutbox(tmp_path / "outbox")

    first, second = deliver(outbox), deliver(outbox)

    assert first == second == "c1@shop.example"
    (file,) = (tmp_path / "outbox" / "new").iterdir()
    assert file.read_bytes() == RAW
    assert list((tmp_path / "outbox" / "tmp").iterdir()) == []


def test_a_key_is_known_again_after_a_reader_has_seen_its_mail(tmp_path: Path) -> None:
    outbox = MaildirOutbox(tmp_path)
    deliver(outbox)
    (file,) = (tmp_path / "new").iterdir()
    file.rename(tmp_path / "cur" / f"{file.name}:2,RS")

    deliver(outbox)

    assert list((tmp_path / "new").iterdir()) == []


def test_attempts_at_the_same_time_write_one_mail(tmp_path: Path) -> None:
    async def both() -> None:
        outboxes = [MaildirOutbox(tmp_path) for _ in range(8)]
        await asyncio.gather(*(box.deliver(RAW, sender="s@a.example", to="t@b.example", key="k") for box in outboxes))

    asyncio.run(both())

    assert len(list((tmp_path / "new").iterdir())) == 1
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("key", ["../../etc/x", "a/b:c", ".hidden", "x" * 400, "ü\x00\n", ""])
def test_no_key_leads_out_of_the_outbox(tmp_path: Path, key: str) -> None:
    outbox = MaildirOutbox(tmp_path / "outbox")

    deliver(outbox, key=key)
    deliver(outbox, key=key + "2")

    assert len(list((tmp_path / "outbox" / "new").iterdir())) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["outbox"]


def test_a_file_system_without_links_takes_the_mail_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    deliver(MaildirOutbox(tmp_path))

    assert len(list((tmp_path / "new").iterdir())) == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_full_disk_sends_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(NotSent, match=r"could not store the mail \(No space left on device\); free disk space"):
        deliver(MaildirOutbox(tmp_path))
    assert list((tmp_path / "new").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_outbox_that_is_a_file_sends_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_bytes(b"")

    with pytest.raises(NotSent, match="could not store the mail"):
        deliver(MaildirOutbox(tmp_path / "outbox"))


def test_an_unconfirmed_entry_is_in_doubt_and_safe_to_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync, calls = os.fsync, []

    def second_fails(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", second_fails)

    with pytest.raises(OutboxInDoubt):
        deliver(MaildirOutbox(tmp_path))
    deliver(MaildirOutbox(tmp_path))
    assert len(list((tmp_path / "new").iterdir())) == 1


class Inbox:
    """What the real server took."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], bytes]] = []

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:
        self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.original_content))  # type: ignore[attr-defined]
        return "250 taken"


@contextmanager
def real_server(inbox: Inbox, **options: object) -> Iterator[int]:
    [port] = free_ports(1)
    controller = Controller(inbox, hostname="127.0.0.1", port=port, ready_timeout=HANG_SECONDS, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def test_a_real_server_gets_the_very_bytes() -> None:
    inbox = Inbox()

    with real_server(inbox) as port:
        message_id = deliver(smtp(port))

    assert message_id == "c1@shop.example"
    assert inbox.taken == [("s@shop.example", ["jane@customer.example"], RAW)]


def test_a_login_is_used_and_a_wrong_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox()

    def check(server: object, session: object, envelope: object, mechanism: str, data: object) -> AuthResult:
        return AuthResult(success=data.password == SECRET.encode(), handled=False)  # type: ignore[attr-defined]

    def with_password(password: str) -> SmtpTransport:
        monkeypatch.setenv("DESK_PASSWORD", password)
        return smtp(port, username="desk", password_env="DESK_PASSWORD")

    options = {"authenticator": check, "auth_require_tls": False}
    with real_server(inbox, **options) as port:
        deliver(with_password(SECRET))
        with pytest.raises(NotSent, match="user name or password refused with 535") as refused:
            deliver(with_password("wrong-" + SECRET))
        with pytest.raises(NotSent) as unspeakable:
            deliver(with_password(SECRET + "ü"))

    assert len(inbox.taken) == 1
    for error in (refused.value, unspeakable.value):
        assert SECRET not in repr(error)
        assert error.__suppress_context__


class TokenInbox(Inbox):
    """A server that takes a token, as large providers do."""

    tokens: list[str]

    async def auth_XOAUTH2(self, server: Any, args: list[str]) -> AuthResult:
        told = base64.b64decode(args[1]).decode()
        if told == f"user=desk@shop.example\x01auth=Bearer {SECRET}\x01\x01":
            return AuthResult(success=True)
        await server.push("334 " + base64.b64encode(b'{"status":"401"}').decode())
        assert await server._reader.readline() == b"\r\n"
        return AuthResult(success=False, handled=False)


@pytest.mark.parametrize("place", ["token_env", "token_command"])
def test_a_token_opens_a_server_too(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = TokenInbox()
    monkeypatch.setenv("DESK_TOKEN", SECRET)
    tells = {"token_env": "DESK_TOKEN", "token_command": (sys.executable, "-c", f"print({SECRET!r})")}
    monkeypatch.setenv("DESK_OTHER", "expired")

    with real_server(inbox, auth_require_tls=False) as port:
        deliver(smtp(port, username="desk@shop.example", **{place: tells[place]}))
        with pytest.raises(NotSent, match="refused with 535"):
            deliver(smtp(port, username="desk@shop.example", token_env="DESK_OTHER"))
        with pytest.raises(NotSent, match=r"gave no token .code 3.; fix it"):
            deliver(smtp(port, username="desk@shop.example", token_command=(sys.executable, "-c", "raise SystemExit(3)")))

    assert len(inbox.taken) == 1


def test_a_server_without_starttls_gets_nothing() -> None:
    inbox = Inbox()

    with real_server(inbox) as port, pytest.raises(NotSent, match="STARTTLS"):
        deliver(smtp(port, tls="starttls"))

    assert inbox.taken == []


@pytest.fixture(name="certificate", scope="module")
def _certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([program("openssl"), *make[1:], *names], check=True, capture_output=True)
    return folder / "cert.pem"


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_the_way_to_a_server_is_encrypted_and_its_certificate_checked(tls: str, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    options = {"tls_context": context, "require_starttls": True} if tls == "starttls" else {"ssl_context": context}

    with real_server(inbox, **options) as port:
        with pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
            deliver(smtp(port, host="localhost", tls=tls))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
            deliver(smtp(port, tls=tls))  # it vouches for localhost, not for 127.0.0.1
        receipt = receipt_of(smtp(port, host="localhost", tls=tls))

    assert len(inbox.taken) == 1
    assert re.fullmatch(rf"localhost:{port}, TLSv1\.[23]: 250 taken", receipt.detail)


def test_the_receipt_says_which_server_took_the_mail_and_what_it_said() -> None:
    inbox = Inbox()

    with real_server(inbox) as port:
        receipt = receipt_of(smtp(port))

    assert receipt == Receipt(
        provider_message_id="c1@shop.example", transport="smtp", detail=f"127.0.0.1:{port}, not encrypted: 250 taken"
    )  # fmt: skip


def test_the_archive_gets_the_same_mail_in_the_same_talk() -> None:
    inbox = Inbox()

    with real_server(inbox) as port:
        deliver(smtp(port, archive="s+sent@shop.example", archive_mailbox="archive"))

    assert inbox.taken == [("s@shop.example", ["jane@customer.example", "s+sent@shop.example"], RAW)]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"host": "mx.test"}, "unencrypted"),
        ({"username": "desk"}, "a username needs one of"),
        ({"password_env": "DESK_NOT_SET"}, "a username needs one of"),
        ({"username": "desk", "token_env": "A", "password_env": "B"}, "a username needs one of"),
        ({"archive": "s+sent@shop.example"}, "set both or neither"),
        ({"archive": "two@x.example, three@x.example", "archive_mailbox": "archive"}, "not a single plain address"),
        ({"timeout_seconds": 601.0}, "less than or equal to 600"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        smtp(25, **settings)


def test_a_server_that_answers_each_time_at_the_last_moment_cannot_hold_a_talk_for_ever() -> None:
    clock, heard = ManualClock(), []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        try:
            while line := await reader.readline():
                heard.append(line.split()[0])
                clock.advance(200.0)
                writer.write(b"250 ok\r\n")
        finally:
            writer.close()

    async def run() -> None:
        async with serving(talk) as port:
            await smtp(port, clock, timeout_seconds=450.0).deliver(RAW, sender="s@shop.example", to="j@customer.example", key="k")

    with pytest.raises(NotSent, match="the session took too long"):
        asyncio.run(run())
    assert heard == [b"ehlo", b"mail", b"rcpt"]


def test_the_answer_to_the_final_dot_has_ten_minutes_and_each_other_one_what_is_left() -> None:
    clock, waited = ManualClock(), []

    class Telling(socket.socket):
        def settimeout(self, seconds: float | None) -> None:
            waited.append(seconds)
            super().settimeout(seconds)

    with real_server(Inbox()) as port:
        transport = SmtpTransport(Relay(host="127.0.0.1", port=port, tls="none"), clock)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(socket, "socket", Telling)
            deliver(transport)

    assert waited.count(600.0) == 1
    assert set(waited) - {None} == {45.0, 600.0}


def test_replies_that_wait_for_their_server_take_no_thread_of_others() -> None:
    replies = 40  # more than asyncio's pool has threads

    async def run() -> tuple[int, list[Receipt]]:
        held: list[asyncio.StreamWriter] = []

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)
            await reader.read()

        async with serving(talk) as port:
            transport = smtp(port)
            tasks = [
                asyncio.create_task(transport.deliver(RAW, sender="s@shop.example", to="j@customer.example", key=str(number)))
                for number in range(replies)
            ]
            while len(held) < replies and not any(task.done() for task in tasks):  # noqa: ASYNC110 - the connections are counted
                await asyncio.sleep(0)
            others = await asyncio.to_thread(lambda: len(held))
            for writer in held:
                writer.close()
            return others, await asyncio.gather(*tasks, return_exceptions=True)  # type: ignore[return-value]

    waiting, ends = asyncio.run(run())

    assert waiting == replies
    assert {type(end) for end in ends} == {NotSent}


def test_a_token_that_takes_too_long_leaves_no_time_for_the_mail() -> None:
    inbox, clock = TokenInbox(), ManualClock()

    class Slow(Relay):
        def secret(self) -> str:
            clock.advance(self.timeout_seconds)
            return SECRET

    with real_server(inbox, auth_require_tls=False) as port:
        relay = Slow(host="127.0.0.1", port=port, tls="none", username="desk@shop.example", token_command=("a program",))
        with pytest.raises(NotSent, match="the session took too long"):
            deliver(SmtpTransport(relay, clock))

    assert inbox.taken == []


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LAST_SECONDS = 0.1  # of a session whose content was taken: for the farewell, which may fail
GOOD = {
    "greeting": "220 hi",
    "EHLO": "250 hi",
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go",
    "content": "250 ok",
    "QUIT": "221 bye",
}


def script(step: str, fault: str, heard: list[str], has_content: Callable[[], None]) -> Talk:
    """A server that answers well but for one step: there it says `fault`, or hangs up ("drop") or waits ("silence")."""

    async def say(writer: asyncio.StreamWriter, reader: asyncio.StreamReader, at: str) -> bool:
        answer = fault if at == step else GOOD.get(at, "502 no such command")
        if answer == "silence":
            await reader.read()
        if answer in {"drop", "silence"}:
            return False
        writer.write(answer.encode() + b"\r\n")
        await writer.drain()
        return True

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            going = await say(writer, reader, "greeting")
            while going and (line := await reader.readline()):
                verb = line.split()[0].decode().upper()
                heard.append(verb)
                if verb == "RSET":
                    writer.write(b"250 ok\r\n")
                    continue
                going = await say(writer, reader, verb)
                if going and verb == "DATA" and not (step == "DATA" and fault != GOOD["DATA"]):
                    await reader.readuntil(b"\r\n.\r\n")
                    heard.append("content")
                    has_content()
                    going = await say(writer, reader, "content")
        finally:
            writer.close()

    return talk


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[int]:
    """A server that has these talks, until they are over."""
    talks: list[asyncio.Task[Any]] = []

    async def kept(*ends: Any) -> None:
        talks.append(asyncio.ensure_future(talk(*ends)))
        await asyncio.wait(talks[-1:])

    server = await asyncio.start_server(kept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*talks, return_exceptions=True)


def attempt(step: str, fault: str, **waits: float) -> tuple[str, list[str]]:
    """Deliver to a server with one fault; return the kind of end and what the server heard. It answers the content at the last moment."""
    heard: list[str] = []
    clock = ManualClock()

    async def run() -> str:
        async with serving(script(step, fault, heard, lambda: clock.advance(HANG_SECONDS - LAST_SECONDS))) as port:
            transport = smtp(port, clock, **waits)
            try:
                return (await transport.deliver(RAW, sender="s@shop.example", to="j@customer.example", key="k")).provider_message_id
            except (NotSent, Rejected, SmtpInDoubt) as error:
                return type(error).__name__

    return asyncio.run(run()), heard


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("fault", ["drop", "421 closing", "450 later", "silence"])
def test_a_failure_before_the_content_sent_nothing(step: str, fault: str) -> None:
    waits = {"timeout_seconds": 0.2} if fault == "silence" else {}  # cut short, because the server never answers

    end, heard = attempt(step, fault, **waits)

    assert end == "NotSent"
    assert "content" not in heard


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
def test_a_refusal_before_the_content_is_final_and_the_offer_is_taken_back(step: str) -> None:
    fault = "550 no such\x07 user"

    end, heard = attempt(step, fault)

    assert end == "Rejected"
    assert heard[-1] == "RSET"


def test_a_server_that_turns_everyone_away_sent_nothing() -> None:
    step, fault = "greeting", "554 not here"

    end, heard = attempt(step, fault)

    assert (end, heard) == ("NotSent", [])


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("250 ok", "c1@shop.example"),
        ("451 later", "NotSent"),
        ("421 closing", "NotSent"),
        ("554 spam", "Rejected"),
        ("drop", "SmtpInDoubt"),
        ("silence", "SmtpInDoubt"),
        ("what", "SmtpInDoubt"),
        ("354 again", "SmtpInDoubt"),
    ],
)
def test_the_answer_to_the_final_dot_decides(fault: str, kind: str) -> None:
    waits = {"answer_seconds": 0.3} if fault == "silence" else {}

    end, heard = attempt("content", fault, **waits)

    assert end == kind
    assert "content" in heard


@pytest.mark.parametrize("fault", ["drop", "500 what", "silence"])
def test_a_failure_at_the_farewell_is_a_success(fault: str) -> None:
    end, _ = attempt("QUIT", fault)

    assert end == "c1@shop.example"


def test_a_server_that_hangs_up_amid_the_content_leaves_the_mail_in_doubt() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in ("220 hi", "250 hi", "250 ok", "250 ok", "354 go"):
            writer.write(answer.encode() + b"\r\n")
            await reader.readline()
        writer.transport.abort()

    async def run() -> None:
        async with serving(talk) as port:
            await smtp(port).deliver(RAW, sender="s@shop.example", to="j@customer.example", key="k")

    with pytest.raises(SmtpInDoubt, match="check before you send it again"):
        asyncio.run(run())


def test_a_refused_connection_sent_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening, so that nobody answers there

        with pytest.raises(NotSent, match=r"127\.0\.0\.1:\d+ could not be used"):
            deliver(smtp(taken.getsockname()[1]))


@pytest.mark.parametrize("to", ["a@b.example\r\nDATA", "ü@b.example"])
def test_an_address_that_would_break_the_talk_is_rejected(to: str) -> None:
    inbox = Inbox()

    with real_server(inbox) as port, pytest.raises(Rejected, match="not plain ASCII"):
        deliver(smtp(port), to=to)

    assert inbox.taken == []
