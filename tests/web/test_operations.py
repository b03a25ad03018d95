"""The page for operators, without a browser: bulk operations after a dry run, and the intake."""

import asyncio
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from pointsman import Busy, Status
from pointsman.server.access import Role
from pointsman.web import selection
from server.serving import served
from web.shop import BROWSER, As, csrf_in, hidden_in, order, orders
from web.test_overview import plain

BULK = "/operations/bulk"


async def parked_reasons(client: httpx.AsyncClient) -> dict[str, str]:
    """The links to redrive the cases of each reason."""
    page = (await client.get("/operations", headers=BROWSER)).text
    links = [html.unescape(link) for link in re.findall(r'href="(/operations/bulk[^"]+)"', page)]
    return {httpx.URL(link).params["reason"]: link for link in links if "do=redrive" in link}


async def send(client: httpx.AsyncClient, page: str, fields: Mapping[str, str]) -> httpx.Response:
    hidden = {name: html.unescape(value) for name, value in hidden_in(page, BULK).items()}
    return await client.post(BULK, data={**hidden, **fields}, headers=BROWSER)


def test_the_cases_of_a_reason_are_corrected_and_redriven_after_a_dry_run(tmp_path: Path) -> None:
    recorded: list[tuple[str, str, dict[str, Any]]] = []

    async def body() -> None:
        async with served(tmp_path, processes=[orders], record=lambda *entry: recorded.append(entry)) as (engine, client):
            for article in ("unknown cup 1", "unknown cup 22", "unknown plate 3", "lamp"):
                await order(engine, article)
            link = (await parked_reasons(client))["'find_price' failed after … attempts: unknown cup … is not in the catalogue"]
            fields = {"why": "the catalogue was late", "fields": '{"article": "cup"}'}

            shown = await client.get(link, headers=BROWSER)
            dry = await send(client, shown.text, fields)
            assert (dry.status_code, [row.status for row in await engine.reader.cases()]) == (200, [Status.PARKED] * 4)
            assert "This will redrive 2 cases with the corrected fields. Nothing has been done yet." in plain(dry.text)
            done = await send(client, dry.text, fields)

            assert (done.status_code, done.headers["location"]) == (303, "/operations?did=redrive&cases=2&refused=0")
            await engine.idle()
            assert [(row.id, row.status) for row in await engine.reader.cases(status=Status.DONE)] == [(1, Status.DONE), (2, Status.DONE)]
            assert "2 cases were redriven." in plain((await client.get(done.headers["location"], headers=BROWSER)).text)
            assert [did for _, did, _ in recorded] == ["dry run: redrive", "redrive"]
            assert (recorded[-1][2]["cases"], recorded[-1][2]["why"], recorded[-1][2]["fields"]) == ([1, 2], fields["why"], ["article"])

    asyncio.run(body())


def test_an_operation_is_refused_if_the_selection_or_the_correction_has_changed_since(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[orders]) as (engine, client):
            for number in range(3):
                await order(engine, f"unknown cup {number}")
            (link,) = (await parked_reasons(client)).values()
            dry = await send(client, (await client.get(link, headers=BROWSER)).text, {"why": "try"})

            other = await send(client, dry.text, {"why": "try", "fields": '{"article": "cup"}'})
            await order(engine, "unknown cup 4")
            more = await send(client, dry.text, {"why": "try"})

            assert [(answer.status_code, "The selection has changed" in answer.text) for answer in (other, more)] == [(409, True)] * 2
            assert (await engine.reader.counts()) == {Status.PARKED: 4}
            assert "This will redrive 4 cases" in plain(more.text)
            assert (await send(client, more.text, {"why": "try"})).status_code == 303

    asyncio.run(body())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"why": ""}, "Say why"),
        ({"fields": "{"}, "This is not JSON"),
        ({"fields": "[1]"}, "Write a JSON object"),
        ({"fields": '{"colour": "red"}'}, "'colour' is not a field of Order"),
        ({"fields": '{"pieces": "three"}'}, "pieces"),
    ],
)
def test_a_form_with_a_mistake_is_shown_again_before_anything_is_done(tmp_path: Path, fields: dict[str, str], says: str) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[orders]) as (engine, client):
            await order(engine, "unknown cup")
            (link,) = (await parked_reasons(client)).values()
            page = (await client.get(link, headers=BROWSER)).text

            refused = await send(client, page, {"why": "try", **fields})

            assert (refused.status_code, says in plain(refused.text)) == (422, True), plain(refused.text)
            assert 'name="digest"' not in refused.text

    asyncio.run(body())


