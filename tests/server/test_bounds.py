"""Bodies are bounded in size and time, hosts are known, and what changes something is recorded."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from pointsman import Engine
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.server.bounds import BODY_BYTES_MAX, BoundedBody
from pointsman.web import pages
from server.serving import TOKEN, claims


def test_a_body_that_is_too_large_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            app = create_app(engine, LocalAccess("ada", TOKEN))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
                refused = await client.post("/api/v1/cases", content=b"x" * (BODY_BYTES_MAX + 1))

                assert refused.status_code == 413
                assert refused.headers["content-type"] == "application/problem+json"

    asyncio.run(body())


def test_a_body_that_comes_too_slowly_is_refused() -> None:
    async def body() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {}

        async def send(message: Any) -> None:
            sent.append(message)

        await BoundedBody(lambda *_: None, seconds=0.0)({"type": "http", "method": "POST", "headers": []}, receive, send)  # type: ignore[arg-type, return-value]
        return sent

    assert asyncio.run(body())[0]["status"] == 408


def test_a_request_for_another_host_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            app = create_app(engine, LocalAccess("ada", TOKEN), hosts=lambda: ["127.0.0.1", "localhost"])
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
                assert (await client.get("/api/v1/counts")).status_code == 200
                for host in ("evil.example", "127.0.0.1.evil.example", "[::1]", ""):
                    refused = await client.get("/api/v1/counts", headers={"Host": host})
                    assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
                    assert "open it as 127.0.0.1 or localhost" in refused.json()["detail"]
                page = await client.get("/", headers={"Host": "<i>.example", "Accept": "text/html"})
                assert (page.status_code, "<h1>Unknown host</h1>" in page.text, "<i>" in page.text) == (400, True, False)
                assert (await client.get("/api/v1/counts", headers={"Host": "LOCALHOST:8470"})).status_code == 200

    asyncio.run(body())


def test_what_changes_something_is_recorded_with_who_did_it(tmp_path: Path) -> None:
    recorded: list[tuple[str, str, dict[str, Any]]] = []

    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            app = create_app(engine, LocalAccess("ada", TOKEN), record=lambda *entry: recorded.append(entry))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
                await client.get("/api/v1/cases")
                await client.post("/api/v1/cases", json={"process": "claims", "state": {"text": "a secret"}})
                await client.post("/api/v1/cases/9/cancel", json={"why": "x"}, headers={"Authorization": "Bearer forged"})

    asyncio.run(body())

    assert [(who, did, about["path"], about["status"]) for who, did, about in recorded] == [
        ("ada", "start", "/api/v1/cases", 201),
        ("", "cancel", "/api/v1/cases/9/cancel", 401),
    ]
    assert "a secret" not in str(recorded)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes() -> None:
    async def body() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            raise AssertionError("nothing is read")

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "headers": [(b"content-length", b"99999999999")]}
        await BoundedBody(lambda *_: None)(scope, receive, send)  # type: ignore[arg-type, return-value]
        return sent

    assert asyncio.run(body())[0]["status"] == 413


def test_a_request_whose_handler_fails_is_answered_in_one_form_and_recorded(tmp_path: Path) -> None:
    recorded: list[tuple[str, str, dict[str, Any]]] = []

    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            app = create_app(engine, LocalAccess("ada", TOKEN), record=lambda *entry: recorded.append(entry))

            @app.post("/api/v1/fails")
            async def fails() -> None:
                raise ZeroDivisionError("a secret of the program")

            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                failed = await client.post("/api/v1/fails")

                assert (failed.status_code, failed.headers["content-type"]) == (500, "application/problem+json")
                assert "secret" not in failed.text

    asyncio.run(body())
    assert [(did, about["status"]) for _, did, about in recorded] == [("fails", 500)]


def test_no_cache_keeps_an_answer_and_no_entry_a_long_path(tmp_path: Path) -> None:
    recorded: list[tuple[str, str, dict[str, Any]]] = []

    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            app = create_app(engine, LocalAccess("ada", TOKEN), pages(), record=lambda *entry: recorded.append(entry))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
                for path in ("/api/v1/cases", "/api/v1/cases/7", "/cases", "/nothing", "/health", "/api/v1/openapi.json"):
                    answer = await client.get(path)
                    assert (path, answer.headers["cache-control"]) == (path, "no-store")
                    assert (path, answer.headers["x-content-type-options"]) == (path, "nosniff")
                assert "cache-control" not in (await client.get("/static/pointsman.css")).headers
                await client.post("/" + "x" * 50_000)

    asyncio.run(body())
    assert len(str(recorded)) < 1_000
