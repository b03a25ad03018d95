"""The file itself: locked, foreign, damaged, newer, not writable, full, recovered; each error is one sentence with the mend."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman import Engine, Process, State, Status, StoreError, finish, open_cases, otherwise, when
from pointsman.errors import (
    Conflict,
    PointsmanError,
    StoreForeign,
    StoreLocked,
    StoreNewer,
    StoreUnwritable,
)
from pointsman.store import sqlite_file
from pointsman.store.base import FieldWrite
from pointsman.store.sqlite import SqliteStore, open_sqlite
from pointsman.store.statements import migrations
from pointsman.testing.clock import ManualClock
from pointsman.testing.conformance import next_of, start_of

NOBODY = 65_534  # the user that may write to nothing, on every Linux


class Letter(State):
    message: str
    reply: str | None = None
    approval: bool | None = None


def letter(draft: Callable[[str], Any]) -> Process[Letter]:
    """Draft a reply, wait for an approval, end."""
    process = Process("letter", Letter)

    def write(message: str) -> str:
        text: str = draft(message)
        return text

    node = process.node(write, writes="reply")
    approve = process.pause(writes="approval", answer=bool, shows=("reply",))
    process.rules(
        when("no reply", lambda c: c.reply is None, node),
        when("open", lambda c: c.approval is None, approve),
        otherwise(finish("sent")),
    )
    return process


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def coroutine() -> None:
        await main()

    asyncio.run(coroutine())


def refusal(path: Path, kind: type[StoreError]) -> str:
    """What an engine is told that cannot open the file."""

    async def main() -> None:
        await open_sqlite(path, now=10.0)

    with pytest.raises(PointsmanError) as refused:
        run(main)
    assert type(refused.value) is kind
    return sentence(refused.value, path)


def sentence(error: BaseException, path: Path) -> str:
    text = str(error)
    assert path.name in text or str(path.parent) in text
    assert "\n" not in text
    assert text.endswith(".")
    return text


def filled(path: Path, cases: int = 1, size: int = 10) -> None:
    """A real file with some cases that wait."""

    async def main() -> None:
        process = letter(lambda message: message * size)
        async with Engine.open(path, [process], clock=ManualClock()) as engine:
            for number in range(cases):
                await engine.start(process, {"message": f"hello {number} "}, key=f"key {number}")
            await engine.idle()

    run(main)


def in_a_process(script: str, *arguments: object, unprivileged: bool = False) -> dict[str, str]:
    """Run a script in a process of its own; it imports as we do, drops its rights if asked to, and prints JSON."""
    begin = "import asyncio, json, os, sys\nfrom pathlib import Path\n"
    begin += "import encodings.idna, sqlite3, concurrent.futures.thread\nfrom pointsman import *\n"
    begin += "from pointsman.store.sqlite import open_sqlite\nfrom pointsman.errors import *\n"
    begin += "from pointsman.store.statements import *\nmigrations('sqlite'), statements('sqlite')\n"  # read them as we are
    begin += f"if {unprivileged} and os.geteuid() == 0:\n    os.setgroups([]); os.setuid({NOBODY})\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + script, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


OPEN = """
async def main():
    try:
        store = await open_sqlite(Path(sys.argv[1]), now=10.0)
        await store.close()
        print(json.dumps({"kind": "opened", "text": ""}))
    except PointsmanError as error:
        print(json.dumps({"kind": type(error).__name__, "text": str(error)}))
asyncio.run(main())
"""

LOOK = """
try:
    open_cases(Path(sys.argv[1]))
    print(json.dumps({"kind": "opened", "text": ""}))
except PointsmanError as error:
    print(json.dumps({"kind": type(error).__name__, "text": str(error)}))
