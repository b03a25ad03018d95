"""What an earlier release has written is opened by this one, whole, and its cases go on; also if the power fails while it is changed."""

import asyncio
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from older_letters import BEGAN, NAMES, World, letters
from sqlite_sessions import Files, Opened, images, scratch, verdict, worked
from sqlite_work import Told

from pointsman import Engine, Status, StoreError, open_reader
from pointsman.store.sqlite import take_over
from pointsman.store.sqlite_backup import restore
from pointsman.store.sqlite_file import APPLICATION_ID
from pointsman.store.statements import migrations
from pointsman.testing.clock import ManualClock
from tiers import figure, seed

FILES = sorted((Path(__file__).parent / "older").glob("*.sql"))
older = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def made(file: Path, path: Path) -> Path:
    """The file of the earlier release."""
    connection = sqlite3.connect(path)
    connection.executescript(file.read_text(encoding="utf-8"))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return path


def rows_of(path: Path, columns: dict[str, list[str]] | None = None) -> tuple[dict[str, list[str]], dict[str, list[Any]]]:
    """Every table with its columns, and its rows; with `columns`, only those."""
    connection = sqlite3.connect(path)
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")]
    columns = columns or {table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in tables}
    rows = {table: connection.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall() for table, names in columns.items()}
    connection.close()
    return columns, rows


@older
def test_everything_that_an_earlier_release_has_written_is_still_there(tmp_path: Path, file: Path) -> None:
    path = made(file, tmp_path / "cases.db")
    columns, before = rows_of(path)

    writer, *_ = take_over(path, BEGAN)
    version = writer.execute("PRAGMA user_version").fetchone()[0]
    sound = writer.execute("PRAGMA integrity_check").fetchone()[0]
    writer.close()

    _, after = rows_of(path, columns)
    status = columns["cases"].index("status")
    running = [row[0] for row in before["cases"] if row[status] == Status.RUNNING]
    assert (version, sound) == (migrations("sqlite")[-1][0], "ok")
    assert {row[0]: row[status] for row in after.pop("cases")} == {
        row[0]: Status.READY if row[0] in running else row[status] for row in before.pop("cases")
    }
    assert dict(before.pop("meta")).keys() <= dict(after.pop("meta")).keys()
    assert {table: sorted(rows, key=repr) for table, rows in after.items()} == {
        table: sorted(rows, key=repr) for table, rows in before.items()
    }


async def pass_time(clock: ManualClock) -> None:
    while True:
        clock.advance(1.0)
        await asyncio.sleep(0)


@older
def test_every_case_of_an_earlier_release_continues(tmp_path: Path, file: Path) -> None:
    path = made(file, tmp_path / "cases.db")

    async def main() -> None:
        world, clock = World(at_work=False), ManualClock(BEGAN)
        async with Engine.open(path, [letters], resources={"world": world}, clock=clock) as engine:
            cases = {name: (await engine.start(letters, {"message": "again"}, key=name)).case for name in NAMES}
            clock.advance(3_600.0)
            passing = asyncio.create_task(pass_time(clock))  # what the dead engine had in hand is gone on with one after the other
            await engine.idle()
            passing.cancel()
            rows = {name: await engine.case(case) for name, case in cases.items()}
            at_rest = {"done": Status.DONE, "cancelled": Status.CANCELLED, "parked": Status.PARKED, "unknown": Status.PARKED}
            assert {name: row.status for name, row in rows.items()} == dict.fromkeys(NAMES, Status.WAITING) | at_rest
            assert world.calls.count("unknown") == 0  # its letter may have been sent, and its policy forbids another one

            (doubt,) = await engine.reader.in_doubt()
            await engine.resolve(doubt.key, happened=True, by="anna", why="it is in the sent folder", outcome="posted")
            await engine.redrive(cases["parked"], by="anna", why="the model is well again")
            await engine.wait_until_resting(cases["parked"])
            for name in ("parked", "waiting", "later", "halved", "hanging"):
                await engine.resume((await engine.pending(cases[name])).token, True, by="anna")
                assert (await engine.wait_until_resting(cases[name])).outcome == "sent"
                assert (await engine.state(cases[name])).receipt == f"posted dear {name}"
            assert (await engine.case(cases["unknown"])).outcome == "sent"
            assert await engine.reader.counts() == {Status.DONE: 7, Status.CANCELLED: 1}

    asyncio.run(main())


@older
def test_a_backup_of_an_earlier_release_is_restored_before_an_engine_opens_it(tmp_path: Path, file: Path) -> None:
    path = made(file, tmp_path / "backup.db")
    before = path.read_bytes()

    restored = restore(path, tmp_path / "cases.db")

    with pytest.raises(StoreError, match="--confirm-history"):
        take_over(tmp_path / "cases.db", BEGAN)
    assert sum(restored.cases.values()) == len(NAMES)
    assert [effect.effect for effect in restored.unsettled]
    assert path.read_bytes() == before


