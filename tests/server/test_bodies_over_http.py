"""Entrypoints over the HTTP API: start, message, answer, redrive, and the schema of their input."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from pointsman import Engine, Retry
from pointsman.functional import entrypoint, pause, task
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from server.serving import TOKEN


class Mail(BaseModel):
    text: str
    order: str


SHOP = {"closed": True}
MAIL = {"text": "hi", "order": "A1"}


@task(retry=Retry(attempts_max=1))
def book(order: str) -> str:
    if SHOP["closed"]:
        raise ValueError("the shop is closed")
    return f"booked {order}"


@entrypoint(name="mails")
def mails(mail: Mail) -> str:
    allowed = pause(mail.text, answer=bool, name="allow")
    return book(mail.order).result() if allowed else "refused"


def test_an_entrypoint_is_started_answered_and_redriven_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [mails.process]) as engine:
            app, base = create_app(engine, LocalAccess("ada", TOKEN)), "http://127.0.0.1/api/v1"
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base, headers=headers) as client:

                async def asks(method: str, path: str, body: Any = None) -> Any:
                    found = await client.request(method, path, json=body)
                    assert found.status_code < 300, found.text
                    return found.json()

                (process,) = await asks("GET", "/processes")
                schema = process["state_schema"]
                invocation = schema["$defs"][schema["properties"]["invocation"]["$ref"].rpartition("/")[2]]
                assert invocation["properties"]["input"]["$ref"] == "#/$defs/Mail"
                assert set(schema["$defs"]["Mail"]["required"]) == {"text", "order"}

                refused = await client.post("/messages", json={"process": "mails", "message": {"input": {"text": "hi"}, "thread": "t"}})
                assert refused.status_code == 422
                assert "input.order" in refused.text
                sent = await asks("POST", "/messages", {"process": "mails", "message": {"input": MAIL, "thread": "t"}})
                case = sent["case"]
                await engine.wait_until_resting(case)
                waiting = await asks("GET", f"/cases/{case}/task")
                assert waiting["shown"] == {"shown": "hi"}
                assert [one["pause"] for one in (await asks("GET", "/tasks?process=mails&pause=allow"))["tasks"]] == ["allow"]
                assert (await asks("GET", "/processes"))[0]["pauses"] == ["allow"]
                await asks("POST", f"/cases/{case}/answer", {"digest": waiting["digest"], "answer": True})
                await engine.wait_until_resting(case)
                told = await asks("GET", f"/cases/{case}/explanation")
                assert told["redrive"] == "a redrive calls book again, and repeats no other call"
                monkeypatch.setitem(SHOP, "closed", False)
                await asks("POST", f"/cases/{case}/redrive", {"why": "it has opened"})
                await engine.wait_until_resting(case)
                assert (await asks("GET", f"/cases/{case}"))["state"]["result"] == {"value": "booked A1"}

    asyncio.run(main())