"""


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that another user can come to; pytest's own is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="pointsman-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


# Locked.


def test_a_second_engine_on_the_file_is_told_which_process_has_it(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        with pytest.raises(StoreLocked) as refused:
            await open_sqlite(path, now=10.0)
        text = sentence(refused.value, path)
        await store.commit(start_of(store))
        await store.close()

        assert f"{path} is open" in text
        assert f"process {os.getpid()}" in text
        assert "stop that one" in text

    run(main)


def test_an_engine_in_another_process_is_told_which_process_has_the_file(tmp_path: Path) -> None:
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
            await first.commit(start_of(first, key="a"))
        with pytest.raises(StoreLocked):
            await first.claim(["p"], now=99.0, limit=9)
        kept = await second.commit(start_of(second, key="b"))
        rows = await second.cases()
        await first.close()
        await second.close()

        text = sentence(refused.value, path)
        assert "another engine has taken over" in text
        assert [(row.id, row.key) for row in rows] == [(kept, "b")]

    run(main)


def test_an_engine_that_was_taken_over_is_not_told_that_the_case_of_the_other_one_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        first, second = await both(path)
        await second.commit(start_of(second, key="b"))
        with pytest.raises(StoreLocked):
            await first.commit(start_of(first, key="a"))
        await first.close()
        await second.close()

    run(main)


def test_an_engine_that_was_taken_over_is_not_told_that_the_move_of_the_other_one_was_its_own(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        first, second = await both(path)
        case = await second.commit(start_of(second))
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
        open_cases(path)


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
        open_cases(path)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    path.mkdir()

    text = refusal(path, StoreUnwritable)

    assert "give the engine a file" in text
    with pytest.raises(StoreError, match=r"cases\.db"):
        open_cases(path)


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
        open_cases(path)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    path.touch()

    filled(path)

    with open_cases(path) as reader:
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
        open_cases(path)


async def look_at_everything(path: Path) -> None:
    process = letter(lambda message: message)
    async with Engine.open(path, [process], clock=ManualClock()) as engine:
        await engine.start(process, {"message": "another"})
        await engine.idle()
        for row in await engine.reader.cases():
            await engine.reader.fields(row.id)
            await engine.reader.pause(row.id)
        await engine.reader.events(limit=10_000)


@pytest.mark.parametrize("place", range(1, 8))
def test_a_file_with_a_hole_in_it_is_told_as_damaged_wherever_the_hole_is(tmp_path: Path, place: int) -> None:
    path = tmp_path / "cases.db"
    filled(path, cases=50, size=200)
    content = bytearray(path.read_bytes())
    begin = len(content) * place // 8
    content[begin : begin + 8_192] = bytes(byte ^ 0xFF for byte in content[begin : begin + 8_192])
    path.write_bytes(content)

    with pytest.raises(PointsmanError) as told:
        asyncio.run(look_at_everything(path))

    assert isinstance(told.value, StoreForeign)
    assert "is damaged" in sentence(told.value, path)


@pytest.mark.parametrize("table", ["cases", "meta", "cases_running"])
def test_damage_where_an_engine_looks_first_is_told_at_its_opening(tmp_path: Path, table: str) -> None:
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
    assert "give the engine a folder" in answer["text"]


def test_a_reader_of_a_file_that_it_may_not_read_is_told_so_in_words(public_folder: Path) -> None:
    path = public_folder / "cases.db"
    filled(path)
    path.chmod(0o600)
    if os.geteuid() != 0:
        path.chmod(0o000)

    answer = in_a_process(LOOK, path, unprivileged=True)

    assert answer["kind"] in {"StoreUnwritable", "StoreError"}
    assert "read" in answer["text"]


# Full.


def test_a_full_disk_stops_the_engine_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    process = letter(lambda message: message * 100_000)  # far more than the pages that are free

    async def until_full() -> int:
        async with Engine.open(path, [process], clock=ManualClock()) as engine:
            store: Any = engine.reader
            pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
            store._writer.execute(f"PRAGMA max_page_count = {pages + 1}")
            started = await engine.start(process, {"message": "hello "})
            with pytest.raises(StoreUnwritable) as told:
                await engine.settled(started.case)
            assert "is full" in sentence(told.value, path)
            assert "free some space" in str(told.value)
            with pytest.raises(StoreUnwritable):
                await engine.start(process, {"message": "another"})
            return started.case

    async def afterwards(case: int) -> None:
        async with Engine.open(path, [process], clock=ManualClock()) as engine:
            row = await engine.settled(case)
            assert row.status is Status.WAITING
            assert (await engine.pending(case)).shown["reply"] == "hello " * 100_000

    asyncio.run(afterwards(asyncio.run(until_full())))


LIMITED = """
import resource
class Letter(State):
    message: str
    reply: str | None = None
