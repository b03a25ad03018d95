"""The archive of what was sent: a copy that is there proves something, one that is not there nothing."""

import asyncio
import mailbox
from pathlib import Path

import pytest

from pointsman_desk.errors import MailboxMissing
from pointsman_desk.mail.transports.archive import Archive

COPY = b"From: s@shop.example\r\nMessage-ID:\r\n <c1@shop.example>\r\n\r\nHello\r\n"
ANSWER = (
    b"From: j@customer.example\r\nMessage-ID: <a1@customer.example>\r\nIn-Reply-To: <c2@shop.example>\r\n\r\nAbout <c2@shop.example>\r\n"
)


def holds(archive: Path, message_id: str) -> bool:
    return asyncio.run(Archive(archive).holds(message_id))


def test_a_copy_is_known_by_its_own_identifier_and_not_by_one_that_it_speaks_of(tmp_path: Path) -> None:
    folder = mailbox.Maildir(tmp_path / "archive")
    for raw in (COPY, ANSWER, b"\xff\xfe broken <c2@shop.example>"):
        folder.add(raw)

    assert holds(tmp_path / "archive", "c1@shop.example")
    assert not holds(tmp_path / "archive", "c2@shop.example")
    assert not holds(tmp_path / "archive", "1@shop.example")


def test_an_archive_that_is_not_there_is_an_error_and_no_answer(tmp_path: Path) -> None:
    with pytest.raises(MailboxMissing):
        holds(tmp_path / "nowhere", "c1@shop.example")
