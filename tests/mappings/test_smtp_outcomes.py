"""SMTP: the phase in which a mail failed says whether somebody may have got it."""

import smtplib
import socket
import ssl
from collections.abc import Callable
from functools import partial

import pytest
from aiosmtpd.smtp import AuthResult

from pointsman import NotSent, Rejected, SmtpInDoubt, smtp_outcome, smtp_send
from smtp_faults import BEFORE_THE_CONTENT, MailServer, mail_server

Send = Callable[..., None]
CONTENT = b"From: s@shop.example\r\nMessage-ID: <c1@shop.example>\r\n\r\nHello\r\n.\r\n..dots\r\nend\r\n"
PATIENT_SECONDS = 120.0  # against a hang only
SENDER, TO = "s@shop.example", ["jane@customer.example"]


class Client(smtplib.SMTP):
    """A client that waits for the answer to one step only a moment, because the server never gives it."""

    def __init__(self, server: MailServer, silent: str | None) -> None:
        self.silent, self.at = silent, "greeting"
        super().__init__("127.0.0.1", server.port, local_hostname="shop.example", timeout=PATIENT_SECONDS)

    def putcmd(self, cmd: str, args: str = "") -> None:
        self.at = cmd.partition(" ")[0].upper()
        super().putcmd(cmd, args)

    def getreply(self) -> tuple[int, bytes]:
        assert self.sock is not None
        self.sock.settimeout(0.2 if self.at == self.silent else PATIENT_SECONDS)
        code, text = super().getreply()
        if code == 354:
            self.at = "content"
        return code, text


def connect(server: MailServer, silent: str | None = None) -> smtplib.SMTP:
    return Client(server, silent)


def by_phases(server: MailServer, *, to: list[str] = TO, silent: str | None = None) -> None:
    smtp_send(partial(connect, server, silent), CONTENT, sender=SENDER, to=to)


def by_smtplib(server: MailServer, *, to: list[str] = TO, silent: str | None = None) -> None:
    with smtp_outcome(), connect(server, silent) as client:
        client.sendmail(SENDER, to, CONTENT)


def end_of(send: Send, step: str, fault: str) -> tuple[str, int]:
    """The kind of end, and how many mails the server took."""
    with mail_server(step, fault) as server:
        try:
            send(server, silent=step if fault == "silence" else None)
        except (NotSent, Rejected, SmtpInDoubt, smtplib.SMTPException, OSError) as error:
            return type(error).__name__, len(server.taken)
        return "sent", len(server.taken)


@pytest.mark.parametrize("send", [by_phases, by_smtplib])
def test_a_server_gets_the_very_bytes_once(send: Send) -> None:
    with mail_server() as server:
        send(server)

    assert server.taken == [(SENDER, TO, CONTENT)]


@pytest.mark.parametrize("step", BEFORE_THE_CONTENT)
@pytest.mark.parametrize("fault", ["drop", "silence", "421 closing", "450 later"])
def test_what_fails_before_the_content_was_not_sent(step: str, fault: str) -> None:
    end = end_of(by_phases, step, fault)

    assert end == ("NotSent", 0)


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("send", [by_phases, by_smtplib])
def test_a_refusal_before_the_content_is_final(send: Send, step: str) -> None:
    end = end_of(send, step, "550 no such user")

    assert end == ("Rejected", 0)


@pytest.mark.parametrize("send", [by_phases, by_smtplib])
def test_a_server_that_turns_everyone_away_sent_nothing(send: Send) -> None:
    end = end_of(send, "greeting", "554 not here")

    assert end == ("NotSent", 0)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("250 ok", "sent"),
        ("451 later", "NotSent"),
        ("421 closing", "NotSent"),
        ("554 spam", "Rejected"),
        ("drop", "SmtpInDoubt"),
        ("silence", "SmtpInDoubt"),
        ("what", "SmtpInDoubt"),
        ("354 again", "SmtpInDoubt"),
        ("250 " + "x" * 9_000, "SmtpInDoubt"),
    ],
)
def test_the_answer_to_the_content_decides(fault: str, kind: str) -> None:
    end, _ = end_of(by_phases, "content", fault)

    assert end == kind


def test_content_that_broke_off_before_its_end_was_not_sent() -> None:
    more_than_a_socket_holds = CONTENT + b"x" * 98 + (b"\r\n" + b"x" * 98) * 200_000

    with mail_server("amid the content") as server, pytest.raises(NotSent, match="nothing was sent"):
        smtp_send(partial(connect, server), more_than_a_socket_holds, sender=SENDER, to=TO)

    assert server.taken == []


def test_the_servers_answer_is_returned() -> None:
    with mail_server("content", "250 2.0.0 Ok: queued\x07as 4711") as server:
        answer = smtp_send(partial(connect, server), CONTENT, sender=SENDER, to=TO)

    assert answer == "250 2.0.0 Ok: queued as 4711"


