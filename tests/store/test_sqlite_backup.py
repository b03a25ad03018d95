"""A copy of a file is made while an engine writes, is checked, and is opened by no engine before somebody has confirmed what happened since."""

import asyncio
import json
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pointsman import AtMostOnce, Engine, Process, State, StoreError, finish, open_reader, otherwise, when
from pointsman.cli.main import app
from pointsman.errors import StoreForeign
from pointsman.kernel.snapshot import Status
from pointsman.store.sqlite_backup import back_up, confirm, restore
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import CrashAt, in_child

NOW = 1_800_000_000.0
STEPS = ("backup.copied", "backup.checked", "backup.named")


class Order(State):
    item: str
    receipt: str | None = None


orders = Process("orders", Order)
paid: list[str] = []


@orders.effect(writes="receipt", safety=AtMostOnce())
async def pay(item: str) -> str:
    if item == "doubtful":
        raise ConnectionError("the bank did not answer")
    paid.append(item)
    return "paid"


orders.rules(when("it is not paid", lambda o: o.receipt is None, pay), otherwise(finish("sent")))


async def order(engine: Engine, item: str) -> None:
    await engine.wait_until_resting((await engine.start(orders, {"item": item})).case)


def made(db: Path, *items: str) -> Path:
    async def main() -> None:
        async with Engine.open(db, [orders], clock=ManualClock(NOW)) as engine:
            for item in items:
                await order(engine, item)

    asyncio.run(main())
    return db


def states(db: Path) -> list[tuple[str, str]]:
    async def read() -> list[tuple[str, str]]:
        with open_reader(db) as reader:
            return [(str(row.status), (await reader.fields(row.id))[0].text) for row in await reader.cases()]

    return asyncio.run(read())


def test_a_copy_made_while_an_engine_writes_has_the_cases_of_that_moment(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [orders]) as engine:
            await order(engine, "a cup")
            copied = await asyncio.to_thread(back_up, tmp_path / "cases.db", tmp_path / "copy.db", now=NOW)
            await order(engine, "a pot")
            assert copied.cases == {Status.DONE: 1}

    asyncio.run(main())

    assert states(tmp_path / "copy.db") == [("done", '"a cup"')]
    assert len(states(tmp_path / "cases.db")) == 2
    assert sorted(file.name for file in tmp_path.glob("*copy.db*")) == ["copy.db"]


def test_no_engine_opens_a_copy_before_it_is_confirmed(tmp_path: Path) -> None:
    back_up(made(tmp_path / "cases.db", "a cup"), tmp_path / "copy.db", now=NOW)
    restored = restore(tmp_path / "copy.db", tmp_path / "new.db")

    for file in (tmp_path / "copy.db", tmp_path / "new.db"):
        with pytest.raises(StoreError, match=r"is a backup of 2027-01-15 08:00:00 UTC.*--confirm-history"):
            made(file, "another cup")
    assert restored.at == NOW
    assert confirm(tmp_path / "new.db")
    assert not confirm(tmp_path / "new.db")
    assert len(states(made(tmp_path / "new.db", "another cup"))) == 2


def test_a_copy_of_another_tool_is_as_old_as_its_last_commit(tmp_path: Path) -> None:
    made(tmp_path / "cases.db", "a cup")
    with closing(sqlite3.connect(tmp_path / "cases.db")) as source, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        source.backup(copy)

    assert restore(tmp_path / "copy.db", tmp_path / "new.db").at == NOW


def test_a_restored_backup_is_as_old_as_the_backup_and_not_as_its_last_commit(tmp_path: Path) -> None:
    db = made(tmp_path / "cases.db", "a cup")
    back_up(db, tmp_path / "copy.db", now=NOW + 3_600)

    restored = restore(tmp_path / "copy.db", tmp_path / "restored.db")

    assert restored.at == NOW + 3_600


