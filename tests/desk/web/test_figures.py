"""How the desk does: rates, times, what people changed, and the mailboxes; read from bounded many cases, each once until it moves."""

import asyncio
import re
from pathlib import Path

from desk.web.desks import client_of, desk_with, letter, post
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.web.figures import Told, answers_of, rates_of

REFUND = "My order hasn't arrived and I need it for Monday. Can you refund shipping?"


def test_rates_and_times_are_of_decided_cases() -> None:
    known = [
        Told("refund", "edited", 10.0, 3), Told("refund", "as drafted", 30.0, None), Told("refund", "as drafted", 20.0, None),
        Told("legal", "rejected", None, None), Told("legal", "open", None, None),
    ]  # fmt: skip

    assert rates_of(known) == [("as drafted", 2, 50), ("redrafted", 0, 0), ("edited", 1, 25), ("rejected", 1, 25), ("unattended", 0, 0)]
    assert [(one.intent, one.replies, one.median, one.p95) for one in answers_of(known)] == [("refund", 3, 20.0, 30.0)]
    assert rates_of([]) == [("as drafted", 0, 0), ("redrafted", 0, 0), ("edited", 0, 0), ("rejected", 0, 0), ("unattended", 0, 0)]


def test_the_page_shows_what_a_person_changed_and_how_a_mailbox_is(tmp_path: Path) -> None:
    account = Account(name="support", host="imap.shop.example", username="support", password_env="PASSWORD")

    async def body() -> None:
        async with desk_with(tmp_path, [letter(REFUND)], mailboxes=(account,)) as desk, client_of(desk) as client:
            mark = Bookmark(place=account.place, behind=4, error="the server <b>refused</b> the password", failing_since=1.0)
            mark.write(desk.config.bookmark_of(account))
            text = (await desk.engine.state(1)).reply.body.replace("Kind regards", "Best wishes")
            await post(client, 1, "approve", body=text, to="maria.keller@mail.example")

            html = (await client.get("/replies")).text

            assert re.search(r"<del>Kind regards</del>\s*<ins>Best wishes</ins>|<del>Kind</del><ins>Best</ins>", html)
            assert "Case 1, by ada" in html
            assert re.search(r"edited by a person</th><td class=\"number\">1</td><td class=\"number\">100 %", html)
            assert "failing" in html
            assert "&lt;b&gt;refused" in html

    asyncio.run(body())


def test_a_case_is_read_again_only_after_it_has_moved(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path) as desk, client_of(desk) as client:
            read: list[int] = []
            reader = desk.engine.reader
            events_of = reader.events_of

            async def counted(cases: list[int]) -> object:
                read.extend(cases)
                return await events_of(cases)

            reader.events_of = counted
            await client.get("/replies")
            assert len(read) > 20
            read.clear()
            await client.get("/replies")
            assert read == []

            await post(client, 1, "approve")
            await client.get("/replies")

            assert read == [1]

    asyncio.run(body())
