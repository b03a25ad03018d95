"""The commands that change something: through the program that runs, alone if there is none, and across its end in the middle."""

import asyncio
import getpass
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

import interpreter
from pointsman import Engine, StoreLocked, has_engine, open_reader
from pointsman.client import AsyncClient, Unreachable
from pointsman.client.running import address_file, find_running, reach
from pointsman.errors import PointsmanError
from pointsman.server.accounts import Accounts, accounts_file
from pointsman.server.audit import sentence
from server.claims_program import claims

BOUND_SECONDS = 300.0  # against a hang only
HERE = Path(__file__).parents[1]
PATIENT = f"""
from pointsman.cli.main import run
from pointsman.client import running
running.reach.__kwdefaults__["wait_max_seconds"] = {BOUND_SECONDS}
run()
"""
"""A command that waits longer for another program than a machine may stand still."""


class Program:
    """The database of a test, the commands on it, and the program that serves it."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "claims.db"
        self.bank = folder / "bank"
        self.options = (
            "--db",
            str(self.database),
            "--app",
            "server.claims_program:claims",
            "--resources",
            "server.claims_program:resources",
        )

    @property
    def settings(self) -> dict[str, str]:
        return {**os.environ, "CLAIMS_BANK": str(self.bank)}

    def command(self, *words: object, alone: bool = True) -> "subprocess.CompletedProcess[str]":
        options = self.options if alone else self.options[:2]
        return interpreter.run("-m", "pointsman.cli.main", *words, *options, cwd=HERE, env=self.settings)

    def json(self, *words: object) -> Any:
        done = self.command(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def serving(self, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """The program, ready; it is killed where the test has not ended it."""
        arguments = [sys.executable, "-m", "pointsman.cli.main", "serve", *self.options, "--port", "0", *words]
        with subprocess.Popen(arguments, cwd=HERE, env=self.settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            too_late = threading.Timer(BOUND_SECONDS, process.kill)
            too_late.start()
            try:
                assert process.stdout is not None
                process.stdout.readline()
                yield process
            finally:
                too_late.cancel()
                process.kill()


@pytest.fixture(name="program")
def _program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def test_every_command_goes_through_the_program_and_needs_no_code_of_its_own(program: Program) -> None:
    with program.serving() as process:
        done = [
            program.command(*words, alone=False)
            for words in (
                ("start", "claims", '{"text": "fire"}', "--key", "a"),
                ("start", "claims", '{"text": "fire"}', "--key", "a"),
                ("pause-intake", "--why", "a move", "--by", "eve"),
                ("start", "claims", '{"text": "flood"}'),
                ("resume-intake",),
                ("assign", "1", "--to", "bo", "--note", "his claim", "--by", "eve"),
                ("cancel", "1", "--why", "a test", "--by", "eve"),
                ("erase", "1", "--why", "a test", "--by", "eve"),
                ("vacuum",),
            )
        ]
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=BOUND_SECONDS)

    assert [one.returncode for one in done] == [0, 0, 0, 1, 0, 0, 0, 0, 0], [one.stderr for one in done]
    assert done[0].stdout == "case 1 is started.\n"
    assert done[1].stdout == "case 1 had been started with this key before.\n"
    assert "eve paused the intake (a move)" in done[3].stderr
    assert done[5].stdout == "case 1 waits for bo.\n"
    assert done[7].stdout == "the content of case 1 is erased.\n"
    assert process.returncode == 0
    assert "Traceback" not in told
    assert not address_file(program.database).exists()


@pytest.mark.parametrize("runs", [True, False], ids=["a program runs", "alone"])
def test_an_answer_a_redrive_and_a_second_answer(program: Program, runs: bool) -> None:
    def body() -> list[Any]:
        program.json("start", "claims", '{"text": "fire"}')
        task = program.json("answer", 1)
        blind, nobody = program.command("answer", 1, '"yes"'), program.command("answer", 9, '"yes"')
        words = ("answer", 1, '"yes"', "--digest", task["digest"], "--by", "ada")
        first, again = program.command(*words), program.command(*words)
        other = program.command("answer", 1, '"no"', "--digest", task["digest"], "--by", "ada")
        foreign = program.command("answer", 1, '"yes"', "--digest", task["digest"], "--by", "eve")
        while "parked" not in program.command("ps", alone=False).stdout:
            pass  # the bank is away; each look is a process
        return [task, blind, nobody, first, again, other, foreign]

    if runs:
        with program.serving():
            task, blind, nobody, *answers = body()
            program.bank.touch()
            redriven = program.command("redrive", 1, "--why", "it is back", "--set", "paid=null", "--by", "ada")
    else:
        task, blind, nobody, *answers = body()
        program.bank.touch()
        redriven = program.command("redrive", 1, "--why", "it is back", "--set", "paid=null", "--by", "ada")

    assert task["shown"] == {"text": "fire"}
    assert (blind.returncode, "--digest" in blind.stderr) == (1, True)
    assert (nobody.returncode, nobody.stderr) == (1, "pointsman: there is no case 9; list the cases with `pointsman ps`.\n")
    assert [done.returncode for done in answers] == [0, 0, 1, 1], [done.stderr for done in answers]
    assert "you had decided so before" in answers[1].stdout
    assert redriven.returncode == 0, redriven.stderr


def test_a_port_that_is_taken_and_a_database_that_is_served_are_one_sentence_each(program: Program, tmp_path: Path) -> None:
    other = Program(tmp_path)
    other.database = tmp_path / "other.db"
    other.options = ("--db", str(other.database), *program.options[2:])
    with program.serving():
        address = find_running(program.database)
        assert address is not None
        port = address.url.rpartition(":")[2]
        taken = other.command("serve", "--port", port)
        twice = program.command("serve", "--port", "0")

    assert (taken.returncode, twice.returncode) == (1, 1)
    assert (
        taken.stderr == f"pointsman: 127.0.0.1:{port} cannot be used (Address already in use); name another one with --host and --port.\n"
    )
    assert f"is served already at {address.url}/ (process {address.pid})" in twice.stderr
    assert not has_engine(other.database)


def test_what_a_killed_program_leaves_behind_is_ignored(program: Program) -> None:
    with program.serving() as process:
        left = address_file(program.database).read_bytes()
        process.kill()
        process.wait()

    assert address_file(program.database).read_bytes() == left
    assert address_file(program.database).stat().st_mode & 0o777 == 0o600
    assert find_running(program.database) is None
    assert program.command("start", "claims", '{"text": "fire"}').returncode == 0


def test_the_address_that_another_process_left_is_not_believed_while_the_database_is_open(tmp_path: Path) -> None:
    async def body() -> Any:
        async with Engine.open(tmp_path / "a.db", [claims], resources={"bank": tmp_path}):
            found = []
            for pid in (os.getpid() + 1, os.getpid()):
                address_file(tmp_path / "a.db").write_text(json.dumps({"url": "http://127.0.0.1:1", "token": "t", "pid": pid}))
                found.append(find_running(tmp_path / "a.db"))
            return found, find_running(tmp_path / "b.db")

    [other, own], missing = asyncio.run(body())

    assert (other, missing) == (None, None)
    assert own is not None


@contextmanager
def announced(database: Path, url: str) -> Iterator[None]:
    """A program that has the database open, as its files say."""
    lock = database.with_name(f"{database.name}.lock")
    with lock.open("a+") as handle:
        import fcntl  # noqa: PLC0415

        fcntl.flock(handle, fcntl.LOCK_EX)
        lock.write_text(str(os.getpid()))
        address_file(database).write_text(json.dumps({"url": url, "token": "t", "pid": os.getpid()}))
        yield


async def _cut_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def test_a_call_whose_answer_is_lost_is_repeated_as_one_and_told_as_unknown_at_last(tmp_path: Path) -> None:
    """The first call reaches a program that ends before it answers; nobody takes its place."""
    tries: list[bool] = []

    async def through(client: AsyncClient, again: bool) -> None:
        tries.append(again)
        await client.cancel(1, why="a test")

    async def body() -> None:
        server = await asyncio.start_server(_cut_off, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            database = tmp_path / "a.db"
            with announced(database, f"http://127.0.0.1:{port}"):
                await reach(database, through, lambda: Engine.open(database, [claims]), _never, wait_max_seconds=0.1)

    with pytest.raises(Unreachable, match="look before you repeat it") as told:
        asyncio.run(body())

    assert told.value.unknown
    assert tries[0] is False
    assert all(tries[1:])


async def _never(_: Engine, __: bool) -> None:
    raise AssertionError("the database is open elsewhere")


def test_a_database_that_a_program_without_a_server_has_open_is_waited_for_and_told_once(tmp_path: Path) -> None:
    told: list[PointsmanError] = []

    async def body() -> Any:
        database, resources = tmp_path / "a.db", {"bank": tmp_path}
        opened, closing = asyncio.Event(), asyncio.Event()

        async def other() -> None:
            async with Engine.open(database, [claims], resources=resources):
                opened.set()
                await closing.wait()

        task = asyncio.create_task(other())
        await opened.wait()

        def notice(problem: PointsmanError) -> None:
            told.append(problem)
            closing.set()

        async def alone(engine: Engine, again: bool) -> tuple[int, bool]:
            return (await engine.start("claims", {"text": "fire"})).case, again

        opening = partial(Engine.open, database, [claims], resources=resources)
        done = await reach(database, _unused, opening, alone, notice=notice, wait_max_seconds=BOUND_SECONDS)
        await task
        return done

    assert asyncio.run(body()) == (1, False)
    assert [type(problem) for problem in told] == [StoreLocked]


async def _unused(_: AsyncClient, __: bool) -> tuple[int, bool]:
    raise AssertionError("no program listens")


def test_commands_across_a_kill_and_a_restart_take_effect_once(program: Program) -> None:
    """Starts from two processes while the program is killed and started again: each succeeds, and none starts two cases."""
    done: list[subprocess.CompletedProcess[str]] = []

    begun = threading.Event()

    def commands(number: int) -> None:
        for one in range(6):
            words = ("start", "claims", '{"text": "fire"}', "--key", f"{number}.{one}", *program.options)
            done.append(interpreter.run("-c", PATIENT, *words, cwd=HERE, env=program.settings))
            begun.set()

    threads = [threading.Thread(target=commands, args=(number,)) for number in range(2)]
    with program.serving() as first:
        for thread in threads:
            thread.start()
        assert begun.wait(BOUND_SECONDS)
        first.kill()
    with program.serving():
        for thread in threads:
            thread.join()

    async def cases() -> int:
        with open_reader(program.database) as reader:
            return len(await reader.cases())

    assert [one.returncode for one in done] == [0] * 12, [one.stderr for one in done]
    assert asyncio.run(cases()) == 12


def test_what_is_not_json_and_a_database_that_is_missing_are_one_sentence_each(program: Program) -> None:
    done = [
        program.command("start", "claims", "{"),
        program.command("cancel", 1, "--why", "a test"),
    ]

    assert [one.returncode for one in done] == [1, 1]
    assert "STATE is not JSON" in done[0].stderr
    assert "does not exist" in done[1].stderr
    assert all("Traceback" not in one.stderr for one in done)


def test_the_audit_log_has_what_commands_did_and_for_whom_through_the_program_and_alone(program: Program) -> None:
    with program.serving() as process:
        assert program.command("start", "claims", '{"text": "fire"}', alone=False).returncode == 0
        assert program.command("cancel", "1", "--why", "twice", "--by", "grace", alone=False).returncode == 0
        process.send_signal(signal.SIGTERM)
        process.wait()
    assert program.command("start", "claims", '{"text": "hail"}').returncode == 0
    assert program.command("cancel", "2", "--why", "twice", "--by", "grace").returncode == 0

    entries = Accounts(accounts_file(program.database), Random(7)).entries()

    me = getpass.getuser()
    assert [sentence(entry) for entry in entries] == [
        f"{me} started case 1",
        f"{me} cancelled case 1 in the name of grace: twice",
        f"{me} started case 2",
        f"{me} cancelled case 2 in the name of grace: twice",
    ]


@pytest.mark.parametrize("left", ["", "[]", "[" * 100_000, '{"url": 1, "token": 2, "pid": "x"}', "\xff"])
def test_an_address_file_that_cannot_be_read_is_none(program: Program, left: str) -> None:
    address_file(program.database).write_text(left, encoding="latin-1")

    assert find_running(program.database) is None
