"""The recipient of a reply, as a person changes it on the page."""

import asyncio
from email import message_from_bytes
from pathlib import Path

from desk.web.desks import client_of, desk_with, letter, post
from pointsman import Status

TEXT = "My order #10456 hasn't arrived and I want a refund!"


def test_an_approved_reply_goes_to_the_recipient_that_the_page_showed_when_it_was_approved(tmp_path: Path) -> None:
    mail = letter(TEXT, "Cc: bob@mail.example")

    async def body() -> None:
        async with desk_with(tmp_path, [mail]) as desk, client_of(desk) as client:
            shown = (await desk.engine.pending(1)).shown
            assert (shown["addressing"].to, shown["reply"] is not None) == ("maria.keller@mail.example", True)
            text = shown["reply"].body

            sent = await post(client, 1, "approve", body=text, to="eve@mail.example", cc_shown="yes", cc="yes")

            assert sent.status_code == 303
            assert (await desk.engine.wait_until_resting(1)).status in {Status.WAITING, Status.DONE}
            (reply,) = [message_from_bytes(file.read_bytes()) for file in (desk.config.outbox / "new").iterdir()]
            assert (reply["To"], reply["Cc"]) == ("eve@mail.example", "bob@mail.example")

    asyncio.run(body())


def test_a_recipient_that_is_no_address_sends_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter(TEXT)]) as desk, client_of(desk) as client:
            text = (await desk.engine.pending(1)).shown["reply"].body

            refused = await post(client, 1, "approve", body=text, to="eve and bob")

            assert refused.status_code == 422
            assert 'value="eve and bob"' in refused.text
            assert "is not a single plain address" in refused.text
            assert "--to" not in refused.text
            assert not (desk.config.outbox / "new").exists() or not list((desk.config.outbox / "new").iterdir())

    asyncio.run(body())


def test_a_reply_without_a_recipient_or_a_text_is_not_sent_and_the_page_says_what_is_missing(tmp_path: Path) -> None:
    async def body() -> None:
        mail = letter(TEXT, sender="Jürgen <jürgen@post.example>")
        async with desk_with(tmp_path, [mail]) as desk, client_of(desk) as client:
            pending = await desk.engine.pending(1)
            assert pending.shown["addressing"].problem

            refused = await post(client, 1, "approve", body=pending.shown["reply"].body, to="")

            assert refused.status_code == 422
            assert "write the recipient&#39;s address" in refused.text
            assert "pointsman-desk" not in refused.text.partition("<main")[2]
            assert (await desk.engine.case(1)).status is Status.WAITING

    asyncio.run(body())
