"""The overview, without a browser: what it counts, and that it reads no more when there are more cases."""

import asyncio
import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pointsman import Engine
from pointsman.store.sqlite_reader import SqliteReader
from pointsman.web import newest
from server.serving import claims, served
from web.shop import BROWSER, order, orders


def plain(page: str) -> str:
    """The words of a page."""
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", page[page.index("<main") :]).split()))


def test_the_overview_says_what_waits_what_is_parked_and_what_is_in_doubt(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[claims, orders]) as (engine, client):
            for number in range(3):
                case = (await engine.start(claims, {"text": f"fire {number}"})).case
                await engine.wait_until_resting(case)
            await engine.resume((await engine.pending(1)).token, {"paid": True}, by="ada")
            for article in ("unknown cup 1", "unknown cup 2", "lamp"):
                await order(engine, article)
            await engine.pause_intake(by="grace", why="the bank is closed")

            page = plain((await client.get("/overview", headers=BROWSER)).text)

            assert "2 wait for a person 3 parked 1 effect in doubt 0 blocked 0 in the backlog" in page
            assert "up to 1h 2" in page
            assert "assess claims 2" in page.lower()
            assert "'find_price' failed after … attempts: unknown cup … is not in the catalogue" in page
            assert "charge of case 6" in page
            assert "6 started, 1 ended" in page
            assert re.search(r"Assess 1 \S+", page)
            assert "grace paused it" in page

    asyncio.run(body())


@contextmanager
def rows_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count the rows that each statement of a reader gives."""
    read: list[int] = []
    run = SqliteReader._run

    def counting(self: SqliteReader, *asked: object) -> list[object]:
        rows = run(self, *asked)  # type: ignore[arg-type]
        read.append(len(rows))
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(SqliteReader, "_run", counting)
        yield read


async def many(engine: Engine, count: int) -> None:
    await asyncio.gather(*(engine.start(claims, {"text": f"fire {number}"}) for number in range(count)))
    await engine.idle()


@pytest.mark.parametrize("path", ["/overview", "/cases", "/operations"])
def test_a_page_reads_as_much_with_many_cases_as_with_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            await many(engine, 60)
            await client.get(path, headers=BROWSER)
            with rows_read(monkeypatch) as few:
                await client.get(path, headers=BROWSER)
            await many(engine, 300)
            await client.get(path, headers=BROWSER)
            with rows_read(monkeypatch) as lots:
                await client.get(path, headers=BROWSER)

            assert lots == few
            assert sum(lots) < 100

    asyncio.run(body())


def test_the_newest_events_are_read_once_and_begun_again_after_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "EVENTS_MAX", 40)
    monkeypatch.setattr(newest, "PAGE_EVENTS", 10)

    async def body() -> None:
        async with served(tmp_path) as (engine, _):
            seen = newest.Newest()
            started = []
            for more in (1, 2, 50, 1):
                await many(engine, more)
                flow = await seen.flow(engine)
                started.append(sum(bucket.started for bucket in flow.buckets(engine.clock.now(), 3_600.0, 24)))

            assert started[:2] == [1, 3]
            assert started[2] < 53  # begun again, with the newest ones only
            assert started[3] == started[2] + 1

    asyncio.run(body())


def test_an_answer_counts_although_its_pause_is_older_than_the_newest_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "EVENTS_MAX", 3)

    async def body() -> None:
        async with served(tmp_path) as (engine, _):
            await many(engine, 2)
            await engine.resume((await engine.pending(1)).token, {"paid": True}, by="ada")
            await engine.idle()

            times = (await newest.Newest().flow(engine)).answer_times()

            assert times["assess"].number == 1

    asyncio.run(body())
