"""The page of all cases, without a browser: what each filter finds, and how pages follow each other."""

import asyncio
import re
from pathlib import Path

import httpx

from pointsman import Engine
from server.serving import claims, served

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


async def cases_on(client: httpx.AsyncClient, query: str = "") -> list[int]:
    """The numbers of the cases that the page lists."""
    answer = await client.get(f"/cases{query}", headers=BROWSER)
    assert answer.status_code == 200, answer.text
    return [int(number) for number in re.findall(r'data-row="(\d+)"', answer.text)]


async def three_cases(engine: Engine) -> None:
    """One is done, one waits, one is cancelled."""
    for number, tenant in enumerate(("north", "south", "south"), 1):
        case = (await engine.start(claims, {"text": f"fire {number}"}, key=f"k{number}", correlation=f"c{number}", tenant=tenant)).case
        await engine.wait_until_resting(case)
    await engine.resume((await engine.pending(1)).token, {"paid": True}, by="ada")
    await engine.wait_until_resting(1)
    await engine.cancel(3, by="ada", why="a duplicate")


def test_each_filter_keeps_the_cases_that_fit_it(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            await three_cases(engine)
            kept = {
                "": [3, 2, 1],
                "?order=oldest": [1, 2, 3],
                "?order=waiting": [2],
                "?process=claims": [3, 2, 1],
                "?process=other": [],
                "?status=waiting": [2],
                "?status=cancelled&tenant=south": [3],
                "?pause=assess": [2],
                "?assignee=-": [2],
                "?assignee=grace": [],
                "?waiting=1h": [],
                "?rule=it+is+not+assessed": [3, 2],
                "?outcome=done": [1],
                "?tenant=south": [3, 2],
                "?key=k1": [1],
                "?correlation=c2": [2],
                "?status=nonsense": [3, 2, 1],
                "?after=nonsense": [3, 2, 1],
            }

            assert {query: await cases_on(client, query) for query in kept} == kept

    asyncio.run(body())


def test_a_page_leads_to_the_next_one_and_keeps_the_filters(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            for number in range(60):
                await engine.start(claims, {"text": f"fire {number}"})
            await engine.idle()

            first = (await client.get("/cases?status=waiting", headers=BROWSER)).text
            following = re.findall(r'rel="next"[^>]* href="([^"]+)"', first)[0].replace("&amp;", "&")

            assert "60 cases" in first
            assert "status=waiting" in following
            assert await cases_on(client, following.removeprefix("/cases")) == list(range(10, 0, -1))

    asyncio.run(body())


def test_nothing_found_says_so(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            assert "There is no case yet." in (await client.get("/cases", headers=BROWSER)).text
            await three_cases(engine)
            assert "No case fits the filters." in (await client.get("/cases?text=hail", headers=BROWSER)).text

    asyncio.run(body())
