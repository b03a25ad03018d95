"""The file itself: locked, foreign, damaged, newer, not writable; each error is one sentence with the mend."""

import asyncio
import fcntl
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlite_files import LOOK, OPEN, filled, in_a_process, letter, refusal, run, sentence

from pointsman import Engine, Status, StoreError, has_engine, history_of, open_reader
from pointsman.errors import (
    PointsmanError,
    StoreForeign,
    StoreLocked,
    StoreNewer,
    StoreUnwritable,
)
from pointsman.kernel.rows import EventWrite, FieldWrite, NewCase, Transition
from pointsman.store import sqlite_file
from pointsman.store.sqlite import SqliteStore, open_sqlite
from pointsman.store.statements import migrations
from pointsman.testing.clock import ManualClock
from pointsman.testing.conformance import new_case, next_of


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that another user can come to; pytest's own is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="pointsman-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


# Locked.


def test_the_refusal_of_a_second_engine_names_the_process_that_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        with pytest.raises(StoreLocked) as refused:
            await open_sqlite(path, now=10.0)
        text = sentence(refused.value, path)
        await new_case(store)
        await store.close()

        assert f"{path} is open" in text
        assert f"process {os.getpid()}" in text
        assert "stop that one" in text

    run(main)


def test_a_second_engine_is_refused_also_through_a_symbolic_link(tmp_path: Path) -> None:
    path, link = tmp_path / "cases.db", tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        assert has_engine(link)
        with pytest.raises(StoreLocked, match=f"{path} is open in another engine"):
            await open_sqlite(link, now=10.0)
        await store.close()
        await (await open_sqlite(link, now=10.0)).close()

    run(main)
    assert list(link.parent.iterdir()) == [link]


@pytest.mark.parametrize("done", ["deleted", "moved", "replaced"])
def test_an_engine_whose_file_is_gone_takes_nothing_on(tmp_path: Path, done: str) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        await new_case(store)
        if done == "moved":
            path.rename(tmp_path / "moved.db")
        else:
            path.unlink()
        if done == "replaced":
            path.touch()
        with pytest.raises(StoreError, match="was deleted, moved or replaced") as refused:
            await new_case(store)
        sentence(refused.value, path)
        await store.close()

    run(main)


def test_an_engine_works_on_when_the_program_goes_into_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        store = await open_sqlite("cases.db", now=10.0)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        await new_case(store)
        await store.collect_blobs(before=10.0)
        assert await store.cases()
        await store.close()

    run(main)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_refusal_in_another_process_names_the_process_that_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        answer = await asyncio.to_thread(in_a_process, OPEN, path)
        await store.close()
        again = await asyncio.to_thread(in_a_process, OPEN, path)

        assert answer["kind"] == "StoreLocked"
        assert f"process {os.getpid()}" in answer["text"]
        assert again["kind"] == "opened"

    run(main)


def test_a_closed_engine_lets_go_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    filled(path)

    async def main() -> None:
        for _ in range(3):
            store = await open_sqlite(path, now=10.0)
            assert await store.counts() == {Status.WAITING: 1}
            await store.close()

    run(main)


