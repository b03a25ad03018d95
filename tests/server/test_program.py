"""A served program: who may come in on which address, and what is recorded."""

import asyncio
from pathlib import Path
from random import Random

import httpx
import pytest
from argon2 import PasswordHasher

from pointsman import Engine
from pointsman.client.running import find_running
from pointsman.server.access import Role
from pointsman.server.accounts import Accounts, accounts_file
from pointsman.server.program import Serving, SignInNeeded, served
from pointsman.web import pages
from server.serving import HANG_SECONDS, claims

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def accounts_of(database: Path) -> Accounts:
    return Accounts(accounts_file(database), Random(7), QUICK)


def test_without_users_it_serves_its_own_machine_only_and_records_what_changes_something(tmp_path: Path) -> None:
    database = tmp_path / "cases.db"

    async def body() -> None:
        async with Engine.open(database, [claims]) as engine:
            with pytest.raises(SignInNeeded, match="users add"):
                async with served(engine, database, pages(), Serving(host="0.0.0.0", port=0)):
                    pass
            async with (
                served(engine, database, pages(), Serving(port=0)) as url,
                httpx.AsyncClient(base_url=url, timeout=HANG_SECONDS) as client,
            ):
                assert (await client.get("/")).status_code == 200
                assert (await client.get("/", headers={"Host": "evil.example"})).status_code == 400
                await client.post("/api/v1/cases", json={"process": "claims", "state": {"text": "fire"}})

    asyncio.run(body())
    accounts = accounts_of(database)
    assert [(entry.did, entry.about["path"], entry.about["status"]) for entry in accounts.entries()] == [("start", "/api/v1/cases", 201)]
    assert accounts.first_broken() is None


def test_with_a_user_everybody_signs_in_but_the_commands_of_the_user_who_runs_it(tmp_path: Path) -> None:
    database = tmp_path / "cases.db"
    accounts_of(database).put_user("ada", Role.VIEWER, "correct horse battery", 1.0)

    async def body() -> None:
        async with Engine.open(database, [claims]) as engine, served(engine, database, pages(), Serving(port=0)) as url:
            address = find_running(database)
            assert address is not None
            async with httpx.AsyncClient(base_url=url, timeout=HANG_SECONDS) as client:
                assert (await client.get("/api/v1/counts")).status_code == 401
                assert (await client.get("/", headers={"Accept": "text/html"})).headers["location"].startswith("/sign-in")
                assert (await client.get("/api/v1/counts", headers={"Authorization": f"Bearer {address.token}"})).status_code == 200

    asyncio.run(body())


def test_a_proxy_names_the_person_and_nobody_else_can(tmp_path: Path) -> None:
    database = tmp_path / "cases.db"
    accounts_of(database).put_user("ada", Role.VIEWER, None, 1.0)

    async def body() -> None:
        async with Engine.open(database, [claims]) as engine:
            for proxy, known in (("127.0.0.1", 200), ("192.0.2.1", 401)):
                serving = Serving(port=0, proxy=("X-Forwarded-User", proxy))
                async with (
                    served(engine, database, pages(), serving) as url,
                    httpx.AsyncClient(base_url=url, timeout=HANG_SECONDS) as client,
                ):
                    statuses = [
                        (await client.get("/api/v1/counts", headers={"X-Forwarded-User": name})).status_code for name in ("ada", "eve")
                    ]
                    assert statuses == [known, 401]

    asyncio.run(body())


def test_a_header_does_not_say_which_machine_the_caller_is(tmp_path: Path) -> None:
    database = tmp_path / "cases.db"
    accounts_of(database).put_user("ada", Role.ADMIN, None, 1.0)

    async def body() -> None:
        async with Engine.open(database, [claims]) as engine:
            for proxy, forwarded, known in (("192.0.2.1", "192.0.2.1", 401), ("127.0.0.1", "198.51.100.7", 200)):
                serving = Serving(port=0, proxy=("X-Forwarded-User", proxy))
                async with (
                    served(engine, database, pages(), serving) as url,
                    httpx.AsyncClient(base_url=url, timeout=HANG_SECONDS) as client,
                ):
                    headers = {"X-Forwarded-User": "ada", "X-Forwarded-For": forwarded}
                    assert (await client.get("/api/v1/counts", headers=headers)).status_code == known

    asyncio.run(body())


def test_a_name_that_came_to_the_proxy_beside_its_own_is_not_believed(tmp_path: Path) -> None:
    database = tmp_path / "cases.db"
    accounts_of(database).put_user("ada", Role.ADMIN, None, 1.0)

    async def body() -> None:
        async with Engine.open(database, [claims]) as engine:
            serving = Serving(port=0, proxy=("X-Forwarded-User", "127.0.0.1"))
            async with served(engine, database, pages(), serving) as url, httpx.AsyncClient(base_url=url, timeout=HANG_SECONDS) as client:
                named = [("X-Forwarded-User", "ada"), ("X-Forwarded-User", "eve")]
                assert (await client.get("/api/v1/counts", headers=named)).status_code == 401

    asyncio.run(body())