def test_a_mail_above_the_servers_size_is_rejected_before_it_leaves() -> None:
    with mail_server(data_size_limit=len(CONTENT) - 1) as server, pytest.raises(Rejected, match=f"at most {len(CONTENT) - 1} bytes"):
        by_phases(server)
    with mail_server(data_size_limit=2 * len(CONTENT)) as roomy:
        by_phases(roomy)

    assert (server.taken, len(roomy.taken)) == ([], 1)


@pytest.mark.parametrize("fault", ["drop", "500 what", "silence"])
def test_a_failure_at_the_farewell_is_a_success(fault: str) -> None:
    end = end_of(by_phases, "QUIT", fault)

    assert end == ("sent", 1)


@pytest.mark.parametrize(("answer", "kind"), [("550 unknown", Rejected), ("450 later", NotSent)])
def test_a_mail_that_one_recipient_is_refused_for_goes_to_nobody(answer: str, kind: type[Exception]) -> None:
    with mail_server("RCPT bob@", answer) as server, pytest.raises(kind, match=r"the recipient 'bob@customer\.example'"):
        by_phases(server, to=["jane@customer.example", "bob@customer.example", "eve@customer.example"])

    assert server.taken == []


@pytest.mark.parametrize("address", ["a@b.example\r\nDATA", "ü@b.example", "", "a b@c.example", "<a@b.example>"])
def test_an_address_that_would_break_the_talk_is_rejected(address: str) -> None:
    with mail_server() as server, pytest.raises(Rejected, match="not plain ASCII"):
        by_phases(server, to=["jane@customer.example", address])

    assert server.taken == []


def test_a_client_that_cannot_log_in_sends_nothing_and_the_servers_words_are_not_repeated() -> None:
    def connected(server: MailServer) -> smtplib.SMTP:
        client = connect(server)
        try:
            client.login("desk", "correct-horse")
        except BaseException:
            client.close()
            raise
        return client

    settings = {"auth_require_tls": False, "authenticator": lambda *_: AuthResult(success=False, handled=False)}
    with mail_server(**settings) as server, pytest.raises(NotSent, match="user name or password refused with 535") as refused:
        smtp_send(lambda: connected(server), CONTENT, sender=SENDER, to=TO, server="mx.example")

    assert str(refused.value).startswith("mx.example could not be used")
    assert "correct-horse" not in repr(refused.value)
    assert server.taken == []


def test_a_server_without_starttls_gets_nothing() -> None:
    def encrypted(server: MailServer) -> smtplib.SMTP:
        client = connect(server)
        try:
            client.starttls(context=ssl.create_default_context())
        except BaseException:
            client.close()
            raise
        return client

    with mail_server() as server, pytest.raises(NotSent, match="STARTTLS"):
        smtp_send(lambda: encrypted(server), CONTENT, sender=SENDER, to=TO)

    assert server.taken == []


@pytest.mark.parametrize("send", [by_phases, by_smtplib])
def test_a_server_that_is_not_there_got_nothing(send: Send) -> None:
    with mail_server() as server:
        pass

    with pytest.raises(NotSent):
        send(server)


# What smtplib's own sendmail does not tell.


@pytest.mark.parametrize("step", ["EHLO", "MAIL", "RCPT", "DATA", "content"])
def test_a_connection_that_breaks_in_sendmail_stays_in_doubt_because_smtplib_does_not_say_when(step: str) -> None:
    end, _ = end_of(by_smtplib, step, "drop")

    assert end == "SMTPServerDisconnected"


@pytest.mark.parametrize(
    ("step", "fault", "kind"),
    [
        ("MAIL", "450 later", "NotSent"),
        ("RCPT", "450 later", "NotSent"),
        ("RCPT", "421 closing", "NotSent"),
        ("DATA", "450 later", "NotSent"),
        ("content", "450 later", "NotSent"),
        ("content", "421 closing", "NotSent"),
        ("content", "554 spam", "Rejected"),
        ("content", "354 again", "SMTPDataError"),
        ("QUIT", "450 later", "SMTPResponseException"),
        ("QUIT", "drop", "sent"),
    ],
)
def test_the_answers_in_sendmail_are_mapped_where_they_prove_something(step: str, fault: str, kind: str) -> None:
    end, _ = end_of(by_smtplib, step, fault)

    assert end == kind


def test_when_every_recipient_is_refused_one_that_may_be_taken_later_decides() -> None:
    refusals = {"a@b.example": (550, b"unknown"), "c@d.example": (450, b"later")}

    with pytest.raises(NotSent, match="450 later, 550 unknown"), smtp_outcome():
        raise smtplib.SMTPRecipientsRefused(refusals)
    with pytest.raises(Rejected), smtp_outcome():
        raise smtplib.SMTPRecipientsRefused({"a@b.example": (550, b"unknown")})


@pytest.mark.parametrize(
    "error", [smtplib.SMTPHeloError(450, "later"), smtplib.SMTPNotSupportedError("no SMTPUTF8"), socket.gaierror(-2, "no such name")]
)
def test_what_can_only_come_before_the_mail_was_not_sent(error: Exception) -> None:
    with pytest.raises(NotSent, match="nothing was sent"), smtp_outcome():
        raise error


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(TimeoutError), smtp_outcome():
        raise TimeoutError
