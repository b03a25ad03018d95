"""What a PostgreSQL store keeps and deletes, and what happens when several engines do so at once."""

import asyncio
import json

import pytest
from postgres_handles import Handle, run

from pointsman.definition.state import Blob
from pointsman.kernel.rows import EventWrite
from pointsman.store.base import DefinitionRow, IntakePaused, ScheduleRow, erased_key
from pointsman.store.journal import packed_in_full
from pointsman.store.postgres import keeping
from pointsman.store.postgres.connections import rows_of
from pointsman.store.postgres.keeping import clock_high_water, erase

pytestmark = pytest.mark.usefixtures("patient")

CASE = """
INSERT INTO pointsman.cases (id, process, version, key, status, revision, fence, attempts, steps, outcome, created_at, updated_at, parent)
VALUES (%(case)s, 'p', 1, %(key)s, %(status)s, 1, 0, 0, 0, %(outcome)s, 1, %(at)s, %(parent)s)
"""
JOURNAL = """
INSERT INTO pointsman.journal (tx, n, case_id, revision, at, events, field, value)
VALUES (pg_current_xact_id()::text::bigint, 0, %(case)s, 1, %(at)s, %(events)s, 'a', %(value)s)
"""


async def _do(handle: Handle, statement: str, **values: object) -> list[tuple[object, ...]]:
    return await handle.connections.rows(statement.replace("pointsman.", f"{handle.connections.place.schema}."), values)


async def _case(
    handle: Handle, case: int, *, status: str = "done", outcome: str | None = "sent", at: float = 10.0, value: str = '"secret"', parent: int | None = None
) -> int:  # fmt: skip
    event = packed_in_full([EventWrite("node.failed", "write", 1, '{"message":"secret"}')])
    await _do(handle, CASE, case=case, key=f"key {case}", status=status, outcome=outcome, at=at, parent=parent)
    await _do(handle, JOURNAL, case=case, at=at, events=event, value=value)
    return case


def test_s22_two_engines_that_expire_at_once_count_each_case_once(postgres_url: str) -> None:
    """Both delete some or all of forty cases; no case is recorded twice, and none is left."""

    async def scenario(opened: list[Handle]) -> None:
        for number in range(1, 41):
            await _case(opened[0], number)
        gone = await asyncio.gather(*(handle.expire("p", "sent", before=50.0, at=100.0, limit=40) for handle in opened))
        assert sum(expired.cases for expired in gone) == 40
        records = await _do(opened[0], "SELECT events::json -> 0 -> 3 ->> 'cases' FROM pointsman.journal WHERE revision = 0")
        assert sorted(case for (cases,) in records for case in json.loads(str(cases))) == list(range(1, 41))
        assert await _do(opened[0], "SELECT count(*) FROM pointsman.cases") == [(0,)]

    run(postgres_url, scenario, 4)


def test_s22_a_case_that_is_needed_or_locked_stays(postgres_url: str) -> None:
    """A child with an open parent stays; so does a case that another transaction has locked, without a wait for it."""

    async def scenario(opened: list[Handle]) -> None:
        [handle] = opened
        await _case(handle, 1, status="waiting", outcome=None)
        await _case(handle, 2, parent=1)
        await _case(handle, 3)
        await _case(handle, 4, status="cancelled", outcome=None)
        async with handle.connections.transaction() as connection:
            await rows_of(connection, f"SELECT FROM {handle.connections.place.schema}.cases WHERE id = 3 FOR UPDATE")
            assert await handle.expire("p", "sent", before=50.0, at=100.0, limit=9) == (0, None)
        assert await handle.expire("p", "sent", before=50.0, at=100.0, limit=1) == (0, (10.0, 2))
        assert await handle.expire("p", "sent", before=50.0, at=100.0, limit=1, after=(10.0, 2)) == (1, (10.0, 3))
        assert await handle.expire("p", None, before=50.0, at=101.0, limit=9) == (1, None)
        assert await _do(handle, "SELECT id FROM pointsman.cases ORDER BY id") == [(1,), (2,)]
        assert await clock_high_water(handle.connections) == 101.0

    run(postgres_url, scenario, 1)


def test_s23_erasing_deletes_the_content_and_keeps_the_key_as_a_digest(postgres_url: str) -> None:
    """The event keeps its kind and its step."""

    async def scenario(opened: list[Handle]) -> None:
        [handle] = opened
        await _case(handle, 1)
        async with handle.connections.transaction() as connection:
            await erase(connection, handle.connections.sql, "x", 1)
        [(events, field, value)] = await _do(handle, "SELECT events, field, value FROM pointsman.journal")
        assert json.loads(str(events)) == [["node.failed", "write", 1, {"message": "erased"}]]
        assert (field, value) == (None, None)
        assert await _do(handle, "SELECT key FROM pointsman.cases") == [(None,)]
        assert await _do(handle, "SELECT digest, case_id FROM pointsman.erased_keys") == [(erased_key("x", "p", "", "key 1"), 1)]

    run(postgres_url, scenario, 1)


