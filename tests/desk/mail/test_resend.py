"""A provider's interface: what its documented answers say of a mail, and that a key sends one mail."""

import asyncio
import socket
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from later import LATER_SECONDS, run_until_late
from pointsman import NotSent, Rejected
from pointsman_desk.case import Letter, Receipt
from pointsman_desk.mail.compose import compose
from pointsman_desk.mail.transports.resend import ResendAccount, ResendInDoubt, ResendTransport
from resend_server import KEY, ResendServer, resend_server

LETTER = Letter(
    message_id="c1.r1@shop.example",
    date=datetime(2026, 11, 22, 9, 30, tzinfo=UTC),
    sender="support@shop.example",
    sender_name='Haus "& Hof", Grüße',
    to="jane@customer.example",
    subject="Re: Wo ist meine Bestellung? Ich wollte sie schon am Montag haben, für den Gartenzaun",
    body="Sie ist unterwegs.\n\n> Wo ist sie?\n",
    in_reply_to="one@customer.example",
    references=("zero@customer.example", "one@customer.example"),
    automatic=True,
)
RAW = compose(LETTER)


@pytest.fixture(autouse=True)
def _set_up(only_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEND_API_KEY", KEY)


def delivery(server: ResendServer, raw: bytes = RAW, key: str = "k1") -> Coroutine[Any, Any, Receipt]:
    transport = ResendTransport(ResendAccount(url=server.url, timeout_seconds=LATER_SECONDS))
    return transport.deliver(raw, sender=LETTER.sender, to=LETTER.to, key=key)


def deliver(server: ResendServer, raw: bytes = RAW, key: str = "k1") -> Receipt:
    return asyncio.run(delivery(server, raw, key))


def test_a_reply_arrives_with_all_that_keeps_its_thread() -> None:
    with resend_server() as server:
        receipt = deliver(server)

    [mail] = server.mails
    assert mail == {
        "from": r'"Haus \"& Hof\", Grüße" <support@shop.example>',
        "to": ["jane@customer.example"],
        "subject": LETTER.subject,
        "text": LETTER.body,
        "headers": {
            "In-Reply-To": "<one@customer.example>",
            "References": "<zero@customer.example> <one@customer.example>",
            "Auto-Submitted": "auto-replied",
            "X-Auto-Response-Suppress": "All",
        },
    }
    assert receipt.provider_message_id.startswith("49a3999c-")
    assert server.asked[0]["Idempotency-Key"] == "k1"


@pytest.mark.parametrize("fault", ["silence after taking", "drop after taking", 500, 502, "concurrent"])
def test_whatever_comes_between_the_same_key_sends_one_mail(fault: Any) -> None:
    with resend_server() as server:
        server.faults = [fault]
        with pytest.raises((httpx.TransportError, ResendInDoubt)):
            run_until_late(delivery(server), lambda: fault == "silence after taking" and server.mails)
        first, again = deliver(server), deliver(server)

    assert len(server.mails) == 1
    assert first == again


def test_another_mail_under_a_used_key_is_sent_to_nobody_and_stays_in_doubt() -> None:
    other = compose(LETTER.model_copy(update={"body": "Something else.\n"}))

    with resend_server() as server:
        deliver(server)
        with pytest.raises(ResendInDoubt, match="409: invalid_idempotent_request Same idempotency key"):
            deliver(server, other)

    assert [mail["text"] for mail in server.mails] == [LETTER.body]


@pytest.mark.parametrize("status", [429, 401])
def test_what_the_provider_has_not_acted_on_was_not_sent(status: int) -> None:
    with resend_server() as server:
        server.faults = [status]
        with pytest.raises(NotSent, match=f"{status}.*: fault Told to fail") as refused:
            deliver(server)

    assert refused.value.retry_after == (7.0 if status == 429 else None)
    assert server.mails == []


def test_a_wrong_key_and_a_refused_mail_are_told_in_the_providers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    nameless = compose(LETTER.model_copy(update={"subject": ""}))

    with resend_server() as server:
        with pytest.raises(Rejected, match=r"422.*: missing_required_field Missing `subject` field"):
            deliver(server, nameless)
        monkeypatch.setenv("RESEND_API_KEY", "re_another")
        with pytest.raises(Rejected, match=r"403.*: invalid_api_key API key is invalid") as refused:
            deliver(server)

    assert "re_another" not in repr(refused.value)
    assert server.mails == []


def test_a_provider_that_is_not_there_got_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening, so that nobody answers there
        transport = ResendTransport(ResendAccount(url=f"http://127.0.0.1:{taken.getsockname()[1]}"))

        with pytest.raises(NotSent):
            asyncio.run(transport.deliver(RAW, sender=LETTER.sender, to=LETTER.to, key="k1"))


@pytest.mark.parametrize("settings", [{"url": "http://api.mail.test"}, {"url": "api.mail.test"}])
def test_settings_that_cannot_work_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        ResendAccount(**settings)
