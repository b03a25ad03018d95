"""What a file costs that gets old: retention, unused pages and the events of a long case, counted and not timed."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import EventRow, EventWrite, FieldWrite, Intent, NewCase, Settlement, Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.base import FIRST
from pointsman.store.sqlite import open_sqlite
from pointsman.store.sqlite_core import RECORDS_SECONDS, SqliteCore
from pointsman.store.sqlite_file import open_writer
from pointsman.store.sqlite_keeping import COMPACT_PAGES
from pointsman.store.sqlite_reader import open_reader

SLICE = 50
TOGETHER = 100
BEFORE = 1e12  # later than all that these tests write


@pytest.fixture
def core(tmp_path: Path) -> Iterator[SqliteCore]:
    connection = open_writer(tmp_path / "cases.db")
    yield SqliteCore(connection, tmp_path / "cases.db")
    connection.close()


def in_one(core: SqliteCore, work: Callable[[], object]) -> None:
    core.connection.execute("BEGIN IMMEDIATE")
    work()
    core.connection.execute("COMMIT")


def add(core: SqliteCore, count: int, *, at: float = 1e9, settled: bool = True) -> None:
    """Cases that are done, each with fields, events and an entry of the ledger."""
    for _ in range(0, count, TOGETHER):
        cases = list(core.reserve(TOGETHER))
        happened = EventWrite("node.succeeded", "draft", 1, '{"fields":["draft"]}')
        moves = [
            [Transition(case, 0, 0, at, Status.RUNNING, new=NewCase("mails", 1, f"key {case}"), fields=[FieldWrite("text", '"x"', "")]) for case in cases],
            [Transition(case, 1, 0, at, Status.RUNNING, fields=[FieldWrite("draft", json.dumps("y" * 300), "draft")], events=[happened],
                        intent=Intent(f"effect {case}", "send", "", at, again=False)) for case in cases],
            [Transition(case, 2, 0, at, Status.DONE, outcome="sent", events=[EventWrite("finished", None, 0, '{"outcome":"sent"}')],
                        settlement=Settlement(f"effect {case}", EffectStatus.DONE, "{}") if settled else None) for case in cases],
        ]  # fmt: skip
        for transitions in moves:
            in_one(core, lambda transitions=transitions: core.apply(transitions))


def steps_of(connection: sqlite3.Connection, work: Callable[[], object]) -> int:
    """How many steps SQLite's machine takes for it."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count, 1)
    work()
    connection.set_progress_handler(None, 1)
    return steps


def passed(core: SqliteCore, *, at: float = BEFORE) -> tuple[int, list[int]]:
    """Delete all cases that may go. Return how many, and the steps of each slice."""
    place, gone, steps = FIRST, 0, list[int]()

    def expire() -> None:
        nonlocal place, gone
        expired = core.expire("mails", "sent", at, at, SLICE, place)
        place, gone = expired.place or FIRST, gone + expired.cases

    while not steps or place != FIRST:
        steps.append(steps_of(core.connection, lambda: in_one(core, expire)))
    return gone, steps


def pages(core: SqliteCore) -> int:
    return int(core.connection.execute("PRAGMA page_count").fetchone()[0])


def test_a_slice_of_retention_costs_the_same_however_many_cases_there_are(core: SqliteCore) -> None:
    add(core, 2_000)

    gone, steps = passed(core)

    assert gone == 2_000
    assert len(steps) == 2_000 / SLICE + 1  # the last one finds nothing
    assert max(steps) <= 1.1 * steps[1]


def test_a_pass_looks_once_at_cases_that_have_to_stay(core: SqliteCore) -> None:
    add(core, 500, settled=False)
    add(core, 100, at=2e9)

    gone, steps = passed(core)

    assert gone == 100
    assert len(steps) == 600 / SLICE + 1
    assert max(steps[:10]) < min(steps[10:12])  # a slice of cases that stay costs less than one that deletes


def test_a_file_whose_cases_come_and_go_stays_as_large_as_it_is(core: SqliteCore) -> None:
    sizes, records = list[int](), list[int]()
    for number in range(1, 9):
        at = number * 0.4 * RECORDS_SECONDS
        add(core, 300, at=at)
        passed(core, at=at + 1)
        sizes.append(pages(core))
        records.append(core.connection.execute("SELECT count(*) FROM events WHERE kind = 'expired'").fetchone()[0])

    assert max(sizes) <= 1.1 * sizes[0]
    assert max(records) <= 3 * records[0]  # those of the last year, of 6 for each round
    assert core.highest_case() == 8 * 300


def test_unused_pages_go_back_to_the_system_a_few_at_a_time_while_others_write(tmp_path: Path) -> None:
    path, points = tmp_path / "cases.db", list[str]()

    async def main() -> tuple[int, int]:
        store = await open_sqlite(path, now=1.0, failpoints=points.append)
        try:
            for number in range(4):
                await store.keep(b"%d" % number * 2_000_000, now=1.0)
            await store.collect_blobs(before=2.0)
            before = pages(store.core)
            points.clear()
            compacting = asyncio.ensure_future(store.compact())
            while not compacting.done():
                await store.register([])
            return before - pages(store.core), compacting.result()
        finally:
            await store.close()

    gone, freed = asyncio.run(main())

    assert freed == gone * 4_096 >= 6_000_000
    slices = points.count("store.alone")
    assert slices >= gone / COMPACT_PAGES
    assert points.count("store.committed") >= slices - 1  # one commit at least between two slices


def test_a_page_of_the_events_of_a_case_costs_the_same_however_long_the_case_is(tmp_path: Path) -> None:
    steps = {}
    for moves in (100, 1_000):
        path = tmp_path / f"{moves}.db"
        connection = open_writer(path)
        core = SqliteCore(connection, path)
        add(core, 100)
        core.reserve(1)
        started = Transition(101, 0, 0, 1.0, Status.RUNNING, new=NewCase("mails", 1, None), events=[EventWrite("accepted", None, 0, "{}")])
        in_one(core, lambda: core.apply([started]))  # noqa: B023 - it runs at once
        for number in range(1, moves):
            fields = [FieldWrite(name, str(number), "draft") for name in ("abc"[number % 3], "z")][: number % 4]
            events = [EventWrite("decided", None, 0, f'{{"number":{number}}}')] * (number % 3)
            in_one(core, lambda: core.apply([Transition(101, number, 0, 2.0, Status.RUNNING, fields=fields, events=events)]))  # noqa: B023
        connection.close()
        with open_reader(path) as reader:
            whole = asyncio.run(reader.events(case=101, limit=10_000))
            assert whole == [event for event in asyncio.run(reader.events(limit=10_000)) if event.case == 101]
            for size in (1, 7):
                found: list[EventRow] = []
                while page := asyncio.run(reader.events(case=101, after=found[-1].cursor if found else "", limit=size)):
                    found += page
                assert found == whole
            cursor = whole[-20].cursor
            steps[moves] = steps_of(reader._connection, lambda: asyncio.run(reader.events(case=101, after=cursor, limit=10)))  # noqa: B023

    assert steps[1_000] <= 1.05 * steps[100]