def test_s24_a_reference_that_moves_during_a_search_keeps_its_blob(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another engine copies a reference to a page already searched, and erases its origin. The search is discarded; the next one works."""

    async def scenario(opened: list[Handle]) -> None:
        searcher, other = opened
        moved, unused = [await searcher.keep(content, now=10.0) for content in (b"moved", b"unused")]
        await _case(searcher, 1, value="1" * 64)  # a full page, so that the search reads a second one
        await _case(searcher, 2, value=moved.model_dump_json())
        monkeypatch.setattr(keeping, "PAGE_ROWS", 1)
        rows, pages = searcher.connections.rows, 0

        async def read(statement: str, values: object = ()) -> list[tuple[object, ...]]:
            nonlocal pages
            found = await rows(statement, values)  # type: ignore[arg-type]
            if statement == searcher.connections.sql["scan_fields"]:
                pages += 1
                if pages == 1:
                    await _do(other, "UPDATE pointsman.journal SET value = %(value)s WHERE case_id = 1", value=moved.model_dump_json())
                    async with other.connections.transaction() as connection:
                        await erase(connection, other.connections.sql, "x", 2)
            return found

        monkeypatch.setattr(searcher.connections, "rows", read)
        assert await searcher.collect_blobs(before=50.0) == (0, 0)
        assert pages == 2
        assert await searcher.collect_blobs(before=50.0) == (1, len(b"unused"))
        assert await _kept(searcher, [moved, unused]) == [True, False]

    run(postgres_url, scenario, 2)


def test_s24_a_blob_that_is_kept_again_during_a_search_stays(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another engine keeps it after the search has found nothing that refers to it."""

    async def scenario(opened: list[Handle]) -> None:
        searcher, other = opened
        blob = await searcher.keep(b"again", now=10.0)
        search = searcher._unreferenced

        async def found(before: float) -> set[str]:
            unused = await search(before)
            await other.keep(b"again", now=60.0)
            return unused

        monkeypatch.setattr(searcher, "_unreferenced", found)
        assert await searcher.collect_blobs(before=50.0) == (0, 0)
        assert await _kept(searcher, [blob]) == [True]

    run(postgres_url, scenario, 2)


async def _kept(handle: Handle, blobs: list[Blob]) -> list[bool]:
    kept = {digest for (digest,) in await _do(handle, "SELECT sha256 FROM pointsman.blobs")}
    return [blob.sha256 in kept for blob in blobs]


def test_s4_handles_never_reserve_the_same_numbers(postgres_url: str) -> None:
    """Each gets a block of its own, above all earlier ones."""

    async def scenario(opened: list[Handle]) -> None:
        blocks = await asyncio.gather(*(handle.reserve(5) for handle in opened for _ in range(3)))
        assert sorted(number for block in blocks for number in block) == list(range(1, 61))

    run(postgres_url, scenario, 4)


def test_definitions_schedules_outcomes_and_the_intake(postgres_url: str) -> None:
    """Two engines write the same at once; what was written first stays."""

    async def scenario(opened: list[Handle]) -> None:
        one, two = opened
        definitions = [DefinitionRow("p", version, "f", 1.0) for version in (1, 2)]
        await asyncio.gather(one.register(definitions), two.register(definitions[::-1]))
        assert await _do(one, "SELECT count(*) FROM pointsman.definitions") == [(2,)]
        assert await one.schedule("p", "daily", now=5.0) == ScheduleRow("p", "daily", 5.0, 5.0)
        await two.ticked("p", "daily", 9.0)
        await one.ticked("p", "daily", 7.0)
        assert await two.schedule("p", "daily", now=6.0) == ScheduleRow("p", "daily", 5.0, 9.0)
        for number, outcome in enumerate(("sent", "lost", "sent", None)):
            await _case(one, number, outcome=outcome, status="done" if outcome else "cancelled")
        assert await two.outcomes("p") == ["lost", "sent"]
        assert await two.outcomes("q") == []
        await one.pause_intake(IntakePaused("ann", "storm", 3.0))
        assert await _do(two, "SELECT value::json ->> 'by' FROM pointsman.meta WHERE name = 'intake'") == [("ann",)]
        await two.pause_intake(None)
        assert await _do(two, "SELECT FROM pointsman.meta WHERE name = 'intake'") == []
        assert await one.compact() == 0

    run(postgres_url, scenario, 2)
