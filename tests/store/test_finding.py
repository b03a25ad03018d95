"""A page costs one or two statements and reads what an index finds, however many cases there are; and no read holds up the event loop."""

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from pointsman import CaseQuery, EngineStopped, Order, Status
from pointsman.kernel.rows import PauseOpening
from pointsman.kernel.words import search_write
from pointsman.store import finding
from pointsman.store.finding import FEW, SQLITE, measure, search_for, statement
from pointsman.store.memory import MemoryStore
from pointsman.store.query import cursor_of
from pointsman.store.sqlite import SqliteStore, open_sqlite, take_over
from pointsman.store.sqlite_reader import SqliteReader
from pointsman.store.sqlite_threads import READERS_MAX
from pointsman.store.statements import migrations, statements
from pointsman.testing.conformance import FindingConformance, OpenStore, new_case, next_of

SQL = statements("sqlite")
FILTERS: dict[str, Any] = {
    "process": "p", "status": [Status.WAITING, Status.READY], "tenant": "north", "key": "k", "correlation": "c", "rule": "r", "outcome": "o",
    "pause": "approve", "assignee": "ann", "waiting_before": 1.0, "waiting_after": 0.5, "expires_before": 2.0, "tasks_only": True,
    "search": {"customer": "Ann", "order": "7"}, "text": "two words",
}  # fmt: skip
# What SQLite may go through from one end to the other: what an index has found before, and the few values of a parameter.
SMALL = ("SCAN few", "SCAN json_each", "SCAN case_counts", "SCAN (subquery-", "SCAN CONSTANT ROW")


class TestWalks(FindingConformance):
    """The promises hold where no filter leaves few cases, too."""

    @pytest.fixture
    def open_store(self, monkeypatch: pytest.MonkeyPatch) -> OpenStore:
        monkeypatch.setattr("pointsman.store.sqlite_reader.FEW", 0)
        monkeypatch.setattr(finding, "FEW", 0)

        async def open_store() -> MemoryStore:
            return MemoryStore()

        return open_store


def queries() -> Iterator[CaseQuery]:
    """Every pair of filters in every order, and all filters at once."""
    for order in Order:
        yield CaseQuery(order=order)
        yield CaseQuery(order=order, **FILTERS)
        for pair in itertools.combinations(FILTERS, 2):
            yield CaseQuery(order=order, **{name: FILTERS[name] for name in pair})


def test_no_query_reads_all_rows_of_a_table(tmp_path: Path) -> None:
    asyncio.run(opened_and_closed(tmp_path / "cases.db"))
    texts: dict[str, tuple[CaseQuery, dict[str, Any]]] = {}
    for query in queries():
        search = search_for(SQLITE, SQL, query, "", 10)
        bound = {**search.values, "bound": 10}
        texts[statement(SQL, query, search, [FEW] * len(search.sources))] = query, bound
        for few in range(len(search.sources)):
            sizes = [0 if source == few else FEW for source in range(len(search.sources))]
            texts[statement(SQL, query, search, sizes)] = query, bound
        if search.sources:
            texts[measure(SQL, search.sources)] = query, bound

    with closing(sqlite3.connect(tmp_path / "cases.db")) as connection:
        for text, (query, values) in texts.items():
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
            scans = [line for line in plan if line.startswith("SCAN") and not line.startswith(SMALL)]
            # A walk goes through the index of its order, from the place of the cursor on, until the page is full.
            walks = {"SCAN cases", "SCAN cases USING INDEX cases_changed", "SCAN pauses USING INDEX pauses_open"}
            assert set(scans) <= walks, (query, text, plan)
            assert not (scans and "few.id" in text), (query, text, plan)
            if scans and query.order is not Order.CHANGED:
                assert not [line for line in plan if "TEMP B-TREE FOR ORDER BY" in line], (query, text, plan)
    assert len(texts) > 500