def test_only_open_cases_of_the_filters_are_cancelled_and_no_more_than_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "SELECTED_MAX", 2)
    monkeypatch.setattr("pointsman.web.operations.SELECTED_MAX", 2)

    async def body() -> None:
        async with served(tmp_path, processes=[orders]) as (engine, client):
            for article in ("cup", "unknown 1", "unknown 2", "unknown 3"):
                await order(engine, article)
            listed = (await client.get("/cases?process=orders", headers=BROWSER)).text
            link = html.unescape(re.findall(r'href="(/operations/bulk[^"]+do=cancel)"', listed)[0])

            page = (await client.get(link, headers=BROWSER)).text
            assert "this is about the 2 with the lowest numbers" in plain(page)
            dry = await send(client, page, {"why": "a test"})
            await send(client, dry.text, {"why": "a test"})

            stands = [row.status for row in await engine.reader.cases()]
            assert stands == [Status.DONE, Status.CANCELLED, Status.CANCELLED, Status.PARKED]
            none = await client.get(f"{BULK}?do=redrive&status=done", headers=BROWSER)
            assert "only parked cases can be redriven" in none.text

    asyncio.run(body())


def test_the_intake_is_paused_and_resumed_with_a_reason(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[orders]) as (engine, client):
            token = csrf_in((await client.get("/operations", headers=BROWSER)).text)

            async def change(do: str, why: str) -> httpx.Response:
                return await client.post("/operations/intake", data={"csrf": token, "do": do, "why": why}, headers=BROWSER)

            assert ((await change("pause", " ")).status_code, await engine.reader.intake_paused()) == (422, None)
            assert (await change("pause", "the bank is closed")).headers["location"] == "/operations#intake"
            with pytest.raises(Busy, match="ada paused the intake"):
                await engine.start(orders, {"article": "cup"})
            assert "ada paused the intake" in plain((await client.get("/operations", headers=BROWSER)).text)
            await change("resume", "it is open")
            await order(engine, "cup")

    asyncio.run(body())


@pytest.mark.parametrize("role", Role)
def test_only_an_operator_sees_and_may_use_the_forms(tmp_path: Path, role: Role) -> None:
    async def body() -> None:
        async with served(tmp_path, As(role), [orders]) as (engine, client):
            await order(engine, "unknown cup")
            page = (await client.get("/operations", headers=BROWSER)).text
            token = csrf_in(page)
            answers = [
                await client.get(f"{BULK}?do=cancel&status=parked", headers=BROWSER),
                await client.post(BULK, data={"csrf": token}, headers=BROWSER),
                await client.post("/operations/intake", data={"csrf": token}, headers=BROWSER),
            ]

            may = role in {Role.OPERATOR, Role.ADMIN}
            assert ("/operations/bulk" in page, "/operations/intake" in page) == (may, may)
            assert [answer.status_code for answer in answers] == ([200, 422, 422] if may else [403] * 3)
            listed = (await client.get("/cases?status=parked", headers=BROWSER)).text
            assert ("/operations/bulk" in listed) is may

    asyncio.run(body())


def test_a_forged_form_changes_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[orders]) as (engine, client):
            await order(engine, "unknown cup")
            for path in (BULK, "/operations/intake"):
                fields = {"do": "cancel", "status": "parked", "why": "x", "csrf": "0" * 64}
                assert (await client.post(path, data=fields, headers=BROWSER)).status_code == 403
                assert (await client.post(path, data=fields, headers={"Origin": "https://evil.example"})).status_code == 403
            assert await engine.reader.intake_paused() is None

    asyncio.run(body())
