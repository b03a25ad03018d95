"""The work list and the page of a case, without a browser: what they say."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from pointsman import AtMostOnce, Context, Engine, Process, State, answer_with, finish, otherwise, remind, when
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.store.sqlite_threads import ThreadedReader
from pointsman.web import pages
from pointsman.web.differences import word_difference
from pointsman.web.render import clock_time, format_ago, marked
from server.serving import served

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


class Order(State):
    item: str
    urgent: bool = False
    allowed: bool | None = None
    receipt: str | None = None


orders = Process("orders", Order)
allow = orders.pause(
    name="allow_it",
    writes="allowed",
    answer=bool,
    shows=("item",),
    assignee="ada",
    deadline="3d",
    ladder=(remind("1d"), answer_with(False)),
)
hurry = orders.pause(name="hurry", writes="allowed", answer=bool, shows=("item",), deadline="30m")


@orders.effect(writes="receipt", safety=AtMostOnce())
async def buy(item: str, *, ctx: Context) -> str:
    if item == "nothing":
        raise TimeoutError("the shop does not answer")
    return f"receipt for {item}"


orders.rules(
    when("it is urgent", lambda order: order.urgent and order.allowed is None, hurry),
    when("nobody has allowed it", lambda order: order.allowed is None, allow),
    when("it was refused", lambda order: not order.allowed, finish("refused")),
    when("it is not bought", lambda order: order.receipt is None, buy),
    when("it is a gift", lambda order: order.receipt.endswith("for nothing"), finish("given")),  # raises until it is bought
    otherwise(finish("bought")),
)


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[tuple[Engine, httpx.AsyncClient]]:
    async with Engine.open(folder / "cases.db", [orders]) as engine:
        app = create_app(engine, LocalAccess("ada", "a token"), pages())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=BROWSER) as client:
            yield engine, client


async def order(engine: Engine, item: str, *, urgent: bool = False) -> int:
    case = (await engine.start("orders", {"item": item, "urgent": urgent})).case
    await engine.wait_until_resting(case)
    return case


def rows_of(page: str) -> list[int]:
    return [int(case) for case in re.findall(r'data-row="(\d+)"', page)]


def test_the_list_is_narrowed_by_task_and_assignee_and_warns_of_a_near_deadline(tmp_path: Path) -> None:
    async def body() -> None:
        async with shop(tmp_path) as (engine, client):
            usual, urgent = await order(engine, "a pen"), await order(engine, "a pump", urgent=True)
            found = {
                query: rows_of((await client.get(f"/{query}")).text)
                for query in ("", "?pause=hurry", "?assignee=me", "?assignee=-", "?process=none")
            }

            assert found == {
                "": [usual, urgent],
                "?pause=hurry": [urgent],
                "?assignee=me": [usual],
                "?assignee=-": [urgent],
                "?process=none": [],
            }
            page = (await client.get("/")).text
            assert '<span class="bad"><time' in page
            assert '<span class=""><time' in page
            assert "2 tasks wait" in page
            task = (await client.get(f"/cases/{usual}/task?assignee=me")).text
            assert f"/cases/{urgent}/task" not in task

    asyncio.run(body())


def test_a_list_of_many_tasks_takes_as_many_reads_as_one_of_a_single_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    run = ThreadedReader.run
    monkeypatch.setattr(ThreadedReader, "run", lambda self, read: reads.append(read) or run(self, read))

    async def body() -> None:
        async with shop(tmp_path) as (engine, client):
            counts = []
            for items in (["a pen"], ["a pump", "a lamp", "a cup"]):
                for item in items:
                    await order(engine, item)
                reads.clear()
                page = (await client.get("/")).text
                counts.append(len(reads))
                assert all(item in page for item in items)
            assert counts[0] == counts[1]

    asyncio.run(body())


def test_a_long_list_has_pages(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            for number in range(53):
                await engine.start("claims", {"text": f"claim {number}"})
            await engine.idle()

            first = (await client.get("/", headers=BROWSER)).text
            link = re.search(r'rel="next" data-key="n" href="([^"]+)"', first)
            assert link is not None
            second = (await client.get(link[1], headers=BROWSER)).text

            assert "53 tasks wait" in first
            assert sorted(rows_of(first) + rows_of(second)) == list(range(1, 54))
            assert 'rel="next"' not in second
            assert len(rows_of((await client.get("/?after=nonsense", headers=BROWSER)).text)) == 50

    asyncio.run(body())


def test_what_an_operator_must_see_stands_below_the_list(tmp_path: Path) -> None:
    async def body() -> None:
        async with shop(tmp_path) as (engine, client):
            case = await order(engine, "nothing")
            await engine.resume((await engine.pending(case)).token, True, by="ada")
            await engine.wait_until_resting(case)

            page = (await client.get("/")).text

            assert "<strong>1</strong> case is parked:" in page
            assert f'<a href="/cases/{case}#effects">buy of case {case}</a>' in page

    asyncio.run(body())


def test_a_case_says_where_it_stands_and_why(tmp_path: Path) -> None:
    async def body() -> None:
        async with shop(tmp_path) as (engine, client):
            case = await order(engine, "a pen")
            waiting = (await client.get(f"/cases/{case}")).text
            await engine.resume((await engine.pending(case)).token, True, by="grace")
            await engine.wait_until_resting(case)
            done = (await client.get(f"/cases/{case}")).text

            assert "It waits for ada to answer; nobody has answered yet." in waiting
            assert f'href="/cases/{case}/task"' in waiting
            assert re.search(r'<tr class="fires"><td>nobody has allowed it <span class="tag">wins', waiting)
            assert len(re.findall(r'class="fires"', waiting)) == 1
            assert re.search(r"Its deadline is [^.]* \(in 3 days", waiting)
            assert "not reached" in waiting
            assert "AttributeError" not in waiting
            assert "ended as &#39;bought&#39;" in done
            assert "allow_it answered by grace: wrote allowed" in done
            effect = (await engine.reader.effects(case))[0]
            assert f'<code class="key">{effect.key}</code>' in done
            assert f'href="/cases/{case}/task"' not in done

    asyncio.run(body())


def test_a_case_shows_its_state_at_any_revision_with_what_changed(tmp_path: Path) -> None:
    async def body() -> None:
        async with shop(tmp_path) as (engine, client):
            case = await order(engine, "a pen")
            await engine.resume((await engine.pending(case)).token, True, by="grace")
            last = (await engine.wait_until_resting(case)).revision

            changed: dict[int, list[tuple[str, str]]] = {}
            for revision in range(1, last + 1):
                page = (await client.get(f"/cases/{case}?revision={revision}")).text
                assert f"State after revision {revision}" in page
                assert (f'href="?revision={revision - 1}#state"' in page) == (revision > 1)
                assert (f'href="?revision={revision + 1}#state"' in page) == (revision < last)
                changed[revision] = re.findall(r'<tr class="(added|changed|removed)">\s*<th scope="row"><code>(\w+)', page)

            assert changed[1] == [("added", "item"), ("added", "urgent")]
            assert ("added", "allowed") in [one for found in changed.values() for one in found]
            assert ("added", "receipt") in changed[last] + changed[last - 1]
            for wrong in ("0", "-1", "99", "x", "9" * 40):
                assert (await client.get(f"/cases/{case}?revision={wrong}")).status_code == 200

    asyncio.run(body())


def test_a_stopped_engine_is_a_page_too(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [orders]) as engine:
            app = create_app(engine, LocalAccess("ada", "a token"), pages())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=BROWSER) as client:
            for path in ("/", "/cases/1/task"):
                page = await client.get(path)
                assert (path, page.status_code, page.headers["content-type"]) == (path, 503, "text/html; charset=utf-8")

    asyncio.run(body())


def test_a_theme_is_kept_and_leads_nowhere_else(tmp_path: Path) -> None:
    async def body() -> None:
        async with shop(tmp_path) as (_, client):
            csrf = re.search(r'name="csrf" value="(\w+)"', (await client.get("/")).text)
            assert csrf is not None
            for back, to in (
                ("/?pause=hurry", "/?pause=hurry"),
                ("//evil.example", "/"),
                ("https://evil.example", "/"),
                ("/\\evil.example", "/"),
            ):
                chosen = await client.post("/theme", data={"csrf": csrf[1], "theme": "dark", "back": back})
                assert (chosen.status_code, chosen.headers["location"]) == (303, to)
            assert 'data-theme="dark"' in (await client.get("/")).text
            assert (await client.get("/theme")).status_code == 404

    asyncio.run(body())


def test_times_and_differences_read_well() -> None:
    assert [format_ago(seconds) for seconds in (5, 61, 3_599, 5_400, 7_300, 86_368, 90_000, 200_000)] == [
        "just now", "1 min", "1 h", "90 min", "2 h", "1 d", "25 h", "2 d"
    ]  # fmt: skip
    assert ">3 h ago</time>" in clock_time(0, 3 * 3_600)
    assert ">in 2 d</time>" in clock_time(2 * 86_400, 0)
    assert [*word_difference("a wet floor", "a wet ceiling")] == [("same", "a wet "), ("removed", "floor"), ("added", "ceiling")]
    assert [*word_difference("x " * 3_000, "y")] == [("removed", "x " * 3_000), ("added", "y")]
    assert marked("a\u202eb\x00c\u200bd\tе\n") == "a⟦202E⟧b⟦0000⟧c⟦200B⟧d\tе\n"
