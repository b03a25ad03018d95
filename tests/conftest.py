"""What tests of several folders share."""

import smtplib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import postgres_server
import restate_server
from models.openai_server import Remote, running
from patience import patient
from web.browsing import Chromium

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


@pytest.fixture(scope="module", name="model_server")
def _model_server() -> Iterator[Remote]:
    with running() as server:
        yield server


@pytest.fixture
def server(model_server: Remote, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """A server with language models, a process of its own, which behaves until a test tells it otherwise."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    model_server.will()
    return model_server


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """A browser for the tests of a module: to start one takes longer than most of them."""
    browser = Chromium()
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Server]:
    """The PostgreSQL server of this run."""
    server = postgres_server.server()
    yield server
    server.close()


@pytest.fixture
def postgres_url(postgres: postgres_server.Server) -> Iterator[str]:
    """A PostgreSQL database for one test: the URL names a schema of its own."""
    with postgres.schema() as url:
        yield url


@pytest.fixture(name="patient")
def _patient() -> Iterator[None]:
    """Engines of this process wait long for their connections to PostgreSQL."""
    with patient():
        yield


@pytest.fixture(scope="module")
def restate() -> Iterator[restate_server.Server]:
    """A Restate server for the tests of a module: one that has nothing to do computes, too, so it does not run until the end."""
    with restate_server.server() as server:
        yield server
