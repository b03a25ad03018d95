"""A full disk, a dead engine and a text that no database holds cost no case and are told in words."""

import asyncio
import json
import shutil
import sqlite3
import threading
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlite_files import in_a_process, letter, sentence

from pointsman import Engine, Status, open_reader
from pointsman.definition.transactions import Database
from pointsman.errors import (
    Conflict,
    PointsmanError,
    StoreUnwritable,
)
from pointsman.kernel.rows import Address, FieldWrite, Intent, Post, Transition
from pointsman.store.sqlite import open_sqlite
from pointsman.testing.clock import ManualClock
from pointsman.testing.conformance import new_case, next_of

HANG_SECONDS = 600.0  # far longer than the test takes

# Full.


def test_a_full_disk_stops_the_engine_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    process = letter(lambda message: message * 100_000)  # far more than the pages that are free

    async def until_full() -> int:
        async with Engine.open(path, [process], clock=ManualClock()) as engine:
            store: Any = engine._store
            pages = store.core.connection.execute("PRAGMA page_count").fetchone()[0]
            store.core.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
            started = await engine.start(process, {"message": "hello "})
            with pytest.raises(StoreUnwritable) as told:
                await engine.wait_until_resting(started.case)
            assert "is full" in sentence(told.value, path)
            assert "free some space" in str(told.value)
            with pytest.raises(StoreUnwritable):
                await engine.start(process, {"message": "another"})
            return started.case

    async def afterwards(case: int) -> None:
        async with Engine.open(path, [process], clock=ManualClock()) as engine:
            row = await engine.wait_until_resting(case)
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
async def make():
    async with Engine.open(path, [process]):
        pass
async def until_full():
    async with Engine.open(path, [process]) as engine:
        started = await engine.start(process, {"message": "hello "})
        try:
            await engine.wait_until_resting(started.case)
        except StoreUnwritable as error:
            return started.case, str(error)
async def afterwards(case):
    async with Engine.open(path, [process]) as engine:
        return (await engine.wait_until_resting(case)).outcome, (await engine.state(case)).reply == "hello " * 100_000
