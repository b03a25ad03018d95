"""The commands on a PostgreSQL database: those that look, those that change something, and the accounts; with the URL in place of a file."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from argon2 import PasswordHasher
from typer.testing import CliRunner

from pointsman import Engine
from pointsman.cli.main import app
from pointsman.server.access import Role
from pointsman.server.accounts import Accounts
from pointsman.store.postgres import without_password
from postgres_server import Server
from server.claims_program import claims, resources

PASSWORD = "correct horse battery"
APP = ("--app", "server.claims_program:claims")
LOOKS = (
    ("ps",), ("show", "1"), ("explain", "1", *APP), ("events",), ("usage",), ("check", *APP), ("export", "1"), ("map", *APP),
)  # fmt: skip

Command = Callable[..., tuple[int, str, str]]


def on(url: str) -> Command:
    def command(*words: str, typed: str = "") -> tuple[int, str, str]:
        done = CliRunner().invoke(app, [*words, "--db", url], input=typed)
        return done.exit_code, done.stdout, done.stderr

    return command


@pytest.fixture(autouse=True)
def _bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAIMS_BANK", str(tmp_path / "bank"))


def work_off(url: str, *starts: dict[str, Any]) -> list[int]:
    """Start cases, and work until all rest, as a worker does."""

    async def main() -> list[int]:
        async with Engine.open(url, [claims], resources=resources()) as engine:
            cases = [(await engine.start(claims, start)).case for start in starts]
            await engine.idle()
            return cases

    return asyncio.run(main())


def engines(server: Server, url: str) -> list[Any]:
    schema = url.rpartition("schema=")[2]
    return server.execute(f"SELECT id, lease_until FROM {schema}.engines ORDER BY id")


def test_each_command_that_looks_takes_a_url_and_changes_nothing(postgres: Server, postgres_url: str) -> None:
    [case] = work_off(postgres_url, {"text": "a flood"})
    before = engines(postgres, postgres_url)
    command = on(postgres_url)

    told = {words[0]: command(*words) for words in LOOKS}

    assert {name: (code, problem) for name, (code, _, problem) in told.items()} == {words[0]: (0, "") for words in LOOKS}
    assert case == 1
    assert "a flood" in told["show"][1]
    assert engines(postgres, postgres_url) == before, "no lease was taken"


def test_a_role_that_may_only_read_can_look(postgres: Server, postgres_url: str) -> None:
    work_off(postgres_url, {"text": "a flood"})
    schema = postgres_url.rpartition("schema=")[2]
    role = f"looker_{schema}"
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret words'")
    try:
        postgres.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        postgres.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")
        url = postgres_url.replace("//postgres@", f"//{role}:secret%20words@")

        code, told, problem = on(url)("ps", "--limit", "1")

        assert (code, problem) == (0, "")
        assert "claims" in told
    finally:
        postgres.execute(f"DROP OWNED BY {role}")
        postgres.execute(f"DROP ROLE {role}")


def test_a_command_that_changes_something_runs_no_case_here(postgres_url: str) -> None:
    work_off(postgres_url)  # the tables
    command = on(postgres_url)

    started = command("start", "claims", '{"text": "a fire"}', *APP)
    task = json.loads(command("answer", "1", "--json", *APP)[1])
    said = ("answer", "1", '"pay it"', "--digest", task["digest"], "--by", "ada", *APP)
    answered, again = command(*said), command(*said)
    left = json.loads(command("ps", "--json")[1])[0]
    work_off(postgres_url)
    worked_off = json.loads(command("ps", "--json")[1])[0]

    assert started == (0, "case 1 is started.\n", "")
    assert (answered[0], again[0]) == (0, 0), (answered, again)
    assert "you had decided so before" in again[1]
    assert (left["status"], left["step"]) == ("ready", "pay"), "the step is a worker's"
    assert worked_off["status"] == "parked", "the bank is away"
    audit = command("audit")[1]
    assert "started case 1" in audit
    assert "answered case 1" in audit


def test_the_operators_commands_and_the_vacuum_take_a_url(postgres_url: str) -> None:
    work_off(postgres_url, {"text": "a flood"}, {"text": "a fire"})
    command = on(postgres_url)

    codes = [
        command("cancel", "1", "--why", "sent twice", *APP),
        command("erase", "1", "--why", "asked to", *APP),
        command("assign", "2", "--to", "bo", *APP),
        command("pause-intake", "--why", "a move", *APP),
        command("resume-intake", *APP),
        command("vacuum", *APP),
    ]

    assert [code for code, _, _ in codes] == [0] * 6, codes
    assert json.loads(command("ps", "--json")[1])[0]["status"] == "cancelled"


def test_the_next_command_that_is_printed_names_the_database_without_its_password(postgres_url: str) -> None:
    work_off(postgres_url, {"text": "a flood"}, {"text": "a fire"})
    url = postgres_url.replace("//postgres@", "//postgres:very%20secret@")
    command = on(url)

    listed = command("ps", "--limit", "1")
    asked = command("answer", "1", *APP)

    assert postgres_url in listed[2].replace("'", "")
    assert postgres_url in asked[1].replace("'", "")
    assert "secret" not in "".join(map(str, listed + asked))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:pw@h:1/d?schema=s", "postgresql://ada@h:1/d?schema=s"),
        ("postgresql://ada@h/d", "postgresql://ada@h/d"),
        ("postgresql://h/d?user=ada&password=pw&schema=s", "postgresql://h/d?user=ada&schema=s"),
        ("postgresql://h/d?password=pw", "postgresql://h/d"),
        ("postgresql://ada:p@w:x@h/d", "postgresql://ada@h/d"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:hush@127.0.0.1:1/shop",  # nobody listens
        "postgresql+psycopg://app:hush@127.0.0.1/shop",
        " postgresql://app:hush@127.0.0.1/shop",
        "postgresql:/app:hush@127.0.0.1/shop",
        "host=127.0.0.1 password = hush dbname=shop",
        "postgresql://app:hush/hush@127.0.0.1/shop",
        "postgresql://app:hush?hush@127.0.0.1/shop",
        "postgresql://app:hush#hush@127.0.0.1/shop",
        "postgresql://app:hu@hush@127.0.0.1/shop",
        "postgresql://app:hush%ss@127.0.0.1/shop",
        "postgresql://app:hush@127.0.0.1/shop?no_such=1",
    ],
)
@pytest.mark.parametrize("words", [("ps",), ("start", "claims", "{}", *APP), ("users", "list"), ("serve", *APP), ("vacuum",)])
def test_a_wrong_url_or_a_server_that_is_away_is_one_sentence_without_the_password(url: str, words: tuple[str, ...]) -> None:
    code, told, problem = on(url)(*words)

    assert (code, told, problem.count("\n")) == (1, "", 1), problem
    assert problem.startswith("pointsman: ")
    assert "hush" not in problem


def test_a_function_that_cannot_give_the_resources_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLAIMS_BANK")
    words = ("start", "claims", "{}", *APP, "--resources", "server.claims_program:resources")

    code, told, problem = on(str(tmp_path / "claims.db"))(*words)

    assert (code, told, problem.count("\n")) == (1, "", 1), problem
    assert "does not give the resources (KeyError: 'CLAIMS_BANK'); correct that function" in problem


def test_a_database_without_cases_or_with_older_tables_is_one_sentence(postgres: Server, postgres_url: str) -> None:
    nothing = on(postgres_url)("ps")
    work_off(postgres_url)
    postgres.execute(f"UPDATE {postgres_url.rpartition('schema=')[2]}.meta SET value = '1' WHERE name = 'tables'")

    older = on(postgres_url)("ps")

    assert nothing[0] == older[0] == 1
    assert "holds no cases" in nothing[2]
    assert "pointsman migrate" in older[2]


def test_the_variable_names_a_url_and_so_does_the_project(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_off(postgres_url, {"text": "a flood"})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text(f'[tool.pointsman]\ndb = "{postgres_url}"\n')

    by_project = CliRunner().invoke(app, ["ps"])
    (tmp_path / "pyproject.toml").unlink()
    monkeypatch.setenv("POINTSMAN_DB", postgres_url)
    by_variable = CliRunner().invoke(app, ["ps"])

    assert (by_project.exit_code, by_variable.exit_code) == (0, 0)
    assert by_project.stdout == by_variable.stdout
    assert "claims" in by_variable.stdout


def test_users_tokens_and_the_audit_log_are_in_the_database(postgres: Server, postgres_url: str) -> None:
    command = on(postgres_url)
    before = command("users", "list")
    work_off(postgres_url)

    added = command("users", "add", "ada", "--role", "approver", "--password-stdin", typed=PASSWORD)
    token = command("tokens", "add", "shop", "--scope", "start")
    listed = command("users", "list"), command("tokens", "list")
    verified = command("audit", "--verify")
    taken = command("tokens", "add", "shop", "--scope", "start")
    removed = command("users", "remove", "ada"), command("tokens", "remove", "shop")
    postgres.execute(f"UPDATE {postgres_url.rpartition('schema=')[2]}.audit SET who = 'eve' WHERE number = 1")
    changed = command("audit", "--verify")

    assert before[0] == 1
    assert "pointsman migrate" in before[2]
    assert (added[0], token[0], verified[0], removed[0][0], removed[1][0]) == (0, 0, 0, 0, 0)
    assert "each program that serves this database" in added[2]
    assert (listed[0][1].startswith("ada  approver"), listed[1][1].startswith("shop  start")) == (True, True)
    assert "there is a token 'shop' already" in taken[2]
    assert "entry 1 of the audit log was changed" in changed[2]
    with psycopg.connect(postgres.url) as connection:
        [[stored]] = connection.execute(f"SELECT string_agg(digest, ' ') FROM {postgres_url.rpartition('schema=')[2]}.tokens").fetchall()
    assert token[1].strip() not in str(stored)


def test_accounts_go_on_when_the_server_has_restarted(postgres: Server, postgres_url: str) -> None:
    work_off(postgres_url)
    accounts = Accounts(postgres_url, Random(7), PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    accounts.put_user("ada", Role.APPROVER, PASSWORD, 1.0)

    postgres.restart_immediately()
    found = accounts.verify("ada", PASSWORD)
    postgres.restart_immediately()
    accounts.record("ada", "cancel", {"case": 1}, 2.0)

    assert found is not None
    assert [entry.did for entry in accounts.entries()] == ["cancel"]
    accounts.close()


def test_programs_that_write_the_audit_log_at_once_keep_it_whole(postgres_url: str) -> None:
    work_off(postgres_url)
    programs = [Accounts(postgres_url, Random(seed)) for seed in range(4)]

    def write(program: Accounts) -> None:
        for case in range(10):
            program.record("ada", "cancel", {"case": case}, float(case))

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, programs))

    assert [entry.number for entry in programs[0].entries()] == list(range(1, 41))
    assert programs[0].first_broken() is None
    for program in programs:
        program.close()
