"""Replies that stand still: what the list says of them, and what the page of the case lets an operator do."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from desk.web.desks import SAME_ORIGIN, client_of, desk_with, hidden, letter, post, take_in
from pointsman import AtMostOnce, Rejected, Status
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.store.sqlite_threads import ThreadedReader
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Receipt
from pointsman_desk.errors import DeskError
from pointsman_desk.running import add_desk
from pointsman_desk.web import desk_pages
from server.serving import TOKEN

REFUND = letter("My order hasn't arrived and I need it for Monday. Can you refund shipping?")


class Breaks:
    """A transport that fails in this way, and then works."""

    name = "breaks"

    def __init__(self, error: Exception) -> None:
        self.errors, self.sent = [error], 0

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        if self.errors:
            raise self.errors.pop()
        self.sent += 1
        return Receipt(provider_message_id=key, transport=self.name)


def _opened(transport: Breaks) -> dict[str, Any]:
    return {"transport": transport, "safety": AtMostOnce()}


async def _act(client: httpx.AsyncClient, action: str, **fields: str) -> httpx.Response:
    html = (await client.get("/cases/1")).text
    answer = await client.post(f"/cases/1/{action}", data={"csrf": hidden(html, "csrf"), **fields})
    assert "pointsman-desk " not in answer.text, "a person in front of a page types no command"
    return answer


def _refunds(first: int, last: int) -> list[bytes]:
    return [letter("Please refund my order.", number=one, sender=f"C <c{one}@mail{one}.example>") for one in range(first, last)]


class Fails(Breaks):
    """A transport that fails each time."""

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        raise self.errors[0]


def test_the_list_and_the_search_take_as_many_reads_for_many_cases_as_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    run = ThreadedReader.run
    monkeypatch.setattr(ThreadedReader, "run", lambda self, read: reads.append(read) or run(self, read))

    async def reads_of(client: httpx.AsyncClient, path: str, cases: int) -> int:
        reads.clear()
        assert len(set(re.findall(r"/cases/(\d+)", (await client.get(path)).text))) == cases
        return len(reads)

    async def body() -> None:
        async with desk_with(tmp_path, _refunds(0, 2), _opened(Fails(Rejected("no such mailbox")))) as desk, client_of(desk) as client:
            await post(client, 1, "approve")
            await desk.engine.wait_until_resting(1)
            few = [await reads_of(client, path, 2) for path in ("/", "/search?q=refund")]
            await take_in(desk, _refunds(2, 10))
            for case in (3, 4, 5):
                await post(client, case, "approve")
                await desk.engine.wait_until_resting(case)
            assert (await desk.engine.reader.counts())[Status.PARKED] == 4
            assert [await reads_of(client, path, 10) for path in ("/", "/search?q=refund")] == few

    asyncio.run(body())


def test_the_content_of_a_closed_mail_is_erased_on_its_page(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk_with(tmp_path, [REFUND]) as desk, client_of(desk) as client:
            assert "Erase the content" not in (await client.get("/cases/1")).text
            await post(client, 1, "reject", own_reason="spam")
            assert "Type 1" in (await _act(client, "erase", why="the customer asked", number="7")).text

            assert (await _act(client, "erase", why="the customer asked", number="1")).status_code == 303

            page = (await client.get("/cases/1")).text
            assert ("maria.keller" in page, "Erase the content" in page) == (False, False)

    asyncio.run(body())


def test_of_a_reply_in_doubt_a_person_says_that_it_arrived(tmp_path: Path) -> None:
    async def body() -> None:
        transport = Breaks(RuntimeError("the line broke"))
        async with desk_with(tmp_path, [REFUND], _opened(transport)) as desk, client_of(desk) as client:
            await post(client, 1, "approve")
            assert "Say whether it arrived" in (await client.get("/")).text
            html = (await client.get("/cases/1")).text
            assert "It arrived" in html
            assert "It did not arrive: send it again" in html

            await _act(client, "resolve", arrived="yes")

            assert ((await desk.engine.case(1)).outcome, transport.sent) == ("sent", 0)

    asyncio.run(body())


def test_a_reply_in_doubt_is_sent_again_when_a_person_says_so(tmp_path: Path) -> None:
    async def body() -> None:
        transport = Breaks(RuntimeError("the line broke"))
        async with desk_with(tmp_path, [REFUND], _opened(transport)) as desk, client_of(desk) as client:
            await post(client, 1, "approve")
            assert (await _act(client, "redrive", why="try")).status_code == 409

            await _act(client, "resolve", arrived="no")

            assert ((await desk.engine.case(1)).outcome, transport.sent) == ("sent", 1)

    asyncio.run(body())


def test_a_refused_reply_is_sent_again_or_closed(tmp_path: Path) -> None:
    async def body() -> None:
        transport = Breaks(Rejected("no such mailbox"))
        async with desk_with(tmp_path, [REFUND], _opened(transport)) as desk, client_of(desk) as client:
            await post(client, 1, "approve")
            assert "Send it again when the reason is fixed" in (await client.get("/")).text
            assert "It arrived" not in (await client.get("/cases/1")).text

            await _act(client, "cancel", why="told by telephone")

            row = await desk.engine.case(1)
            assert (row.status, row.reason, transport.sent) == (Status.CANCELLED, "told by telephone", 0)

    asyncio.run(body())


@pytest.mark.parametrize(
    ("error", "on_page", "in_answer"),
    [
        (OSError(28, "No space left on device"), "tell whoever runs the desk", "run `pointsman-desk doctor`"),
        (DeskError("lost; pointsman-desk show 1", on_page="lost; look again."), "lost; look again.", "lost; pointsman-desk show 1"),
    ],
)
def test_a_page_names_no_command_where_the_answer_to_a_program_does(
    error: Exception, on_page: str, in_answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pointsman_desk.web.pages.find", fails)
    monkeypatch.setattr(at_desk, "close", fails)

    async def body() -> None:
        async with desk_with(tmp_path, [REFUND]) as desk:
            app = create_app(desk.engine, LocalAccess("ada", TOKEN), desk_pages(desk))
            add_desk(app, desk, at_desk.Reception(desk))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=SAME_ORIGIN) as client:
                page = await client.get("/search?q=curtains", headers={"Accept": "text/html"})
                answer = await client.post("/api/v1/desk/commands/close", json={"by": "ada", "case": 1})

        assert (page.status_code, answer.status_code) == (409, 409)
        assert on_page in page.text
        assert "pointsman-desk " not in page.text
        assert in_answer in answer.json()["detail"]

    asyncio.run(body())
