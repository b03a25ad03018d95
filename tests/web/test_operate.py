"""What an operator does on the page of a case, without a browser."""

import asyncio
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from pointsman import Status
from pointsman.functional import entrypoint, pause
from pointsman.server.access import Role
from server.serving import served
from web.shop import BROWSER, As, csrf_in, operate, order, orders


def test_a_parked_case_goes_on_with_a_corrected_field(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[orders]) as (engine, client):
            case = await order(engine, "unknown cup")

            redriven = await operate(client, case, "redrive", {"field.article": '"cup"', "why": "a typing error"})

            assert (redriven.status_code, redriven.headers["location"]) == (303, f"/cases/{case}")
            row = await engine.wait_until_resting(case)
            assert (row.status, (await engine.state(case)).article) == (Status.DONE, "cup")
            page = (await client.get(f"/cases/{case}", headers=BROWSER)).text
            assert "by ada: a typing error; corrected article" in page

    asyncio.run(body())


@entrypoint(name="asking")
def asking(given: str) -> bool:
    allowed = pause(given, answer=bool, name="allow")
    return allowed and pause("sure?", answer=bool, name="sure")


def test_an_answer_of_a_body_is_taken_back_on_the_page_of_its_case(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[asking.process]) as (engine, client):
            case = (await engine.start(asking.process, {"invocation": {"input": "refund", "thread": "t"}})).case
            await engine.wait_until_resting(case)
            await engine.resume((await engine.pending(case)).token, True, by="bob")
            await engine.wait_until_resting(case)
            page = (await client.get(f"/cases/{case}", headers=BROWSER)).text
            [field] = re.findall(r'name="(field\.allow\[\w+\])"', page)

            given = await operate(client, case, "redrive", {field: "false", "why": "bob mistook it"})
            taken = await operate(client, case, "redrive", {field: "", "why": "bob mistook it"})

            assert "is what a person answers, and a correction cannot give it" in unescape(given.text)
            assert taken.status_code == 303, taken.text
            await engine.wait_until_resting(case)
            assert (await engine.pending(case)).pause == "allow"

    asyncio.run(body())


@pytest.mark.parametrize(
    ("fields", "status", "says", "beside"),
    [
        ({"field.article": '"cup'}, 422, "This is not JSON", "redrive-field.article-error"),
        ({"field.article": "[" * 100_000}, 422, "nested too deep", "redrive-field.article-error"),
        ({"field.pieces": '"three"'}, 409, "refused: pieces", "redrive-field.pieces-error"),
        ({"why": " "}, 422, "Say why", "redrive-why-error"),
        ({"revision": "1"}, 409, "has moved since", "redrive-all-error"),
    ],
)
def test_a_refused_correction_is_shown_again_with_the_error_beside_its_field(
    tmp_path: Path, fields: dict[str, str], status: int, says: str, beside: str
) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[orders]) as (engine, client):
            case = await order(engine, "unknown cup")

            refused = await operate(client, case, "redrive", {"why": "typing <b>error", "field.pieces": "3", **fields})

            assert refused.status_code == status, refused.text
            assert says in refused.text[refused.text.index(f'id="{beside}"') :][:300]
            if "why" not in fields:
                assert 'value="typing &lt;b&gt;error"' in refused.text
            assert (await engine.case(case)).status is Status.PARKED

    asyncio.run(body())


def test_a_case_is_cancelled_and_then_erased(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[orders]) as (engine, client):
            case = await order(engine, "unknown cup")

            assert (await operate(client, case, "cancel", {"why": "a test"})).status_code == 303
            assert (await engine.case(case)).status is Status.CANCELLED
            wrong = await operate(client, case, "erase", {"why": "asked for", "number": "7"})
            assert (wrong.status_code, "Type 1, the number of the case" in wrong.text) == (422, True)
            assert (await operate(client, case, "erase", {"why": "asked for", "number": f"{case}"})).status_code == 303

            page = (await client.get(f"/cases/{case}", headers=BROWSER)).text
            assert "unknown cup" not in page
            assert "/erase" not in page

    asyncio.run(body())


@pytest.mark.parametrize(("happened", "status"), [("yes", Status.DONE), ("no", Status.PARKED)])
def test_an_effect_in_doubt_is_resolved_as_a_person_found(tmp_path: Path, happened: str, status: Status) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[orders]) as (engine, client):
            case = await order(engine, "lamp")
            (doubt,) = await engine.reader.in_doubt()

            unsaid = await operate(client, case, "resolve", {"why": "looked", "happened": ""})
            empty = await operate(client, case, "resolve", {"why": "looked", "happened": "yes", "outcome": ""})
            broken = await operate(client, case, "resolve", {"why": "looked", "happened": "yes", "outcome": "{"})
            assert [answer.status_code for answer in (unsaid, empty, broken)] == [422, 409, 422]
            assert "say with `outcome`" in empty.text.lower()
            found = {"why": "looked", "happened": happened, "outcome": '"7 paid"'}
            other = await operate(client, case, "resolve", {**found, "attempts": "9"})
            assert (other.status_code, "called again since" in other.text) == (409, True)
            assert (await operate(client, case, "resolve", found)).status_code == 303

            row = await engine.wait_until_resting(case)
            entry = await engine.reader.effect(doubt.key)
            assert (row.status, entry.attempts) == (status, 1 if happened == "yes" else 2)

    asyncio.run(body())


@pytest.mark.parametrize("role", Role)
def test_each_role_sees_its_buttons_and_may_do_no_more(tmp_path: Path, role: Role) -> None:
    async def body() -> None:
        async with served(tmp_path, As(role), [orders]) as (engine, client):
            case = await order(engine, "unknown cup")
            page = (await client.get(f"/cases/{case}", headers=BROWSER)).text
            shown = {name for name in ("cancel", "redrive", "erase") if f'action="/cases/{case}/{name}"' in page}
            token = csrf_in(page)
            sent = {}
            for name in ("resolve", "redrive", "cancel", "erase"):
                fields = {"csrf": token, "why": "", "number": ""}  # refused by the form of whoever may send it
                sent[name] = (await client.post(f"/cases/{case}/{name}", data=fields, headers=BROWSER)).status_code

            may = {Role.OPERATOR: {"cancel", "redrive"}, Role.ADMIN: {"cancel", "redrive", "erase"}}.get(role, set())
            assert shown == may
            assert {name for name, status in sent.items() if status == 422} == may | ({"resolve"} if may else set())
            assert {status for name, status in sent.items() if name not in may | {"resolve"}} <= {403}

    asyncio.run(body())


def test_an_operation_needs_a_form_of_our_own_and_is_recorded(tmp_path: Path) -> None:
    recorded: list[tuple[str, str, dict[str, Any]]] = []

    async def body() -> None:
        async with served(tmp_path, processes=[orders], record=lambda *entry: recorded.append(entry)) as (engine, client):
            case = await order(engine, "unknown cup")
            path = f"/cases/{case}/cancel"
            forged = [
                await client.post(path, data={"why": "x", "csrf": "0" * 64}, headers=BROWSER),
                await client.post(path, data={"why": "x"}, headers={"Sec-Fetch-Site": "cross-site", "Accept": "text/html"}),
            ]
            assert [answer.status_code for answer in forged] == [403, 403]
            assert (await client.get(path, headers=BROWSER)).status_code in {404, 405}
            assert (await engine.case(case)).status is Status.PARKED

            await operate(client, case, "cancel", {"why": "a test"})

            about = {"method": "POST", "path": path, "status": 303, "case": case, "why": "a test"}
            assert recorded[-1] == ("ada", "cancel", about)

    asyncio.run(body())
