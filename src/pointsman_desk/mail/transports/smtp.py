"""Replies handed to a mail server, phase by phase, so that each failure says what it means for the mail."""

import asyncio
import contextlib
import re
import smtplib
import ssl
from collections.abc import Callable

from pointsman import NotSent, Rejected
from pointsman_desk.mail.message import identify

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_PLAIN_ADDRESS = re.compile(r"[\x21-\x3b\x3d\x3f-\x7e]+")
_LINE_START_DOT = re.compile(rb"^\.", re.MULTILINE)


class SmtpInDoubt(Exception):
    """The mail was handed over, and the server's answer to it never came: it may or may not have been taken."""


class SmtpTransport:
    """A server that takes mail by SMTP (RFC 5321), one mail a connection, one recipient a mail.

    SMTP has no keys: a repetition is not recognised, so an answer that never came stays in doubt (RFC 1047).
    `timeout_seconds` bounds each wait for the server. With `starttls` the connection is encrypted and the certificate
    checked (RFC 3207); a password leaves this machine in no other way.
    """

    name = "smtp"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_seconds: float,
        starttls: bool,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.timeout_seconds = timeout_seconds
        self.starttls = starttls
        self.username = username
        self._password = password

    def __repr__(self) -> str:
        return f"SmtpTransport({self.host!r}, {self.port})"

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str) -> str:  # noqa: ARG002 - SMTP has no keys
        """Send the mail and return its Message-ID.

        Raises NotSent for every failure before the content and for a 4xx answer to it, Rejected for a 5xx answer to
        MAIL, RCPT, DATA or the content (RFC 5321 4.2.1), SmtpInDoubt when the connection fails once the content has
        begun. A failure at QUIT is a success: with its 250 the server is responsible (RFC 5321 6.1).
        """
        await asyncio.to_thread(self._send, raw, sender, to)
        return identify(raw).email_id

    def _send(self, raw: bytes, sender: str, to: str) -> None:
        with contextlib.ExitStack() as stack:
            try:
                client = self._connected(sender.rpartition("@")[2])
                stack.callback(client.close)
                self._log_in(client)
                self._offer(client, sender, to)
            except (smtplib.SMTPException, OSError) as error:
                raise NotSent(f"{self._server} could not be used ({_reason(error)}); nothing was sent.") from None
            self._hand_over(client, raw)
            with contextlib.suppress(smtplib.SMTPException, OSError):
                client.quit()

    @property
    def _server(self) -> str:
        return f"The mail server {self.host}:{self.port}"

    def _connected(self, domain: str) -> smtplib.SMTP:
        """Connect, and greet by the sender's domain: looking up this machine's own name can take seconds."""
        try:
            return smtplib.SMTP(self.host, self.port, local_hostname=domain or "localhost", timeout=self.timeout_seconds)
        except ValueError:  # a name that is no host name, or a timeout of zero
            raise NotSent(f"{self._server} cannot be reached by this name and timeout; correct the settings.") from None

    def _log_in(self, client: smtplib.SMTP) -> None:
        """Encrypt and log in, as far as it is asked for."""
        client.ehlo_or_helo_if_needed()
        if self.starttls:
            client.starttls(context=ssl.create_default_context())
            client.ehlo_or_helo_if_needed()
        if self.username is None or self._password is None:
            return
        if not self.starttls and self.host not in _LOOPBACK:
            raise NotSent(f"{self._server} would get the password unencrypted; switch starttls on.")
        try:
            client.login(self.username, self._password)
        except UnicodeError:  # its text would show a part of the password
            raise NotSent(f"{self._server} takes ASCII only in a user name and a password; change them.") from None

    def _offer(self, client: smtplib.SMTP, sender: str, to: str) -> None:
        """Name sender and recipient and ask to send; at a refusal take the offer back (RFC 5321 4.1.1.5)."""
        for address in (sender, to):
            if not _PLAIN_ADDRESS.fullmatch(address):  # smtplib mends some of these in silence, into another address
                raise Rejected(f"{self._server} cannot be given the address {address!a}: it is no plain ASCII one.")
        steps: tuple[tuple[str, set[int], Callable[[], tuple[int, bytes]]], ...] = (
            ("the sender", {250}, lambda: client.mail(sender)),
            (f"the recipient {to!a}", {250, 251}, lambda: client.rcpt(to)),
            ("the mail", {354}, lambda: client.docmd("DATA")),
        )
        for what, wanted, step in steps:
            code, text = step()
            if code not in wanted:
                with contextlib.suppress(smtplib.SMTPException, OSError):
                    client.rset()
                raise self._refusal(what, code, text)

    def _hand_over(self, client: smtplib.SMTP, raw: bytes) -> None:
        """Write the content, its dots doubled (RFC 5321 4.5.2), then the final dot, and read the one answer that counts."""
        content = _LINE_START_DOT.sub(b"..", raw)
        try:
            client.send(content if content.endswith(b"\r\n") else content + b"\r\n")
            client.send(b".\r\n")
            code, text = client.getreply()
        except (smtplib.SMTPException, OSError) as error:
            raise self._in_doubt(_reason(error)) from None
        if 400 <= code <= 599:
            raise self._refusal("the mail", code, text)
        if not 200 <= code <= 299:
            raise self._in_doubt(f"answer {code}")

    def _refusal(self, what: str, code: int, text: bytes) -> NotSent | Rejected:
        kind = Rejected if 500 <= code <= 599 else NotSent
        return kind(f"{self._server} did not accept {what}: {_printable(code, text)}.")

    def _in_doubt(self, reason: str) -> SmtpInDoubt:
        return SmtpInDoubt(f"{self._server} did not confirm the mail ({reason}): it may have been sent; look before it is sent again.")


def _reason(error: Exception) -> str:
    """Say why, without the server's words where they answer a login: they could repeat what was sent."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"user name or password refused with {error.smtp_code}"
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return _printable(error.smtp_code, text if isinstance(text, bytes) else str(text).encode())
    return (str(error) or type(error).__name__).rstrip(".")


def _printable(code: int, text: bytes) -> str:
    words = re.sub(r"[^\x20-\x7e]+", " ", text.decode("ascii", "replace"))
    return f"{code} {words}".strip()[:200].rstrip(".")
