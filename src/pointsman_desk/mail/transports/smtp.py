"""Send replies by a mail server. `pointsman.smtp_send` says what each failure means for the mail."""

import contextlib
import re
import smtplib
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from pointsman import Clock, NotSent, SystemClock, smtp_send
from pointsman_desk.case import Receipt
from pointsman_desk.mail.message import identify
from pointsman_desk.mail.own_thread import in_thread
from pointsman_desk.mail.transports.archive import Archive
from pointsman_desk.mail.transports.relay import Relay

FINAL_DOT = b".\r\n"
_SES = re.compile(r"email-smtp(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com", re.IGNORECASE)


def provider_id(host: str, answer: str) -> str | None:
    """Return the Message-ID with which the provider at `host` replaces ours, from its answer; None if it keeps ours.

    Amazon SES answers with the part before the "@" (https://docs.aws.amazon.com/ses/latest/dg/send-email-smtp.html).
    """
    region = _SES.fullmatch(host)
    named = re.search(r"([\w-]{16,200})\s*$", answer)
    if region is None or named is None:
        return None
    return f"{named[1]}@{'email' if region[1] == 'us-east-1' else region[1]}.amazonses.com"


class SmtpTransport:
    """A server that accepts mail by SMTP (RFC 5321), with one connection for each mail. The archive gets the same mail in the same session.

    SMTP has no keys and recognises no repetition, so a send without an answer stays in doubt (RFC 1047). The certificate is
    checked (RFC 3207, RFC 8314). `clock` is for tests.
    """

    name = "smtp"

    def __init__(self, relay: Relay, clock: Clock | None = None) -> None:
        self._relay = relay
        self._clock = clock or SystemClock()
        self._server = f"The mail server {relay.host}:{relay.port_number}"

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:  # noqa: ARG002 - SMTP has no keys
        """Send the mail; the receipt has its Message-ID, the server, the encryption, and the server's answer.

        Raises what `pointsman.smtp_send` raises: NotSent, Rejected, or SmtpInDoubt if the connection fails after the final dot.
        """
        until = self._clock.monotonic() + self._relay.timeout_seconds  # from here, because the thread may start late
        return await in_thread(lambda: self._deliver(raw, sender, (to, *cc), until))

    async def found(self, message_id: str) -> Receipt | None:
        """Return the receipt of a mail whose copy is in the archive, or None, which proves nothing. Raises MailboxMissing."""
        mailbox = self._relay.archive_mailbox
        if mailbox is None or not await Archive(mailbox).holds(message_id):
            return None
        detail = "the server gave no answer, but its copy is in the archive"
        return Receipt(provider_message_id=message_id, transport=self.name, detail=detail)

    def _deliver(self, raw: bytes, sender: str, to: Sequence[str], until: float) -> Receipt:
        encrypted = []

        def connect() -> smtplib.SMTP:
            client = self._connected(sender.rpartition("@")[2], until)
            encrypted.append(client.sock.version() if isinstance(client.sock, ssl.SSLSocket) else "not encrypted")
            return client

        recipients = list(dict.fromkeys(filter(None, (*to, self._relay.archive))))
        answer = smtp_send(connect, raw, sender=sender, to=recipients, server=self._server)
        detail = f"{self._relay.host}:{self._relay.port_number}, {encrypted[0]}: {answer}"
        named = provider_id(self._relay.host, answer) or identify(raw).email_id
        return Receipt(provider_message_id=named, transport=self.name, detail=detail)

    def _connected(self, domain: str, until: float) -> smtplib.SMTP:
        """Connect and log in. Greets with the sender's domain, because looking up this machine's name can take seconds."""
        relay = self._relay
        secret = relay.secret() if relay.username is not None else ""
        settings: dict[str, Any] = {"local_hostname": domain or "localhost", "timeout": relay.timeout_seconds}
        try:
            if relay.tls == "tls":
                client: _Client = _TlsClient(relay.host, relay.port_number, context=ssl.create_default_context(), **settings)
            else:
                client = _Client(relay.host, relay.port_number, **settings)
        except ssl.SSLError:
            raise  # that of a wrong certificate is also a ValueError
        except ValueError:  # an invalid host name
            raise NotSent(f"{self._server} has an invalid host name; correct the settings.") from None
        with contextlib.ExitStack() as failing:
            failing.callback(client.close)
            client.left_seconds = lambda: until - self._clock.monotonic()
            client.answer_seconds = relay.answer_seconds
            client.ehlo_or_helo_if_needed()
            if relay.tls == "starttls":
                client.starttls(context=ssl.create_default_context())
                client.ehlo_or_helo_if_needed()
            if relay.username is not None:
                self._log_in(client, relay.username, secret)
            failing.pop_all()
        return client

    def _log_in(self, client: smtplib.SMTP, username: str, secret: str) -> None:
        """Log in with the password, or with the token (https://developers.google.com/workspace/gmail/imap/xoauth2-protocol)."""
        try:
            if self._relay.password_env is not None:
                client.login(username, secret)
                return
            answer = f"user={username}\x01auth=Bearer {secret}\x01\x01"
            client.auth("XOAUTH2", lambda challenge=None: answer if challenge is None else "")
        except UnicodeError:  # its message would show a part of the secret
            raise NotSent(f"{self._server} accepts only ASCII in user names and passwords; change them.") from None


class _Client(smtplib.SMTP):
    """A client that sends nothing after its time limit, so that no mail is sent after the caller gave up."""

    left_seconds: Callable[[], float]
    answer_seconds: float

    def send(self, s: Any) -> None:
        left = self.left_seconds()
        if left <= 0:
            raise TimeoutError("the session took too long")
        if self.sock is not None:
            self.sock.settimeout(self.answer_seconds if s == FINAL_DOT else left)
        super().send(s)


class _TlsClient(_Client, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""
