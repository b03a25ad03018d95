"""Large mails are read in a Python of their own, which has a time and no more."""

import asyncio

import pytest

from pointsman_desk.mail import apart
from pointsman_desk.mail.message import UNREADABLE, identify, read_mail, unidentified

HANG_SECONDS = 300.0
LARGE = (
    b"From: Jane <jane@customer.example>\nSubject: My order\nMessage-ID: <1@customer.example>\n"
    b"Content-Type: multipart/mixed; boundary=cut\n\n--cut\nContent-Type: text/plain; charset=utf-8\n\nGr\xc3\xb6\xc3\x9fe?\n"
    b"--cut\nContent-Type: image/png; name=photo.png\n\n" + b"x" * apart.APART_BYTES + b"\n--cut--\n"
)


@pytest.mark.parametrize("raw", [LARGE, LARGE[:200], b"", b"\xff" * (apart.APART_BYTES + 1)], ids=["large", "small", "empty", "noise"])
def test_a_mail_is_the_same_wherever_it_was_read(raw: bytes) -> None:
    async def read() -> object:
        return (
            await apart.first_look(raw, seconds=HANG_SECONDS),
            await apart.read(raw, "mx.shop.example", "support@shop.example", seconds=HANG_SECONDS),
        )

    assert asyncio.run(read()) == (identify(raw), read_mail(raw, "mx.shop.example", "support@shop.example"))


def test_what_takes_too_long_is_a_mail_that_a_person_reads() -> None:
    async def read() -> object:
        return await apart.first_look(LARGE, seconds=0.001), await apart.read(LARGE, "", "", seconds=0.001)

    identity, mail = asyncio.run(read())

    assert identity == unidentified(LARGE)
    assert (mail.subject, mail.message_id, mail.notes) == (UNREADABLE, identity.email_id, ("took-too-long", "unreadable"))


def test_a_reader_that_ends_without_an_answer_is_none() -> None:
    assert asyncio.run(apart._asked("no such thing", LARGE, (), HANG_SECONDS)) is None  # type: ignore[arg-type]
