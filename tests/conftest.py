"""What tests of several folders share."""

import smtplib
import socket
from typing import Any

import pytest

RESERVED = (".example", ".test", ".invalid")  # RFC 2606 2: nobody has such an address


@pytest.fixture(name="only_here")
def _only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections go to this machine only, and mails to addresses that nobody has; anything else fails the test."""
    connect, rcpt = socket.socket.connect, smtplib.SMTP.rcpt

    def connect_here(self: socket.socket, address: Any) -> None:
        assert not isinstance(address, tuple) or address[0] in {"127.0.0.1", "::1", "localhost"}, f"a test connects to {address}"
        connect(self, address)

    def rcpt_to_nobody(self: smtplib.SMTP, recipient: str, options: Any = ()) -> Any:
        assert recipient.endswith(RESERVED), f"a test sends a mail to {recipient}"
        return rcpt(self, recipient, options)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(smtplib.SMTP, "rcpt", rcpt_to_nobody)