def test_whether_an_engine_has_the_file_is_found_out_without_an_engine(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> list[bool]:
        before = has_engine(path)
        store = await open_sqlite(path, now=10.0)
        during = has_engine(path)
        await store.close()
        return [before, during, has_engine(path)]

    assert asyncio.run(main()) == [False, True, False]
    lock = path.with_name("cases.db.lock")
    lock.unlink()
    lock.symlink_to(lock.name)
    assert has_engine(path), "a lock that cannot be read may be taken"


def test_has_engine_keeps_no_engine_from_opening_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cases.db"
    filled(path)
    real, looking = fcntl.flock, os.open(path.with_name("cases.db.lock"), os.O_RDONLY)
    real(looking, fcntl.LOCK_SH)  # somebody is amid a look
    asked: list[int] = []

    def flock(handle: Any, how: int) -> None:
        asked.append(how)
        if asked.count(fcntl.LOCK_EX | fcntl.LOCK_NB) == 3:
            real(looking, fcntl.LOCK_UN)
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        await store.close()

    run(main)
    os.close(looking)
    assert asked.count(fcntl.LOCK_EX | fcntl.LOCK_NB) == 3


def test_an_engine_that_could_not_open_the_file_does_not_keep_it_locked(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    path.write_text("no database " * 100)
    refusal(path, StoreForeign)

    path.unlink()
    filled(path)

    assert path.stat().st_size > 0


def test_a_file_that_another_program_writes_is_refused_after_the_time_that_a_backup_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cases.db"
    filled(path)
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_SECONDS", 0.01)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    text = refusal(path, StoreLocked)

    other.execute("ROLLBACK")
    other.close()
    assert "locked by another program" in text
    assert "close that one" in text


# Taken over. The lock is on a file beside the database; whoever removes that file lets a second engine in.


async def both(path: Path) -> tuple[SqliteStore, SqliteStore]:
    """Two stores on one file, of which the second has taken over."""
    first = await open_sqlite(path, now=10.0)
    path.with_name(path.name + ".lock").unlink()
    return first, await open_sqlite(path, now=11.0)


def test_an_engine_that_was_taken_over_stops_writing(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        first, second = await both(path)
        with pytest.raises(StoreLocked) as refused:
            await new_case(first, key="a")
        with pytest.raises(StoreLocked):
            await first.claim(["p"], now=99.0, limit=9)
        kept = await new_case(second, key="b")
        rows = await second.cases()
        await first.close()
        await second.close()

        text = sentence(refused.value, path)
        assert "another engine has taken over" in text
        assert [(row.id, row.key) for row in rows] == [(kept, "b")]

    run(main)


def test_a_start_of_an_engine_that_was_taken_over_does_not_return_the_other_ones_case(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        first, second = await both(path)
        await new_case(second, key="b")
        with pytest.raises(StoreLocked):
            await new_case(first, key="a")
        await first.close()
        await second.close()

    run(main)


def test_a_commit_of_an_engine_that_was_taken_over_does_not_count_the_other_ones_as_its_own(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        first, second = await both(path)
        case = await new_case(second)
        await second.commit(next_of(case, 1, 0, Status.DONE, outcome="sent"))
        with pytest.raises(StoreLocked):
            await first.commit(next_of(case, 1, 0, Status.CANCELLED, reason="no longer wanted"))
        await first.close()
        await second.close()

    run(main)


# Not ours.


def test_a_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE songs (title TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()

    text = refusal(path, StoreForeign)

    assert "belongs to another program" in text
    assert "name another file" in text
    assert path.read_bytes() == before
    with pytest.raises(StoreForeign, match="belongs to another program"):
        open_reader(path)


def test_an_empty_database_that_another_program_has_marked_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("PRAGMA application_id = 1234")
    other.close()

    text = refusal(path, StoreForeign)

    assert "belongs to another program" in text


def test_a_text_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam,\n" * 300)
    before = path.read_bytes()

    text = refusal(path, StoreForeign)

    assert "is not a SQLite database" in text
    assert "name another file" in text
    assert path.read_bytes() == before
    with pytest.raises(StoreForeign, match="is not a SQLite database"):
        open_reader(path)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    path.mkdir()

    text = refusal(path, StoreForeign)

    assert "cases.db is a folder, not a file; name another one" in text
    with pytest.raises(StoreForeign, match=r"cases\.db is a folder, not a file; name another one"):
        open_reader(path)


def test_a_pipe_in_the_place_of_the_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    os.mkfifo(path)

    assert "cases.db is a device or a pipe, not a file" in refusal(path, StoreForeign)
    with pytest.raises(StoreForeign, match="not a file"):
        open_reader(path)


def test_a_file_of_a_newer_release_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    filled(path)
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()

    text = refusal(path, StoreNewer)

    assert "newer release" in text
    assert f"tables 99, known {migrations('sqlite')[-1][0]}" in text
    assert "upgrade" in text
    with pytest.raises(StoreNewer):
        open_reader(path)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    path.touch()

    filled(path)

    with open_reader(path) as reader:
        assert asyncio.run(reader.counts()) == {Status.WAITING: 1}


# Damaged.


def test_a_file_that_was_cut_off_is_refused_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    filled(path, cases=50, size=200)
    os.truncate(path, path.stat().st_size // 2)

    text = refusal(path, StoreForeign)

    assert "is damaged" in text
    assert "restore it from a backup" in text
    with pytest.raises(StoreForeign, match="is damaged"):
        open_reader(path)


async def look_at_everything(path: Path) -> None:
    process = letter(lambda message: message)
    async with Engine.open(path, [process], clock=ManualClock()) as engine:
        await engine.start(process, {"message": "another"})
        await engine.idle()
        for row in await engine.reader.cases():
            await engine.reader.fields(row.id)
            await engine.reader.pause(row.id)
        await engine.reader.unmatched()
        await engine.reader.events(limit=10_000)


def end_of_roots(path: Path) -> int:
    """Where the first pages of all tables and indexes end: some of them nobody has used yet, and nobody reads them."""
    with closing(sqlite3.connect(path)) as looking:
        [last] = looking.execute("SELECT max(rootpage) FROM sqlite_schema").fetchone()
        [size] = looking.execute("PRAGMA page_size").fetchone()
    return int(last * size)


@pytest.mark.parametrize("place", range(1, 8))
def test_a_file_with_a_hole_is_reported_as_damaged_wherever_the_hole_is(tmp_path: Path, place: int) -> None:
    path = tmp_path / "cases.db"
    filled(path, cases=300, size=200)
    content, first = bytearray(path.read_bytes()), end_of_roots(path)
    begin = first + (len(content) - first) * place // 8
    content[begin : begin + 8_192] = bytes(byte ^ 0xFF for byte in content[begin : begin + 8_192])
    path.write_bytes(content)

    with pytest.raises(PointsmanError) as told:
        asyncio.run(look_at_everything(path))

    assert isinstance(told.value, StoreForeign)
    text = sentence(told.value, path)
    assert "is damaged" in text
    assert "hello" not in text  # what customers wrote is no part of an error


@pytest.mark.parametrize("table", ["cases", "meta", "cases_running"])
def test_damage_where_an_engine_reads_first_is_reported_at_its_opening(tmp_path: Path, table: str) -> None:
    path = tmp_path / "cases.db"
    filled(path, cases=2)
    looking = sqlite3.connect(path)
    page = looking.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
    size = looking.execute("PRAGMA page_size").fetchone()[0]
    looking.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)

    text = refusal(path, StoreForeign)

    assert "is damaged" in text
    assert "restore it from a backup" in text


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE cases SET status = 'waitinP'",
        "UPDATE journal SET value = '\"hello' WHERE field = 'message'",
        "UPDATE journal SET value = CAST(X'22FF22' AS TEXT) WHERE field = 'message'",
        "UPDATE journal SET events = '[[hello'",
        "UPDATE journal SET events = replace(events, '\"accepted\",', '\"hello\"')",
    ],
    ids=["status", "json", "text", "events", "event"],
)
def test_a_row_that_no_engine_wrote_is_reported_as_damage(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "cases.db"
    filled(path)
    other = sqlite3.connect(path)
    other.execute(damage)
    other.commit()
    other.close()

    with open_reader(path) as reader, pytest.raises(StoreForeign) as told:
        asyncio.run(history_of(reader, 1))

    text = str(told.value)
    assert "is damaged" in text
    assert "restore it from a backup" in text
    assert "hello" not in text


@pytest.mark.parametrize(
    "damage", ["UPDATE cases SET status = 'waitinP'", "UPDATE journal SET events = 'hello'", "UPDATE effects SET status = 'hello'"]
)
def test_every_look_at_a_damaged_row_reports_it(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "cases.db"
    filled(path)
    other = sqlite3.connect(path)
    other.executescript(
        "INSERT INTO effects (key, case_id, effect, arguments, status, attempts, intended_at, deadline) "
        f"VALUES ('k', 1, 'send', '', 'done', 1, 1.0, 1.0); {damage}"
    )
    other.close()

    async def main() -> None:
        with open_reader(path) as reader:
            looks = {
                "cases": [reader.dossier, reader.case, lambda _: reader.cases(), lambda _: reader.counts(), lambda _: reader.open_cases()],
                "journal": [reader.dossier, lambda case: reader.events(case=case), lambda _: reader.events()],
                "effects": [reader.dossier, reader.effects, lambda _: reader.effect("k")],
            }
            for look in looks[damage.split()[1]]:
                with pytest.raises(StoreForeign, match="is damaged"):
                    await look(1)

    asyncio.run(main())


# Not writable.


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "cases.db"

    text = refusal(path, StoreUnwritable)

    assert f"{path.parent} does not exist" in text or f"folder {path.parent}" in text
    assert "make it" in text


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    text = refusal(tmp_path / "file" / "cases.db", StoreUnwritable)

    assert str(tmp_path / "file") in text
    assert "name another file" in text


def test_a_read_only_file_is_refused_and_left_as_it_is(public_folder: Path) -> None:
    path = public_folder / "cases.db"
    filled(path)
    public_folder.chmod(0o777)
    path.with_name("cases.db.lock").chmod(0o666)
    path.chmod(0o444)
    before = path.read_bytes()

    answer = in_a_process(OPEN, path, unprivileged=True)

    assert answer["kind"] == "StoreUnwritable"
    assert f"{path} cannot be written" in answer["text"]
    assert "that it may write to" in answer["text"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("exists", [False, True], ids=["new", "known"])
def test_a_read_only_folder_is_refused(public_folder: Path, exists: bool) -> None:
    path = public_folder / "cases.db"
    if exists:
        filled(path)
    public_folder.chmod(0o555)

    answer = in_a_process(OPEN, path, unprivileged=True)

    assert answer["kind"] == "StoreUnwritable"
    assert "cannot be written" in answer["text"]
    assert "folder that it may write to" in answer["text"]


def test_a_reader_without_permission_gets_an_error_that_says_so(public_folder: Path) -> None:
    path = public_folder / "cases.db"
    filled(path)
    path.chmod(0o600)
    if os.geteuid() != 0:
        path.chmod(0o000)

    answer = in_a_process(LOOK, path, unprivileged=True)

    assert answer["kind"] in {"StoreUnwritable", "StoreError"}
    assert "read" in answer["text"]


# Migrations.


def test_a_migration_that_fails_leaves_an_empty_file_that_opens_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cases.db"
    broken = migrations("sqlite")[0][1] + "\nCREATE TABLE cases (id INTEGER);\n"
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_file, "migrations", lambda dialect: ((1, broken),))
        _failed(path)

    left = sqlite3.connect(path)
    version = left.execute("PRAGMA user_version").fetchone()[0]
    marked = left.execute("PRAGMA application_id").fetchone()[0]
    tables = left.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    left.close()
    assert (version, marked, tables) == (0, 0, 0)
    filled(path)


def test_a_second_migration_that_fails_keeps_the_first_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cases.db"
    filled(path)
    number, first = migrations("sqlite")[-1]
    second = "CREATE TABLE extra (id INTEGER);\nCREATE TABLE cases (id INTEGER);\n"
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_file, "migrations", lambda dialect: ((number, first), (number + 1, second)))
        _failed(path)

    left = sqlite3.connect(path)
    version = left.execute("PRAGMA user_version").fetchone()[0]
    extra = left.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").fetchone()[0]
    left.close()
    assert (version, extra) == (number, 0)


def test_all_migrations_in_one_transaction_leave_the_same_tables_as_one_after_the_other(tmp_path: Path) -> None:
    def tables(path: Path) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path)) as made:
            settings = [made.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")]
            return [*made.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema"), *settings]

    with closing(sqlite3.connect(tmp_path / "slowly.db", isolation_level=None)) as slowly:
        slowly.execute(sqlite_file.RETURNS_PAGES)
        for number, _ in migrations("sqlite"):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(sqlite_file, "migrations", lambda dialect, number=number: migrations(dialect)[:number])
                sqlite_file.migrate(slowly)
            assert slowly.execute("PRAGMA user_version").fetchone() == (number,)
    filled(tmp_path / "at once.db", cases=0)

    assert tables(tmp_path / "at once.db") == tables(tmp_path / "slowly.db")


def test_an_empty_file_that_another_program_has_locked_gets_its_tables_when_the_lock_is_gone(tmp_path: Path) -> None:
    connections = [sqlite3.connect(tmp_path / "cases.db", isolation_level=None, timeout=0.0) for _ in range(2)]
    with closing(connections[0]) as ours, closing(connections[1]) as another:
        ours.execute("PRAGMA journal_mode = WAL")
        another.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked") as refused:
            sqlite_file.migrate(ours)
        another.execute("ROLLBACK")
        sqlite_file.migrate(ours)

        assert sqlite_file.is_locked(refused.value)
        assert ours.execute("PRAGMA user_version").fetchone() == (migrations("sqlite")[-1][0],)


def test_each_new_file_has_an_incarnation_of_its_own(tmp_path: Path) -> None:
    found = set()
    for name in ("one.db", "another.db"):
        filled(tmp_path / name, cases=0)
        with open_reader(tmp_path / name) as reader:
            found.add(reader.incarnation)

    assert len(found) == 2


def _failed(path: Path) -> None:
    async def main() -> None:
        await open_sqlite(path, now=10.0)

    with pytest.raises(StoreError) as failed:
        run(main)
    assert path.name in str(failed.value)


# Looking.


def test_the_view_states_shows_each_case_as_one_json_object(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        case = await new_case(store)
        values = [FieldWrite("order", '{"n":[1,2.5,"ä"]}', "w"), FieldWrite("draft", '"x"', "w")]
        await store.commit(next_of(case, 1, 0, fields=values))
        cleared = [FieldWrite("draft", None, "w"), FieldWrite("ok", "true", "w")]
        await store.commit(next_of(case, 2, 0, Status.DONE, outcome="sent", fields=cleared))
        await new_case(store)
        await store.close()

    asyncio.run(main())
    looking = sqlite3.connect(path)
    rows = looking.execute("SELECT id, status, outcome, state FROM states ORDER BY id").fetchall()
    looking.close()
    assert [row[:3] for row in rows] == [(1, "done", "sent"), (2, "ready", None)]
    assert json.loads(rows[0][3]) == {"message": "hello", "order": {"n": [1, 2.5, "ä"]}, "ok": True}
    assert json.loads(rows[1][3]) == {"message": "hello"}


def test_a_reader_of_a_missing_file_raises_and_creates_none(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    with pytest.raises(StoreError) as refused:
        open_reader(path)

    text = sentence(refused.value, path)
    assert "does not exist" in text
    assert "name another file" in text
    assert not path.exists()


def test_a_reader_of_an_empty_file_gets_an_error_that_it_holds_no_cases(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    path.touch()

    with pytest.raises(StoreForeign) as refused:
        open_reader(path)

    assert "holds no cases" in sentence(refused.value, path)
    assert path.stat().st_size == 0


def test_a_reader_looks_beside_the_engine_that_writes_and_cannot_write_itself(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        with open_reader(path) as reader:
            before = await reader.counts()
            await new_case(store)
            after = await reader.counts()
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader._connection.execute("DELETE FROM cases")
        await store.close()

        assert (before, after) == ({}, {Status.READY: 1})

    asyncio.run(main())


def test_a_clock_that_was_set_back_does_not_come_before_what_was_committed(tmp_path: Path) -> None:
    """Wherever the last save of the clock was, and whether the engine was closed or died."""
    path = tmp_path / "cases.db"

    async def committed(times: list[float]) -> None:
        store = await open_sqlite(path, now=1.0)
        try:
            for number, at in zip(await store.reserve(len(times)), times, strict=True):
                events = [EventWrite("accepted", None, 0, "{}")] * 100
                await store.commit(Transition(number, 0, 0, at, Status.PARKED, new=NewCase("p", 1, None), events=events))
            shutil.copy(path, tmp_path / "dead.db")
            shutil.copy(f"{path}-wal", tmp_path / "dead.db-wal")
        finally:
            await store.close()

    async def found(path: Path) -> float:
        store = await open_sqlite(path, now=1.0)
        await store.close()
        return store.clock_high_water

    for times in ([50.0], [60.0, 55.0], [*map(float, range(100, 120)), 90.0], [80.0] * 30, [120.5, 1.0]):
        highest = max(*times, asyncio.run(found(path)))
        asyncio.run(committed(times))
        assert asyncio.run(found(tmp_path / "dead.db")) == highest
        assert asyncio.run(found(path)) == highest


@pytest.mark.parametrize(("free", "says"), [(4_096, "is full; free some space"), (10_000_000, "cannot be read or written")])
def test_a_disk_without_room_for_the_shared_memory_is_full(free: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    assert says in str(sqlite_file.explain(tmp_path / "cases.db", error))