def test_a_copy_is_on_the_disk_before_it_has_its_name_and_so_is_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db, copy = made(tmp_path / "cases.db", "a cup"), tmp_path / "copy.db"
    flushed: list[tuple[int, bool]] = []
    flush = os.fsync

    def flushing(handle: int) -> None:
        flushed.append((os.fstat(handle).st_ino, copy.exists()))
        flush(handle)

    monkeypatch.setattr(os, "fsync", flushing)
    back_up(db, copy, now=NOW)

    assert flushed == [(copy.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_an_effect_without_an_outcome_is_told(tmp_path: Path) -> None:
    copied = back_up(made(tmp_path / "cases.db", "a cup", "doubtful"), tmp_path / "copy.db", now=NOW)

    [effect] = restore(tmp_path / "copy.db", tmp_path / "new.db").unsettled
    assert (effect.effect, effect.case) == ("pay", 2)
    assert copied.unsettled == (effect,)


@pytest.mark.parametrize("what", [back_up, restore])
@pytest.mark.parametrize("number", range(1, len(STEPS) + 1))
def test_a_killed_copy_is_whole_or_not_there_and_the_next_one_deletes_what_it_left(
    tmp_path: Path, what: Callable[..., object], number: int
) -> None:
    source, to = made(tmp_path / "cases.db", "a cup"), tmp_path / "copy.db"
    before = source.read_bytes()
    when_made = {"now": NOW} if what is back_up else {}

    code = in_child(lambda: what(source, to, **when_made, failpoints=CrashAt(number)))
    named = to.exists()
    if named:
        to.rename(tmp_path / "whole.db")
    what(source, to, **when_made)

    assert (code, named) == (-signal.SIGKILL, STEPS[number - 1] == "backup.named")
    assert {tuple(states(file)) for file in tmp_path.glob("*.db")} == {(("done", '"a cup"'),)}
    assert source.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_a_copy_that_another_program_still_writes_is_not_deleted(tmp_path: Path) -> None:
    made(tmp_path / "cases.db", "a cup")
    seen: list[int] = []

    def another(label: str) -> None:
        if label == "backup.copied" and not seen:
            seen.append(in_child(lambda: back_up(tmp_path / "cases.db", tmp_path / "copy.db", now=NOW)))

    with pytest.raises(StoreError, match="exists already, and nothing is overwritten"):
        back_up(tmp_path / "cases.db", tmp_path / "copy.db", now=NOW, failpoints=another)

    assert seen == [0]
    assert states(tmp_path / "copy.db") == [("done", '"a cup"')]
    assert not list(tmp_path.glob(".*"))


def test_a_backup_may_be_called_after_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "cases.db", "a cup")
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(app, ["restore", "cases.db", "postgres-monday.db"])

    assert done.exit_code == 0
    assert states(tmp_path / "postgres-monday.db") == [("done", '"a cup"')]


@pytest.mark.parametrize("left", ["copy.db", "copy.db-wal"])
def test_nothing_is_overwritten(tmp_path: Path, left: str) -> None:
    made(tmp_path / "cases.db", "a cup")
    (tmp_path / left).write_text("of somebody else", encoding="utf-8")

    with pytest.raises(StoreError, match=f"{left} exists already, and nothing is overwritten"):
        back_up(tmp_path / "cases.db", tmp_path / "copy.db", now=NOW)

    assert (tmp_path / left).read_text(encoding="utf-8") == "of somebody else"


def test_a_damaged_file_makes_no_copy(tmp_path: Path) -> None:
    made(tmp_path / "cases.db", *["a cup"] * 20)
    with closing(sqlite3.connect(tmp_path / "cases.db")) as connection:
        connection.execute("UPDATE case_counts SET cases = cases + 1")
        connection.commit()

    with pytest.raises(StoreForeign, match="the copy is damaged"):
        back_up(tmp_path / "cases.db", tmp_path / "copy.db", now=NOW)

    assert not list(tmp_path.glob("*copy.db*"))


@pytest.mark.parametrize("step", STEPS)
def test_a_copy_that_ends_in_the_middle_has_no_name_or_is_whole(tmp_path: Path, step: str) -> None:
    made(tmp_path / "cases.db", "a cup")

    class Died(BaseException):
        pass

    def die(label: str) -> None:
        if label == step:
            raise Died

    with pytest.raises(Died):
        back_up(tmp_path / "cases.db", tmp_path / "copy.db", now=NOW, failpoints=die)

    assert (tmp_path / "copy.db").exists() == (step == "backup.named")
    assert step != "backup.named" or states(tmp_path / "copy.db") == [("done", '"a cup"')]


def run(*words: object) -> Any:
    return CliRunner().invoke(app, list(map(str, words)))


def test_the_commands_say_what_to_find_out_and_what_to_type(tmp_path: Path) -> None:
    db, copy, new = made(tmp_path / "cases.db", "a cup", "doubtful"), tmp_path / "copy.db", tmp_path / "new.db"

    backed_up, restored = run("backup", copy, "--db", db), run("restore", copy, new)
    refused = run("restore", copy, new)
    confirmed, again = (run("migrate", new, "--confirm-history") for _ in range(2))

    assert f"1 open and 1 ended cases of {db} are in {copy} (" in backed_up.stdout
    assert f"\n  pointsman migrate {new} --confirm-history\n" in restored.stdout
    assert "  pay of case 2 (key " in restored.stdout
    assert (refused.exit_code, refused.stderr) == (1, f"pointsman: {new} exists already, and nothing is overwritten; name a new file.\n")
    assert confirmed.stdout == f"confirmed: engines can open {new}\n"
    assert again.stdout == f"{new} is no backup, and there is nothing to confirm\n"


def test_the_doctor_says_that_a_backup_is_closed(tmp_path: Path) -> None:
    back_up(made(tmp_path / "cases.db", "a cup"), tmp_path / "copy.db", now=NOW)

    found = {one["what"]: one for one in json.loads(run("doctor", "--db", tmp_path / "copy.db", "--json").stdout)}

    assert found["closed"]["level"] == "fail"
    assert "--confirm-history" in found["closed"]["do"]


def test_a_postgresql_database_is_left_to_its_own_tools() -> None:
    done = run("backup", "copy.db", "--db", "postgresql://ada@db.example/shop")

    assert done.exit_code == 1
    assert "with its own tools, such as pg_dump and pg_restore" in done.stderr
