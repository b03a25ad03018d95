"""The page of the process map and the cases that it leads to, without a browser."""

import asyncio
import html
import re
from pathlib import Path

import pytest

from pointsman.store.sqlite_reader import SqliteReader
from server.serving import claims, served
from web.shop import BROWSER, order, orders
from web.test_cases import cases_on


def test_a_click_on_the_map_leads_to_the_cases_that_went_that_way(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[orders, claims]) as (engine, client):
            for article in ("cup", "unknown cup", "plate", "lamp"):
                await order(engine, article)

            page = (await client.get("/map?process=orders", headers=BROWSER)).text
            links = [html.unescape(link) for link in re.findall(r'<a [^>]*href="(/cases\?[^"]+)"', page)]
            found = {link: await cases_on(client, link.removeprefix("/cases")) for link in links}

            assert found["/cases?process=orders&came=find_price&went=charge"] == [4, 3, 1]
            assert found["/cases?process=orders&came=find_price&went=%3Aparked"] == [2]
            assert found["/cases?process=orders&went=%3Adone+paid"] == [3, 1]
            assert found["/cases?process=orders&went=find_price"] == [4, 3, 2, 1]
            assert "The ways of the newest 4 cases of orders" in page
            assert "No case of claims has started yet." in (await client.get("/map?process=claims", headers=BROWSER)).text

    asyncio.run(body())


def test_the_ways_of_a_case_are_read_again_only_after_it_has_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    events_of = SqliteReader.events_of

    async def counting(self: SqliteReader, cases: list[int]) -> object:
        asked.append([*cases])
        return await events_of(self, cases)

    monkeypatch.setattr(
        "pointsman.store.sqlite_threads.ThreadedReader.events_of", lambda self, cases: self.run(lambda r: counting(r, cases))
    )

    async def body() -> None:
        async with served(tmp_path, processes=[orders]) as (engine, client):
            await order(engine, "cup")
            await order(engine, "unknown cup")
            await client.get("/map", headers=BROWSER)
            await client.get("/map", headers=BROWSER)
            await engine.redrive(2, by="ada", why="try", fields={"article": "cup"})
            await engine.wait_until_resting(2)
            page = (await client.get("/map", headers=BROWSER)).text

            assert asked == [[2, 1], [2]]
            assert "parked to find_price" in page

    asyncio.run(body())
