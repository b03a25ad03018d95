"""Replies handed to a mail server: how it is reached; what each failure means for the mail is the library's to say."""

import asyncio
import contextlib
import smtplib
import ssl

from pointsman import NotSent, smtp_send
from pointsman_desk.case import Receipt
from pointsman_desk.mail.message import identify

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


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

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str) -> Receipt:  # noqa: ARG002 - SMTP has no keys
        """Send the mail; the receipt has its Message-ID and what the server said.

        Raises what `pointsman.smtp_send` raises: NotSent, Rejected, or SmtpInDoubt when the connection fails once the
        final dot is on its way.
        """
        answer = await asyncio.to_thread(self._send, raw, sender, to)
        return Receipt(provider_message_id=identify(raw).email_id, transport=self.name, detail=answer)

    def _send(self, raw: bytes, sender: str, to: str) -> str:
        return smtp_send(lambda: self._connected(sender.rpartition("@")[2]), raw, sender=sender, to=[to], server=self._server)

    @property
    def _server(self) -> str:
        return f"The mail server {self.host}:{self.port}"

    def _connected(self, domain: str) -> smtplib.SMTP:
        """Connect and log in, and greet by the sender's domain: looking up this machine's own name can take seconds."""
        try:
            client = smtplib.SMTP(self.host, self.port, local_hostname=domain or "localhost", timeout=self.timeout_seconds)
        except ValueError:  # a name that is no host name, or a timeout of zero
            raise NotSent(f"{self._server} cannot be reached by this name and timeout; correct the settings.") from None
        with contextlib.ExitStack() as failing:
            failing.callback(client.close)
            self._log_in(client)
            failing.pop_all()
        return client

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