process = Process("letter", Letter)
@process.node(writes="reply")
def draft(message: str) -> str:
    return message * 100_000
process.rules(when("no reply", lambda c: c.reply is None, draft), otherwise(finish("sent")))
path = Path(sys.argv[1])
async def until_full():
    async with Engine.open(path, [process]) as engine:
        started = await engine.start(process, {"message": "hello "})
        try:
            await engine.settled(started.case)
        except StoreUnwritable as error:
            return started.case, str(error)
async def afterwards(case):
    async with Engine.open(path, [process]) as engine:
        return (await engine.settled(case)).outcome, (await engine.state(case)).reply == "hello " * 100_000
resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
case, text = asyncio.run(until_full())
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
outcome, whole = asyncio.run(afterwards(case))
print(json.dumps({"text": text, "outcome": outcome, "whole": str(whole)}))
"""


def test_a_file_that_may_not_grow_stops_the_engine_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    answer = in_a_process(LIMITED, path)

    assert str(path) in answer["text"]
    assert "nothing that was answered is lost" in answer["text"]
    assert (answer["outcome"], answer["whole"]) == ("sent", "True")


def test_an_engine_that_serves_returns_when_its_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    process = letter(lambda message: message * 100_000)

    async def main() -> None:
        async with Engine.open(path, [process], clock=ManualClock()) as engine:
            store: Any = engine.reader
            pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
            store._writer.execute(f"PRAGMA max_page_count = {pages + 1}")
            serving = asyncio.create_task(engine.serve())
            started = await engine.start(process, {"message": "hello "})
            with pytest.raises(StoreUnwritable):
                await engine.settled(started.case)
            # The bound is there so that a failing test ends; nothing is measured.
            ended, _ = await asyncio.wait([serving], timeout=2.0)
            serving.cancel()
            assert ended == {serving}

    asyncio.run(main())


def test_a_stale_move_is_not_told_that_it_won_because_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    gate, reached = threading.Event(), threading.Event()
    gate.set()

    def points(label: str) -> None:
        if label == "store.begin":
            reached.set()
            gate.wait()

    async def main() -> None:
        store = await open_sqlite(path, now=10.0, points=points)
        case, other = [await store.commit(start_of(store)) for _ in range(2)]
        await store.commit(next_of(case, 1, 0, Status.WAITING))
        pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
        store._writer.execute(f"PRAGMA max_page_count = {pages}")
        gate.clear()
        reached.clear()
        first = asyncio.ensure_future(store.release([], now=10.0))  # it holds the writer while the batch gathers
        await asyncio.to_thread(reached.wait)
        large = next_of(other, 1, 0, fields=[FieldWrite("message", json.dumps("x" * 500_000), "w")])
        late = next_of(case, 1, 0, Status.CANCELLED)
        batch = [asyncio.ensure_future(store.commit(transition)) for transition in (late, large)]
        await asyncio.sleep(0)
        gate.set()
        await first
        answers = await asyncio.gather(*batch, return_exceptions=True)
        await store.close()

        assert isinstance(answers[1], StoreUnwritable)
        assert isinstance(answers[0], Conflict | StoreUnwritable)

    asyncio.run(main())


# After a crash.

DIE = """
class Letter(State):
    message: str
    reply: str | None = None
    approval: bool | None = None
process = Process("letter", Letter)
@process.node(writes="reply")
def write(message: str) -> str:
    print(json.dumps({"pid": str(os.getpid())}), flush=True)
    os._exit(0)
approve = process.pause(writes="approval", answer=bool, shows=("reply",))
process.rules(when("no reply", lambda c: c.reply is None, write), when("open", lambda c: c.approval is None, approve),
              otherwise(finish("sent")))