asyncio.run(make())
resource.setrlimit(resource.RLIMIT_FSIZE, (450_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
case, text = asyncio.run(until_full())
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
outcome, whole = asyncio.run(afterwards(case))
print(json.dumps({"text": text, "outcome": outcome, "whole": str(whole)}))
"""


def test_a_file_that_may_not_grow_stops_the_engine_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    answer = in_a_process(LIMITED, path)

    assert str(path) in answer["text"]
    assert "nothing that was confirmed is lost" in answer["text"]
    assert (answer["outcome"], answer["whole"]) == ("sent", "True")


def test_an_engine_that_serves_returns_when_its_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    process = letter(lambda message: message * 100_000)

    async def main() -> None:
        async with Engine.open(path, [process], clock=ManualClock()) as engine:
            store: Any = engine._store
            pages = store.core.connection.execute("PRAGMA page_count").fetchone()[0]
            store.core.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
            serving = asyncio.create_task(engine.serve())
            started = await engine.start(process, {"message": "hello "})
            with pytest.raises(StoreUnwritable):
                await engine.wait_until_resting(started.case)
            with pytest.raises(StoreUnwritable):
                await asyncio.wait_for(serving, HANG_SECONDS)

    asyncio.run(main())


def test_a_stale_transition_does_not_succeed_because_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    gate, reached = threading.Event(), threading.Event()
    gate.set()

    def points(label: str) -> None:
        if label == "store.begin":
            reached.set()
            gate.wait()

    async def main() -> None:
        store = await open_sqlite(path, now=10.0, failpoints=points)
        case, other = [await new_case(store) for _ in range(2)]
        await store.commit(next_of(case, 1, 0, Status.WAITING))
        pages = store.core.connection.execute("PRAGMA page_count").fetchone()[0]
        store.core.connection.execute(f"PRAGMA max_page_count = {pages}")
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


def test_a_full_disk_is_told_as_one_beside_a_job_that_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        refused, unlucky = [await new_case(store) for _ in range(2)]
        await store.commit(next_of(refused, 1, 0, intent=Intent("k", "send", "a", 30.0, again=False)))
        pages = store.core.connection.execute("PRAGMA page_count").fetchone()[0]
        store.core.connection.execute(f"PRAGMA max_page_count = {pages}")

        again = next_of(refused, 2, 0, intent=Intent("k", "send", "a", 30.0, again=False))
        large = next_of(unlucky, 1, 0, posts=[Post(Address("p", case=refused), "letter", "one", json.dumps("x" * 500_000), 20.0)])
        answers = await asyncio.gather(store.commit(again), store.commit(large), return_exceptions=True)
        row = await store.case(unlucky)
        await store.close()

        assert isinstance(answers[1], StoreUnwritable)
        assert row is not None
        assert row.revision == 1

    asyncio.run(main())


@pytest.mark.parametrize("passes_over", [False, True], ids=["told", "passed over"])
def test_a_full_disk_in_a_transaction_raises_and_nothing_of_it_is_stored(tmp_path: Path, passes_over: bool) -> None:
    path = tmp_path / "cases.db"

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        case = await new_case(store)
        pages = store.core.connection.execute("PRAGMA page_count").fetchone()[0]
        store.core.connection.execute(f"PRAGMA max_page_count = {pages + 2}")

        def work(db: Database) -> Transition:
            db.execute("CREATE TABLE letters (text TEXT)")
            with suppress(sqlite3.Error) if passes_over else nullcontext():
                db.execute("INSERT INTO letters VALUES (?)", ("x" * 500_000,))
            return next_of(case, 1, 0)

        with pytest.raises(StoreUnwritable, match="failed in a transaction" if passes_over else "is full; free some space"):
            await store.transact(work)
        row = await store.case(case)
        tables = store._connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'letters'").fetchone()[0]
        await store.close()

        assert row is not None
        assert (row.revision, tables) == (1, 0)

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
        await engine.wait_until_resting((await engine.start(process, {"message": "hello "})).case)
asyncio.run(main())
"""


def test_cases_that_a_dead_engine_left_running_are_ready_however_often_the_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    in_a_process(DIE, path)
    with open_reader(path) as reader:
        assert asyncio.run(reader.counts()) == {Status.RUNNING: 1}

    async def main() -> None:
        for _ in range(2):
            store = await open_sqlite(path, now=10.0)
            row = (await store.cases())[0]
            await store.close()
            assert (row.status, row.wake_at, row.attempts, row.interruptions) == (Status.READY, 10.0, 0, 1)

    asyncio.run(main())


def test_a_case_continues_after_a_crash_and_the_lost_attempt_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    in_a_process(DIE, path)
    process = letter(lambda message: message + "again")

    async def main() -> None:
        async with Engine.open(path, [process], clock=ManualClock(4e9)) as engine:
            row = await engine.wait_until_resting(1)
            events = await engine.reader.events(case=1)

            assert (row.status, row.step) == (Status.WAITING, "approval")
            assert [event.attempt for event in events if event.kind == "node.succeeded"] == [1]

    asyncio.run(main())


def test_a_copy_of_the_files_of_a_running_engine_holds_every_answered_case(tmp_path: Path) -> None:
    path, copies = tmp_path / "cases.db", tmp_path / "copies"
    copies.mkdir()

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        numbers = [await new_case(store) for _ in range(5)]
        for file in (path, path.with_name("cases.db-wal")):  # what a power failure at this moment would leave
            shutil.copy(file, copies)
        await store.close()
        copy = await open_sqlite(copies / "cases.db", now=10.0)
        rows = await copy.cases()
        await copy.close()

        assert [row.id for row in rows] == numbers

    asyncio.run(main())


# What is asked for in a text that no database holds.


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb"], ids=ascii)
def test_a_key_that_no_database_holds_is_refused_in_words(tmp_path: Path, text: str) -> None:
    process = letter(str.upper)

    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [process], clock=ManualClock()) as engine:
            with pytest.raises(PointsmanError, match="key"):
                await engine.start(process, {"message": "hello"}, key=text)
            assert await engine.reader.counts() == {}

    asyncio.run(main())


def test_a_name_that_no_database_holds_is_refused_in_words_and_the_case_still_waits(tmp_path: Path) -> None:
    process = letter(str.upper)

    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [process], clock=ManualClock()) as engine:
            case = (await engine.start(process, {"message": "hello"})).case
            await engine.wait_until_resting(case)
            token = (await engine.pending(case)).token
            with pytest.raises(PointsmanError, match="surrogate"):
                await engine.resume(token, True, by="anna \ud800")
            with pytest.raises(PointsmanError, match="surrogate"):
                await engine.cancel(case, by="anna", why="\ud800")
            assert (await engine.pending(case)).token == token

    asyncio.run(main())