@older
def test_the_token_that_an_earlier_release_gave_out_is_good(tmp_path: Path, file: Path) -> None:
    path = made(file, tmp_path / "cases.db")
    connection = sqlite3.connect(path)
    token = connection.execute("SELECT token FROM pauses WHERE closed IS NULL").fetchone()[0]
    connection.close()

    async def main() -> str | None:
        async with Engine.open(path, [letters], resources={"world": World(at_work=False)}, clock=ManualClock(BEGAN)) as engine:
            row = await engine.resume(token, True, by="anna")
            return (await engine.wait_until_resting(row.id)).outcome

    assert asyncio.run(main()) == "sent"


@older
def test_a_file_of_an_earlier_release_is_looked_at_and_left_as_it_is(tmp_path: Path, file: Path) -> None:
    path = made(file, tmp_path / "cases.db")
    before = path.read_bytes()

    async def main() -> None:
        with open_reader(path) as reader:
            rows = await reader.cases()
            told = [await reader.events(case=row.id) for row in rows]
            assert [row.key for row in rows] == list(NAMES)
            assert all(told)
            assert [effect.effect for row in rows for effect in await reader.effects(row.id)] == ["send", "send"]
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader._connection.execute("DELETE FROM cases")

    asyncio.run(main())
    assert path.read_bytes() == before


@older
def test_a_power_failure_while_the_tables_are_changed_leaves_the_old_file_or_the_new_one(tmp_path: Path, file: Path) -> None:
    files: Files = {"cases.db": made(file, tmp_path / "cases.db").read_bytes()}

    with scratch() as folder:
        session = worked(folder, files, Told(), seed(), 0)
        chance, opened = random.Random(seed()), Opened(folder)
        found = [(length, verdict(session, length, opened(image))) for length, image in images(session, chance, figure("OLDER_IMAGES", 4))]

    assert len(session.record) > 200  # the changed tables have a hundred pages, and each is written to the log and to the file
    assert not [place for place in found if place[1]]


def test_keys_of_before_there_were_keys_of_tenants_belong_to_the_tenants_of_their_cases(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    connection = sqlite3.connect(path)
    for number, text in migrations("sqlite"):
        if number < 10:
            connection.executescript(text)
            connection.executescript(f"PRAGMA user_version = {number}; PRAGMA application_id = {APPLICATION_ID}")
    connection.executescript("""
        INSERT INTO cases (id, process, version, key, status, revision, fence, attempts, steps, created_at, updated_at, tenant, correlation)
          VALUES (1, 'p', 1, 'k', 'waiting', 1, 0, 0, 1, 1.0, 1.0, 'red', 'c'), (2, 'p', 1, 'l', 'done', 1, 0, 0, 1, 1.0, 1.0, '', NULL);
        INSERT INTO messages (id, process, name, key, correlation, case_id, status, body, at)
          VALUES (1, 'p', 'mail', 'm', 'c', 1, 'taken', '1', 1.0), (2, 'p', 'mail', 'n', 'd', NULL, 'unmatched', '2', 1.0);
        INSERT INTO erased_keys (process, name, digest, case_id) VALUES ('p', '', 'x', 1);
        INSERT INTO fields (case_id, revision, field, value, writer) VALUES (1, 1, 'text', '"a"', ''), (1, 2, 'text', '"b"', '');
    """)
    connection.close()

    writer, *_ = take_over(path, BEGAN)
    try:
        assert writer.execute("SELECT key, tenant FROM messages ORDER BY id").fetchall() == [("m", "red"), ("n", "")]
        assert writer.execute("SELECT process, tenant, name, digest, case_id FROM erased_keys").fetchall() == [("p", "red", "", "x", 1)]
        assert writer.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert writer.execute("SELECT id, tenant, key, correlation FROM cases ORDER BY id").fetchall() == [
            (1, "red", "k", "c"),
            (2, "", "l", None),
        ]
        assert writer.execute("SELECT state FROM states WHERE id = 1").fetchone() == ('{"text":"b"}',)
        writer.execute("INSERT INTO cases (id, process, version, key, status, revision, fence, attempts, steps, created_at, updated_at) "
                       "VALUES (3, 'p', 1, 'k', 'waiting', 1, 0, 0, 1, 1.0, 1.0)")  # fmt: skip
    finally:
        writer.close()


@older
@pytest.mark.parametrize("name", ["journal", "moves"])
def test_an_author_whose_table_has_a_name_that_the_engine_needs_now_learns_to_rename_it(tmp_path: Path, file: Path, name: str) -> None:
    path = made(file, tmp_path / "cases.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"CREATE TABLE {name} (seat)")

    for opened in (lambda: take_over(path, BEGAN), lambda: open_reader(path)):
        with pytest.raises(StoreError, match=f"has a table of yours whose name the engine needs .*{name}.*; rename it and start again[.]$"):
            opened()

    connection.execute(f"ALTER TABLE {name} RENAME TO seats_{name}")
    connection.close()
    take_over(path, BEGAN)[0].close()