@pytest.mark.parametrize("order", Order)
def test_a_later_page_begins_where_the_last_one_ended(tmp_path: Path, order: Order) -> None:
    asyncio.run(opened_and_closed(tmp_path / "cases.db"))
    query = CaseQuery(order=order)
    search = search_for(SQLITE, SQL, query, cursor_of(order, 1.0, 1), 10)
    with closing(sqlite3.connect(tmp_path / "cases.db")) as connection:
        plan = [
            row[3]
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement(SQL, query, search, [FEW] * len(search.sources))}", search.values)
        ]

    place = {
        Order.CHANGED: "cases_changed (updated_at<?)",
        Order.WAITING: "((opened_at,case_id)>(?,?))",
        Order.NUMBER: "(rowid>?)",
        Order.NEWEST: "(rowid<?)",
    }
    assert [line for line in plan if line.startswith("SEARCH") and line.endswith(place[order])], plan
    assert not [line for line in plan if line.startswith("SCAN") and not line.startswith(SMALL)], plan


async def opened_and_closed(path: Path) -> None:
    store = await open_sqlite(path, now=1.0)
    await store.close()


@pytest.mark.parametrize("cases", [30, 90])
def test_a_page_takes_at_most_two_statements_and_a_count_two(cases: int) -> None:
    async def main() -> list[int]:
        store = MemoryStore()
        for number in range(cases):
            opening = PauseOpening("approve", f"t{number}", "d", "ann")
            await new_case(store, status=Status.WAITING, pause=opening, search=[search_write("customer", '"ann"')])
        counted = []
        for read in (
            lambda: store.find(CaseQuery(tasks_only=True, order=Order.WAITING, assignee="ann", process="p"), limit=25),
            lambda: store.find(CaseQuery(search={"customer": "ann"}, text="ann", order=Order.CHANGED), limit=25),
            lambda: store.find(CaseQuery(), limit=25),
            store.counts,
        ):
            told: list[str] = []
            store.core.connection.set_trace_callback(told.append)
            await read()  # type: ignore[operator]
            store.core.connection.set_trace_callback(None)
            counted.append(len(told))
        return counted

    assert asyncio.run(main()) == [2, 2, 1, 2]


def test_a_step_of_a_running_case_changes_no_count_and_no_index_for_looking() -> None:
    async def main() -> int:
        store = MemoryStore()
        case = await new_case(store, status=Status.RUNNING, claims=True, step="a", rule="r")
        changed = store.core.connection.total_changes
        await store.commit(next_of(case, 1, 1, Status.RUNNING, step="b", rule="s"))
        return store.core.connection.total_changes - changed

    assert asyncio.run(main()) == 2  # the case and its journal