async def main():
    async with Engine.open(Path(sys.argv[1]), [process]) as engine:
        await engine.settled((await engine.start(process, {"message": "hello "})).case)
asyncio.run(main())
"""


def test_what_a_dead_engine_left_running_is_ready_again_however_often_the_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    in_a_process(DIE, path)
    with open_cases(path) as reader:
        assert asyncio.run(reader.counts()) == {Status.RUNNING: 1}

    async def main() -> None:
        for _ in range(2):
            store = await open_sqlite(path, now=10.0)
            row = (await store.cases())[0]
            await store.close()
            assert (row.status, row.wake_at, row.attempts) == (Status.READY, 10.0, 1)

    asyncio.run(main())


def test_a_case_goes_on_after_the_crash_of_its_engine_and_the_lost_attempt_counts(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    in_a_process(DIE, path)
    process = letter(lambda message: message + "again")

    async def main() -> None:
        async with Engine.open(path, [process], clock=ManualClock(4e9)) as engine:
            row = await engine.settled(1)
            events = await engine.reader.events(case=1)

            assert (row.status, row.step) == (Status.WAITING, "approval")
            assert [event.attempt for event in events if event.kind == "node.succeeded"] == [2]

    asyncio.run(main())


def test_a_copy_of_the_files_of_a_running_engine_holds_every_answered_case(tmp_path: Path) -> None:
    path, copies = tmp_path / "cases.db", tmp_path / "copies"
    copies.mkdir()

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        numbers = [await store.commit(start_of(store)) for _ in range(5)]
        for file in (path, path.with_name("cases.db-wal")):  # what a power failure at this moment would leave
            shutil.copy(file, copies)
        await store.close()
        copy = await open_sqlite(copies / "cases.db", now=10.0)
        rows = await copy.cases()
        await copy.close()

        assert [row.id for row in rows] == numbers

    asyncio.run(main())


# Migrations.


def test_a_migration_that_fails_leaves_an_empty_file_that_opens_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_second_migration_that_fails_keeps_the_first_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        case = await store.commit(start_of(store))
        values = [FieldWrite("order", '{"n":[1,2.5,"ä"]}', "w"), FieldWrite("draft", '"x"', "w")]
        await store.commit(next_of(case, 1, 0, fields=values))
        cleared = [FieldWrite("draft", None, "w"), FieldWrite("ok", "true", "w")]
        await store.commit(next_of(case, 2, 0, Status.DONE, outcome="sent", fields=cleared))
        await store.commit(start_of(store))
        await store.close()

    asyncio.run(main())
    looking = sqlite3.connect(path)
    rows = looking.execute("SELECT id, status, outcome, state FROM states ORDER BY id").fetchall()
    looking.close()
    assert [row[:3] for row in rows] == [(1, "done", "sent"), (2, "ready", None)]
    assert json.loads(rows[0][3]) == {"message": "hello", "order": {"n": [1, 2.5, "ä"]}, "ok": True}
    assert json.loads(rows[1][3]) == {"message": "hello"}


def test_a_reader_of_a_missing_file_is_told_so_and_makes_none(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    with pytest.raises(StoreError) as refused:
        open_cases(path)

    text = sentence(refused.value, path)
    assert "does not exist" in text
    assert "name another file" in text
    assert not path.exists()


def test_a_reader_of_an_empty_file_is_told_that_it_holds_no_cases(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    path.touch()

    with pytest.raises(StoreForeign) as refused:
        open_cases(path)

    assert "holds no cases" in sentence(refused.value, path)
    assert path.stat().st_size == 0


def test_a_reader_looks_beside_the_engine_that_writes_and_cannot_write_itself(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        with open_cases(path) as reader:
            before = await reader.counts()
            await store.commit(start_of(store))
            after = await reader.counts()
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader._connection.execute("DELETE FROM cases")
        await store.close()

        assert (before, after) == ({}, {Status.READY: 1})

    asyncio.run(main())
