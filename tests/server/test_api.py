"""The HTTP API: start, look, answer and operate."""

import asyncio
from pathlib import Path

from pointsman import Status
from server.serving import TOKEN, served


def test_a_case_is_started_shown_and_answered(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            started = (await client.post("/api/v1/cases", json={"process": "claims", "state": {"text": "a broken window"}})).json()
            await engine.wait_until_resting(started["case"])
            task = (await client.get(f"/api/v1/cases/{started['case']}/task")).json()

            answer = {"digest": task["digest"], "answer": {"paid": True}, "edits": {"letter": "Dear Ada"}}
            answered = await client.post(f"/api/v1/cases/{started['case']}/answer", json=answer)

            assert task["shown"] == {"text": "a broken window", "letter": "Dear customer, about a broken window"}
            assert task["edits"] == ["letter"]
            assert "paid" in task["answer_schema"]["properties"]
            assert answered.status_code == 200
            row = await engine.wait_until_resting(started["case"])
            assert (row.status, (await engine.state(row.id)).letter) == (Status.DONE, "Dear Ada")

    asyncio.run(body())


def test_the_same_answer_again_changes_nothing_and_is_no_error(tmp_path: Path) -> None:
    recorded: list[tuple[str, int]] = []

    async def body() -> None:
        async with served(tmp_path, record=lambda _, did, about: recorded.append((did, about["status"]))) as (engine, client):
            case = (await client.post("/api/v1/cases", json={"process": "claims", "state": {"text": "fire"}})).json()["case"]
            await engine.wait_until_resting(case)
            task = (await client.get(f"/api/v1/cases/{case}/task")).json()
            said = {"digest": task["digest"], "answer": {"paid": True}, "edits": {"letter": "Dear Ada"}}

            tries = [said, said, {**said, "answer": {"paid": False}}, {**said, "edits": {}}]
            told = [await client.post(f"/api/v1/cases/{case}/answer", json=one) for one in tries]

            assert [one.status_code for one in told] == [200, 200, 409, 409]
            assert {one.json()["title"] for one in told[2:]} == {"Already answered"}
            assert f"case {case} was already answered by" in told[2].json()["detail"]
            assert recorded == [("start", 201), ("answer", 200), ("answer", 409), ("answer", 409)]

    asyncio.run(body())


def test_an_answer_to_something_else_than_what_was_shown_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            case = (await client.post("/api/v1/cases", json={"process": "claims", "state": {"text": "fire"}})).json()["case"]
            await engine.wait_until_resting(case)

            refused = await client.post(f"/api/v1/cases/{case}/answer", json={"digest": "another", "answer": {"paid": True}})

            assert refused.status_code == 409
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["title"] == "Stale"
            assert (await engine.case(case)).status is Status.WAITING

    asyncio.run(body())


def test_a_body_that_is_not_sent_as_json_is_told_the_header(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (_, client):
            sent = {
                "content": '{"process": "claims", "state": {"text": "fire"}}',
                "headers": {"Content-Type": "application/x-www-form-urlencoded"},
            }
            refused = await client.post("/api/v1/cases", **sent)

            assert refused.status_code == 415
            assert "Content-Type: application/json" in refused.json()["detail"]

    asyncio.run(body())


def test_only_a_command_of_this_machine_may_name_who_decides(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            for token, decided in ((None, "ada"), (TOKEN, "grace")):
                case = (await client.post("/api/v1/cases", json={"process": "claims", "state": {"text": "fire"}})).json()["case"]
                await engine.wait_until_resting(case)
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                await client.post(f"/api/v1/cases/{case}/cancel", json={"why": "a test", "by": "grace"}, headers=headers)

                events = (await client.get(f"/api/v1/cases/{case}")).json()["events"]

                assert [event["facts"]["by"] for event in events if event["kind"] == "cancelled"] == [decided]
            wrong = await client.get("/api/v1/cases", headers={"Authorization": "Bearer wrong"})
            assert wrong.status_code == 401
            assert "unknown" in wrong.json()["detail"]
            assert wrong.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'

    asyncio.run(body())


def test_cases_and_tasks_are_listed_by_filters_in_pages(tmp_path: Path) -> None:
    async def body() -> None:
        async with served(tmp_path) as (engine, client):
            for text in ("fire", "flood", "hail"):
                await engine.wait_until_resting((await engine.start("claims", {"text": text}, tenant=text[:1])).case)
            await client.post("/api/v1/cases/3/cancel", json={"why": "a test"})

            waiting = (await client.get("/api/v1/cases", params={"status": ["waiting"], "limit": 1})).json()
            rest = (await client.get("/api/v1/cases", params={"status": ["waiting"], "after": waiting["cursor"]})).json()
            tasks = (await client.get("/api/v1/tasks", params={"tenant": "f", "pause": "assess"})).json()
            either = (await client.get("/api/v1/cases", params={"status": ["cancelled", "done"], "order": "newest"})).json()
            unknown = await client.get("/api/v1/cases", params={"colour": "red"})

            assert ([one["case"] for one in waiting["cases"]], [one["case"] for one in rest["cases"]], rest["cursor"]) == ([1], [2], None)
            assert [(one["case"], one["pause"]) for one in tasks["tasks"]] == [(1, "assess"), (2, "assess")]
            assert [one["case"] for one in either["cases"]] == [3]
            assert unknown.status_code == 422

    asyncio.run(body())
