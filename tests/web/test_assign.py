"""Passing a task on, on its page and over HTTP, without a browser."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from pointsman import Engine, Process, State, Status, finish, otherwise, reassign, when
from pointsman.server.access import Role
from pointsman.server.audit import Entry, sentence
from server.serving import TOKEN, Verdict, claims, served
from web.shop import BROWSER, As, csrf_in, hidden_in


class Matter(State):
    text: str
    verdict: Verdict | None = None


laddered = Process("laddered", Matter)
decide = laddered.pause(
    name="decide",
    writes="verdict",
    answer=Verdict,
    shows=("text",),
    assignee="desk",
    ladder=[reassign("1d", "lea"), reassign("2d", "boss")],
)
laddered.rules(when("it is not decided", lambda matter: matter.verdict is None, decide), otherwise(finish("done")))


async def waiting(engine: Engine, process: str = "claims") -> int:
    case = (await engine.start(process, {"text": "fire"})).case
    await engine.wait_until_resting(case)
    return case


async def assign(client: httpx.AsyncClient, case: int, how: str, page: str = "", **fields: str) -> httpx.Response:
    """Press a button of the forms, as the page of the task has them."""
    page = page or (await client.get(f"/cases/{case}/task", headers=BROWSER)).text
    return await client.post(
        f"/cases/{case}/assign", data={**hidden_in(page, f"/cases/{case}/assign"), "assign": how, **fields}, headers=BROWSER
    )


def test_a_task_is_taken_passed_on_and_given_back(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            case, other = await waiting(engine), await waiting(engine)
            before = await engine.pending(case)

            taken = await assign(client, case, "me")
            assert (taken.status_code, taken.headers["location"]) == (303, f"/cases/{case}/task")
            page = (await client.get(taken.headers["location"], headers=BROWSER)).text
            assert "Assigned to ada." in page
            assert "Assign to me" not in page

            passed = await assign(client, case, "name", to=" bo ", note="his <b>customer")
            assert passed.headers["location"] == f"/cases/{other}/task?assigned={case}"
            assert f"{case}</a> was assigned to somebody else" in (await client.get(passed.headers["location"], headers=BROWSER)).text
            assert await engine.pending(case) == before._replace(assignee="bo")
            shown = (await client.get(f"/cases/{case}", headers=BROWSER)).text
            assert "assess is assigned to bo by ada: his &lt;b&gt;customer" in shown

            stale = await assign(client, case, "me", page=page)
            assert (stale.status_code, "assigned to bo meanwhile" in stale.text) == (422, True)
            empty = await assign(client, case, "name", to=" ")
            assert (empty.status_code, 'id="assign-name-error"' in empty.text) == (422, True)
            assert (await engine.pending(case)).assignee == "bo"
            assert (await assign(client, case, "nobody")).headers["location"] == f"/cases/{case}/task"
            assert (await engine.pending(case)).assignee is None

            await engine.resume(before.token, Verdict(paid=True), by="ada")
            over = await assign(client, case, "me", page=page)
            assert (over.status_code, "was answered by" in over.text) == (409, True)

    asyncio.run(body())


def test_a_task_is_escalated_to_whom_its_ladder_names_next_with_a_reason(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path, processes=[laddered, claims]) as (engine, client):
            case = await waiting(engine, "laddered")
            due = (await engine.case(case)).wake_at

            unsaid = await assign(client, case, "escalate")
            assert (unsaid.status_code, 'id="assign-escalate-error"' in unsaid.text) == (422, True)
            for lead in ("lea", "boss"):
                assert f"Escalate to {lead}" in (await client.get(f"/cases/{case}/task", headers=BROWSER)).text
                assert (await assign(client, case, "escalate", note="above my limit")).status_code == 303
                assert (await engine.pending(case)).assignee == lead
            row = await engine.case(case)
            assert (row.status, row.wake_at) == (Status.WAITING, due)
            for nobody_behind in (case, await waiting(engine)):
                assert "Escalate" not in (await client.get(f"/cases/{nobody_behind}/task", headers=BROWSER)).text

    asyncio.run(body())


@pytest.mark.parametrize("role", Role)
def test_whoever_may_answer_may_assign(tmp_path: Path, role: Role) -> None:
    async def body() -> None:
        async with served(tmp_path, As(role)) as (engine, client):
            case = await waiting(engine)
            page = (await client.get(f"/cases/{case}/task", headers=BROWSER)).text
            fields = {"csrf": csrf_in(page), "asked": "", "assign": "me"}
            sent = [
                (await client.post(f"/cases/{case}/assign", data=fields, headers=BROWSER)).status_code,
                (await client.post(f"/api/v1/cases/{case}/assign", json={"to": "bo"}, headers=BROWSER)).status_code,
            ]
            may = role is not Role.VIEWER
            assert ("/assign" in page, sent) == (may, [303, 200] if may else [403, 403])

    asyncio.run(body())


def test_the_api_assigns_and_the_audit_log_keeps_it(tmp_path: Path) -> None:
    kept: list[tuple[str, str, dict[str, Any]]] = []

    async def body() -> None:
        async with served(tmp_path, record=lambda who, did, about: kept.append((who, did, about))) as (engine, client):
            case = await waiting(engine)
            headers = {"Authorization": f"Bearer {TOKEN}"}
            path = f"/api/v1/cases/{case}/assign"

            assigned = await client.post(path, json={"to": "bo", "note": "his customer", "by": "grace"}, headers=headers)
            assert (assigned.status_code, assigned.json()["status"]) == (200, "waiting")
            listed = (await client.get("/api/v1/tasks", params={"assignee": "bo"})).json()["tasks"]
            assert [task["case"] for task in listed] == [case]
            await assign(client, case, "name", to="mo", note="back on Monday")
            await engine.cancel(case, by="ada", why="a test")
            refused = await client.post(path, json={"to": "bo"})
            assert (refused.status_code, refused.json()["title"]) == (409, "Not waiting")

    asyncio.run(body())
    about = {"method": "POST", "path": "/api/v1/cases/1/assign", "status": 200, "case": 1, "to": "bo", "why": "his customer", "by": "grace"}
    assert kept[0] == ("ada", "assign", about)
    assert sentence(Entry(1, 0.0, *kept[0], "")) == "ada assigned case 1 to bo in the name of grace: his customer"
    about = {"method": "POST", "path": "/cases/1/assign", "status": 303, "case": 1, "to": "mo", "why": "back on Monday"}
    assert kept[1] == ("ada", "assign", about)
    assert (kept[2][1], kept[2][2]["status"]) == ("assign", 409)