def test_an_older_file_gets_its_counts_and_its_sleeps(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number, text in migrations("sqlite"):
            if number < 17:
                connection.executescript(text)
                connection.execute(f"PRAGMA user_version = {number}")
        connection.execute(f"PRAGMA application_id = {0x504D414E}")
        for case, status, step, kind in [
            (1, "waiting", "nap", "sleeping"),
            (2, "waiting", "approve", "paused"),
            (3, "done", None, "finished"),
        ]:
            connection.execute(
                "INSERT INTO cases (id, process, version, status, revision, fence, attempts, steps, step, outcome, created_at, updated_at)"
                " VALUES (?, 'p', 1, ?, 2, 0, 0, 0, ?, iif(? = 'done', 'sent', NULL), 1.0, 2.0)",
                (case, status, step, status),
            )
            connection.execute(
                "INSERT INTO journal (case_id, revision, at, events) VALUES (?, 2, 2.0, ?)", (case, f'[["{kind}",null,0,\n{{}}]]')
            )
            if step:
                connection.execute(
                    "INSERT INTO pauses (case_id, revision, name, token, digest, opened_at) VALUES (?, 2, ?, ?, 'd', 2.0)",
                    (case, step, step),
                )
    writer, _ = take_over(path, 3.0)
    writer.close()

    async def main() -> None:
        with SqliteReader(path) as reader:
            assert [row.case.id for row in (await reader.find(CaseQuery(tasks_only=True))).rows] == [2]
            assert [row.case.id for row in (await reader.find(CaseQuery(order=Order.WAITING))).rows] == [1, 2]
            assert [(row.status, row.place, row.cases) for row in await reader.count_places()] == [
                (Status.DONE, "sent", 1), (Status.WAITING, "approve", 1), (Status.WAITING, "nap", 1),
            ]  # fmt: skip

    asyncio.run(main())


def test_no_page_of_the_file_has_what_an_erased_case_was_found_by(tmp_path: Path) -> None:
    async def main() -> bool:
        async with opened(tmp_path / "cases.db") as store:
            cases = [
                await new_case(store, status=Status.DONE, search=[search_write("note", f'"zanzibar {number}"')]) for number in range(20)
            ]
            found = len((await store.find(CaseQuery(text="Zanzibar"))).rows) == len(cases)
            for case in cases:
                await store.commit(next_of(case, 1, 0, Status.DONE, erases=True))
        return found

    assert asyncio.run(main())

    assert not [file.name for file in tmp_path.iterdir() if b"zanzibar" in file.read_bytes()]


# Reads in threads.


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_sqlite(path, now=1.0)
    try:
        yield store
    finally:
        await store.close()


def test_the_event_loop_goes_on_while_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, begun = threading.Event(), asyncio.Event()
    read = SqliteReader.counts

    async def slow(reader: SqliteReader) -> dict[Status, int]:
        loop.call_soon_threadsafe(begun.set)
        assert goes_on.wait(600.0)  # the bound is there so that a failing test ends
        return await read(reader)

    monkeypatch.setattr("pointsman.store.sqlite_threads.SqliteReader.counts", slow)
    monkeypatch.setattr("pointsman.store.sqlite_threads.ThreadedReader.counts", lambda self: self.run(slow))

    async def main() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        async with opened(tmp_path / "cases.db") as store:
            await new_case(store)
            counting = asyncio.create_task(store.reader.counts())
            await begun.wait()
            assert len((await store.reader.find(CaseQuery())).rows) == 1  # another read does not wait for it either
            goes_on.set()
            assert await counting == {Status.READY: 1}

    loop: Any = None
    asyncio.run(main())


def test_a_read_sees_each_commit_before_it_and_connections_are_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[SqliteReader] = []
    make = SqliteReader.__init__

    def counted(self: SqliteReader, *of: Any) -> None:
        connections.append(self)
        make(self, *of)

    async def main() -> None:
        async with opened(tmp_path / "cases.db") as store:
            monkeypatch.setattr(SqliteReader, "__init__", counted)
            for number in range(1, 41):
                case = await new_case(store)
                row, counts = await asyncio.gather(store.reader.case(case), store.reader.counts())
                assert row is not None
                assert counts == {Status.READY: number}
            assert 1 <= len(connections) <= 4
        with pytest.raises(EngineStopped, match="is closed; open it again"):
            await store.reader.counts()

    asyncio.run(main())


def test_closing_interrupts_long_reads_and_those_that_wait_for_them(tmp_path: Path) -> None:
    async def forever(reader: SqliteReader) -> None:
        loop.call_soon_threadsafe(begun.release)
        reader._connection.execute("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n").fetchall()

    async def main() -> None:
        nonlocal loop, begun
        loop, begun = asyncio.get_running_loop(), asyncio.Semaphore(0)
        async with opened(tmp_path / "cases.db") as store:
            reading = [asyncio.create_task(store.reader.run(forever)) for _ in range(READERS_MAX + 2)]  # type: ignore[attr-defined]
            for _ in range(READERS_MAX):
                await begun.acquire()
        told = await asyncio.gather(*reading, return_exceptions=True)
        assert [type(error) for error in told] == [EngineStopped] * len(reading), told
        assert all("is closed; open it again" in str(error) for error in told)

    loop: Any = None
    begun: Any = None
    asyncio.run(main())
