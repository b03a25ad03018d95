"""To identify a customer's mail, its HTML is not converted: only reports of machines are read for that."""

import pytest

from pointsman_desk.mail.body import Body
from pointsman_desk.mail.message import identify


def test_a_customers_mail_is_identified_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def text(*_: object) -> str:
        raise AssertionError("the text was made")

    monkeypatch.setattr(Body, "text", text)

    assert identify(b"From: a@post.example\nMessage-ID: <1@post.example>\nContent-Type: text/html\n\n<p>Hello").sender == "a@post.example"
