"""`pointsman users`, `tokens` and `audit`: what they tell a person."""

import asyncio
import sqlite3
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from pointsman import Engine
from pointsman.cli.main import app
from pointsman.client.running import find_running
from pointsman.server.accounts import accounts_file
from pointsman.server.program import Serving, served
from pointsman.web import pages
from server.serving import HANG_SECONDS, claims

PASSWORD = "correct horse battery"


class Commands:
    """Commands on one database."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def __call__(self, *words: str, typed: str = "") -> tuple[int, str, str]:
        done = CliRunner().invoke(app, [*words, "--db", str(self._database)], input=typed)
        return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def command(tmp_path: Path) -> Commands:
    return Commands(tmp_path / "cases.db")


def test_without_a_terminal_a_user_is_told_how_to_pass_the_password(command: Commands) -> None:
    code, _, problem = command("users", "add", "ada", "--role", "approver")

    assert code == 1
    assert "--password-stdin" in problem
    assert "no users" in command("users", "list")[1]


def test_the_first_user_that_is_added_while_a_program_runs_makes_everybody_sign_in(tmp_path: Path, command: Commands) -> None:
    def add(name: str) -> str:
        code, _, said = command("users", "add", name, "--role", "approver", "--password-stdin", typed=PASSWORD)
        assert code == 0
        return said

    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            served_here = served(engine, tmp_path / "cases.db", pages(), Serving(port=0))
            async with (
                served_here as url,
                httpx.AsyncClient(base_url=url, headers={"Accept": "text/html"}, timeout=HANG_SECONDS) as browser,
            ):
                assert [(await browser.get(path)).status_code for path in ("/", "/sign-in")] == [200, 404]

                assert f"From now on, the program at {url}/ asks everybody to sign in" in await asyncio.to_thread(add, "ada")

                assert "password" in (await browser.get("/sign-in")).text
                assert (await browser.get("/")).headers["location"].startswith("/sign-in")
                assert (await browser.get("/api/v1/counts")).status_code == 401
                address = find_running(tmp_path / "cases.db")
                assert address is not None
                token = {"Authorization": f"Bearer {address.token}"}
                assert (await browser.get("/api/v1/counts", headers=token)).status_code == 200
            async with served(engine, tmp_path / "cases.db", pages(), Serving(port=0)):
                assert await asyncio.to_thread(add, "grace") == ""

    asyncio.run(body())


def test_a_verified_audit_log_says_so(command: Commands) -> None:
    command("users", "add", "ada", "--role", "approver", "--password-stdin", typed=PASSWORD)
    command("tokens", "add", "shop", "--scope", "start")

    code, listed, said = command("audit", "--verify")

    assert (code, len(listed.splitlines())) == (0, 2)
    assert "up to 2 is as it was written" in said
    assert command("audit")[2] == ""


@pytest.mark.parametrize(
    "words", [("users", "list"), ("tokens", "list"), ("audit",), ("users", "remove", "ada"), ("tokens", "remove", "shop")]
)
def test_a_command_that_only_looks_or_removes_makes_no_file(tmp_path: Path, command: Commands, words: tuple[str, ...]) -> None:
    code, listed, problem = command(*words)

    assert (code, listed) == (1, "")
    assert "cases.db.accounts does not exist" in problem
    assert [*tmp_path.iterdir()] == []


def test_a_changed_audit_log_is_one_sentence(tmp_path: Path, command: Commands) -> None:
    command("users", "add", "ada", "--role", "approver", "--password-stdin", typed=PASSWORD)
    with sqlite3.connect(accounts_file(tmp_path / "cases.db")) as connection:
        connection.execute("UPDATE audit SET who = 'eve\x9b31m'")
    connection.close()

    code, shown, problem = command("audit", "--verify")

    assert (code, problem) == (1, "pointsman: entry 1 of the audit log was changed or removed after it was written.\n")
    assert "\x9b" not in shown
