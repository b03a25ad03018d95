"""The work list of the desk: what a row says, the group of the automatic mails, and the replies that stand still."""

import asyncio
import re
from pathlib import Path

from desk.web.desks import client_of, desk_with, hidden, letter, take_in
from pointsman import Status


def test_a_row_says_who_wrote_what_and_why_a_person_is_asked_and_automatic_mails_are_in_a_group_of_their_own(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path) as desk, client_of(desk) as client:
            html = (await client.get("/")).text

            row = re.search(r"<tr>(?:(?!</tr>).)*cases/1/task.*?</tr>", html, re.DOTALL)
            assert row is not None
            words = " ".join(re.sub(r"<[^>]+>", " ", row[0]).split())
            for said in (
                "Maria Keller",
                "maria.keller@mail.example",
                "My order",
                "hasn&#39;t arrived",
                "refund",
                "medium risk",
                "Refund, complaint",
            ):
                assert said in words
            assert "message_id" not in html
            assert "Craft Weekly" not in html.partition('id="automatic"')[0]

    asyncio.run(body())


def test_automatic_mails_are_closed_together_and_one_that_has_changed_since_stays_open(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path) as desk, client_of(desk) as client:
            html = (await client.get("/")).text
            listed = re.findall(r'name="case" value="(\d+) (\w+)"', html)
            assert len(listed) >= 3
            changed = int(listed[0][0])
            chosen = [f"{case} {digest if int(case) != changed else '0' * 64}" for case, digest in listed]

            await client.post("/automatic", data={"csrf": hidden(html, "csrf"), "case": chosen})

            assert (await desk.engine.case(changed)).status is Status.WAITING
            for case, _ in listed[1:]:
                assert (await desk.engine.case(int(case))).outcome == "automatic"

    asyncio.run(body())


def test_what_a_mail_says_is_text_on_the_list(tmp_path: Path) -> None:
    async def body() -> None:
        mail = letter("<script>alert(1)</script> <img src=x onerror=alert(1)> Where is it?", subject="<b>Refund</b> \u202e please")
        async with desk_with(tmp_path, [mail]) as desk, client_of(desk) as client:
            html = (await client.get("/")).text

            assert "<script>alert" not in html
            assert "<img" not in html
            assert "&lt;b&gt;Refund" in html
            assert "\u202e" not in html

    asyncio.run(body())


def test_a_second_mail_of_the_conversation_is_counted_in_the_row(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [letter("Can you refund shipping of A-1001?")]) as desk, client_of(desk) as client:
            await take_in(desk, [letter("And hurry, please.", "In-Reply-To: <mail-1@mail.example>", number=2, subject="Re: My order")])

            assert "2 mails" in (await client.get("/")).text

    asyncio.run(body())
