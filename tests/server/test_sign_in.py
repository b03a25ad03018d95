"""Sign-in, roles, sessions and forms, as a browser meets them."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import httpx
import pytest
from argon2 import PasswordHasher

from pointsman import Engine
from pointsman.server.access import Role, Scope
from pointsman.server.accounts import Accounts, User
from pointsman.server.app import create_app
from pointsman.server.sign_in import COOKIE, FAILURES_MAX, FORGOTTEN_SECONDS, SignedIn, Throttle
from pointsman.testing import ManualClock
from pointsman.web import pages
from server.serving import TOKEN, claims

PASSWORD = "correct horse battery"
SAME = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[tuple[Engine, Accounts, httpx.AsyncClient]]:
    """A desk with a viewer, an approver and an admin, and a case that waits. For whoever signs in, no time passes: a wait after slips never ends."""
    accounts = Accounts(folder / "accounts", Random(7), PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    for name, role in (("vera", Role.VIEWER), ("ada", Role.APPROVER), ("root", Role.ADMIN)):
        accounts.put_user(name, role, PASSWORD, 1.0)
    async with Engine.open(folder / "cases.db", [claims]) as engine:
        started = await engine.start(claims, {"text": "fire"})
        await engine.wait_until_resting(started.case)
        access = SignedIn(accounts, ManualClock(), TOKEN, "ops")
        app = create_app(engine, access, pages(), record=lambda *entry: accounts.record(*entry, 1.0))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=SAME) as client:
            yield engine, accounts, client
    accounts.close()


def csrf_in(text: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', text)
    assert found is not None
    return found[1]


async def sign_in(client: httpx.AsyncClient, name: str, password: str = PASSWORD, to: str = "") -> httpx.Response:
    token = csrf_in((await client.get("/sign-in")).text)
    return await client.post("/sign-in", data={"csrf": token, "name": name, "password": password, "to": to})


def test_a_person_signs_in_goes_to_the_page_that_was_asked_for_and_signs_out(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk(tmp_path) as (_, accounts, client):
            asked = await client.get("/cases/1?revision=1")
            assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in?to=%2Fcases%2F1%3Frevision%3D1")

            entered = await sign_in(client, "ada", to="/cases/1")

            assert (entered.status_code, entered.headers["location"]) == (303, "/cases/1")
            cookie = entered.headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=lax" in cookie
            page = await client.get("/cases/1")
            assert page.status_code == 200
            left = await client.post("/sign-out", data={"csrf": csrf_in(page.text)})
            assert left.status_code == 303
            assert (await client.get("/cases/1")).status_code == 303
            secret = cookie.split("=", 1)[1].split(";")[0]
            replayed = await client.get("/cases/1", headers={"Cookie": f"{COOKIE}={secret}"})
            assert replayed.status_code == 303
            assert [(entry.who, entry.did) for entry in accounts.entries()] == [("ada", "sign in"), ("ada", "sign out")]

    asyncio.run(body())


def test_the_form_to_sign_in_waits_for_the_name_and_then_for_the_password(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk(tmp_path) as (_, _, client):
            first, again = await client.get("/sign-in"), await sign_in(client, "ada", "wrong password")
            ready = [re.findall(r'<input id="(\w+)"[^>]* autofocus>', page.text) for page in (first, again)]

            assert ready == [["name"], ["password"]]

    asyncio.run(body())


def test_wrong_passwords_are_refused_alike_and_then_slowed_down(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk(tmp_path) as (_, _, client):
            known, unknown = await sign_in(client, "ada", "wrong password"), await sign_in(client, "nobody", "wrong password")
            assert (known.status_code, unknown.status_code) == (403, 403)
            assert known.text.count("The name or the password is wrong.") == unknown.text.count("The name or the password is wrong.") == 1
            for _ in range(FAILURES_MAX):
                await sign_in(client, "ada", "wrong password")

            slowed = await sign_in(client, "ada")

            assert slowed.status_code == 429
            assert int(slowed.headers["retry-after"]) > 0

    asyncio.run(body())


@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/ok\r\nSet-Cookie: x=1"]
)
def test_nobody_is_sent_to_another_site(tmp_path: Path, to: str) -> None:
    async def body() -> None:
        async with desk(tmp_path) as (_, _, client):
            entered = await sign_in(client, "ada", to=to)

            assert entered.headers["location"] == "/"
            assert len(entered.headers.get_list("set-cookie")) == 1

    asyncio.run(body())


def test_each_role_may_do_what_it_says(tmp_path: Path) -> None:
    async def body() -> None:
        for name, may_answer, may_cancel, may_erase in (("vera", 403, 403, 403), ("ada", 422, 403, 403), ("root", 422, 200, 409)):
            (tmp_path / name).mkdir()
            async with desk(tmp_path / name) as (engine, _, client):
                await sign_in(client, name)
                digest = (await engine.pending(1)).digest

                answered = await client.post("/api/v1/cases/1/answer", json={"digest": digest, "answer": {"paid": "?"}})
                erased = await client.post("/api/v1/cases/1/erase", json={"why": "x"})
                cancelled = await client.post("/api/v1/cases/1/cancel", json={"why": "x"})

                assert (answered.status_code, cancelled.status_code, erased.status_code) == (may_answer, may_cancel, may_erase), name

    asyncio.run(body())


def test_a_token_may_do_what_its_scopes_say_and_a_forged_one_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk(tmp_path) as (_, accounts, client):
            token = accounts.add_token("shop", [Scope.START], 1.0)
            headers = {"Authorization": f"Bearer {token}"}
            started = await client.post("/api/v1/cases", json={"process": "claims", "state": {"text": "x"}}, headers=headers)
            read = await client.get("/api/v1/cases", headers=headers)
            forged = await client.get("/api/v1/cases", headers={"Authorization": f"Bearer {token[:-1]}x"})

            assert (started.status_code, read.status_code, forged.status_code) == (201, 403, 401)
            assert read.json()["detail"] == "shop may not do this; it needs the scope read."

    asyncio.run(body())


@pytest.mark.parametrize(
    ("headers", "csrf"),
    [({"Sec-Fetch-Site": "cross-site"}, True), ({"Sec-Fetch-Site": "same-site"}, True), (SAME, False)],
    ids=["another site", "a sister site", "no token"],
)
def test_a_form_of_another_site_changes_nothing(tmp_path: Path, headers: dict[str, str], csrf: bool) -> None:
    async def body() -> None:
        async with desk(tmp_path) as (engine, _, client):
            await sign_in(client, "ada")
            token = csrf_in((await client.get("/cases/1/task")).text) if csrf else "0" * 64
            before = await engine.case(1)

            forged = await client.post("/cases/1/task", data={"csrf": token}, headers=headers)

            assert forged.status_code == 403
            assert await engine.case(1) == before

    asyncio.run(body())


def test_the_api_takes_no_cookie_from_another_site(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk(tmp_path) as (engine, _, client):
            await sign_in(client, "root")

            forged = await client.post(
                "/api/v1/cases/1/cancel", json={"why": "x"}, headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
            )

            assert forged.status_code == 403
            assert (await engine.case(1)).status == "waiting"

    asyncio.run(body())


def test_wrong_passwords_at_the_same_time_are_no_more_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with desk(tmp_path) as (_, accounts, client):
            checked: list[str] = []
            verify = accounts.verify

            def counting(name: str, password: str) -> User | None:
                checked.append(name)
                return verify(name, password)

            monkeypatch.setattr(accounts, "verify", counting)
            token = csrf_in((await client.get("/sign-in")).text)
            tries = [client.post("/sign-in", data={"csrf": token, "name": "ada", "password": f"guess {n}"}) for n in range(40)]

            statuses = [tried.status_code for tried in await asyncio.gather(*tries)]

            assert len(checked) == FAILURES_MAX
            assert statuses.count(429) == 40 - FAILURES_MAX

    asyncio.run(body())


def test_slips_are_forgotten_after_a_while() -> None:
    clock = ManualClock(1_000.0)
    throttle = Throttle(clock)
    for _ in range(FAILURES_MAX):
        throttle.tried("address 192.0.2.1")
    assert throttle.wait_seconds("address 192.0.2.1") > 0

    clock.advance(2 * FORGOTTEN_SECONDS)
    throttle.tried("address 192.0.2.1")

    assert throttle.wait_seconds("address 192.0.2.1") == 0


def test_a_password_entered_as_the_name_is_not_recorded(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk(tmp_path) as (_, accounts, client):
            await sign_in(client, PASSWORD, "ada")
            await sign_in(client, "ada", "wrong password")

            assert [entry.about.get("user") for entry in accounts.entries()] == ["", "ada"]
            assert PASSWORD not in str(accounts.entries())

    asyncio.run(body())


def test_without_a_provider_there_is_no_page_to_come_back_to(tmp_path: Path) -> None:
    async def body() -> None:
        async with desk(tmp_path) as (_, _, client):
            for path in ("/sign-in/provider", "/sign-in/callback?state=x&code=y"):
                assert (await client.get(path)).status_code == 404

    asyncio.run(body())
