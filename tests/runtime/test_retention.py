"""Retention and erasure: retention deletes whole cases, erasure leaves a skeleton, and nothing else changes."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import keeping
import pytest
from keeping import DAY, NOON, RETENTION, SECRET, dealt_with, mails
from places import Place, run, seen

from pointsman import Blob, DefinitionError, Refused, Retention, Status, UnknownCase, export_case, history_of
from pointsman.operations.explain import explain
from pointsman.operations.export import write_blobs
from pointsman.operations.history import event_text
from pointsman.runtime.retention import BATCH_CASES, BLOB_SECONDS, PASS_SECONDS
from pointsman.store import sqlite_keeping
from pointsman.testing.clock import ManualClock


async def numbers(engine: Any) -> list[int]:
    return [row.id for row in await engine.reader.cases()]


@pytest.mark.parametrize("days", [0, 0.5, -1, float("nan")])
def test_a_retention_shorter_than_repeated_deliveries_is_refused(days: float) -> None:
    for settings in ({"days": days}, {"days": 90, "outcomes": {"spam": days}}):
        with pytest.raises(DefinitionError, match="days are too few; keep cases for 1 or more"):
            Retention(**settings)


def test_cases_go_by_their_outcome_and_age_while_the_engine_runs(place: Place) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with place.open(mails(RETENTION), clock=clock) as engine:
            for text in ("a", "spam b", "ask c"):
                await dealt_with(engine, text)
            await engine.cancel(await dealt_with(engine, "ask d"), by="anna", why="twice")
            found = [await numbers(engine)]
            for number, days in enumerate((7 + 0.1, 23), 1):
                clock.advance(days * DAY)
                await seen(engine, "expired", count=[1, 3][number - 1])
                found.append(await numbers(engine))
            return found, [event_text(event) for event in await engine.reader.events() if event.kind == "expired"]

    found, lines = run(main())

    assert found == [[1, 2, 3, 4], [1, 3, 4], [3]]
    assert lines == ["retention deleted 1 case of 'mails'"] * 3


def test_without_a_retention_cases_stay_for_ever(place: Place) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with place.open(mails(), clock=clock) as engine:
            await dealt_with(engine, "a")
            clock.advance(10_000 * DAY)
            names = [task.get_name() for task in asyncio.all_tasks()]
            return await engine.vacuum(), await numbers(engine), names

    vacuumed, found, names = run(main())

    assert (vacuumed.cases, found) == (0, [1])
    assert "pointsman-retention" not in names


def test_a_case_with_an_effect_in_doubt_stays_until_the_effect_is_resolved(place: Place) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with place.open(mails(RETENTION), clock=clock) as engine:
            await engine.cancel(await dealt_with(engine, "fail"), by="anna", why="twice")
            clock.advance(100 * DAY)
            first = await engine.vacuum()
            [entry] = await engine.reader.in_doubt()
            await engine.resolve(entry.key, happened=False, by="anna", why="asked")
            clock.advance(31 * DAY)
            return first, await engine.vacuum(), await numbers(engine)

    first, second, found = run(main())

    assert (first.cases, second.cases, found) == (0, 1, [])


def test_a_deleted_case_is_forgotten(place: Place) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with place.open(mails(RETENTION), clock=clock) as engine:
            await dealt_with(engine, "spam")
            again = await engine.start("mails", {"text": "spam"}, key="key of spam")
            clock.advance(8 * DAY)
            await engine.vacuum()
            with pytest.raises(UnknownCase):
                await engine.case(1)
            return again, await engine.start("mails", {"text": "spam"}, key="key of spam")

    again, later = run(main())

    assert again == (1, True)
    assert later == (2, False)


def test_numbers_are_not_given_again_after_a_restart(place: Place) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with place.open(mails(RETENTION), clock=clock) as engine:
            await dealt_with(engine, "spam")
            last = (await engine.reader.events())[-1].cursor
            clock.advance(8 * DAY)
            await engine.vacuum()
        async with place.open(mails(RETENTION), clock=clock) as engine:
            case = await dealt_with(engine, "spam")
            return case, await engine.reader.events(), await engine.reader.events(after=last)

    case, events, new = run(main())

    assert case > 1
    assert events == new


def test_many_cases_go_in_batches_with_rests_between_them(place: Place) -> None:
    clock, count = ManualClock(NOON), BATCH_CASES + 1

    async def main() -> Any:
        async with place.open(mails(RETENTION), clock=clock) as engine:
            await asyncio.gather(*(dealt_with(engine, f"spam {number}") for number in range(count)))
            clock.advance(8 * DAY)
            await seen(engine, "expired", count=2)
            return await numbers(engine), [event.facts for event in await engine.reader.events() if event.kind == "expired"]

    found, facts = run(main())

    assert found == []
    assert [len(json.loads(one)["cases"]) for one in facts] == [BATCH_CASES, 1]


def test_unused_blobs_are_deleted_once_a_day(place: Place) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with place.open(mails(RETENTION), clock=clock) as engine:
            nobodys, spams, kept = [await engine.store_blob(content) for content in (b"nobody's", b"spam's", b"kept")]
            await dealt_with(engine, "spam", raw=spams)
            await dealt_with(engine, "ask", raw=kept)
            clock.advance(8 * DAY)
            await seen(engine, "expired")
            while await engine.reader.blob(nobodys) is not None or await engine.reader.blob(spams) is not None:
                clock.advance(PASS_SECONDS)
                await asyncio.sleep(0)
            return await engine.reader.blob(kept)

    assert run(main()) == b"kept"


def test_a_blob_that_was_kept_lately_is_there_for_the_case_that_is_about_to_start(place: Place) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with place.open(mails(), clock=clock) as engine:
            blob = await engine.store_blob(b"raw")
            clock.advance(BLOB_SECONDS)
            first = await engine.vacuum()
            await engine.store_blob(b"raw")
            clock.advance(BLOB_SECONDS)
            second = await engine.vacuum()
            await dealt_with(engine, "ask", raw=blob)
            clock.advance(2 * BLOB_SECONDS)
            third = await engine.vacuum()
            return first, second, third, await engine.reader.blob(blob)

    first, second, third, content = run(main())

    assert (first.blobs, second.blobs, third.blobs, content) == (0, 0, 0, b"raw")


def test_a_reference_that_moves_while_it_is_looked_for_is_not_lost(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search comes by the new place before the reference is copied there, and by the old one when its case has gone."""
    clock, search = ManualClock(NOON), sqlite_keeping._texts

    async def main() -> Any:
        async with on_disk.open(mails(), clock=clock) as engine:
            loop, store = asyncio.get_running_loop(), engine._store
            blob, nobodys = await engine.store_blob(b"raw"), await engine.store_blob(b"nobody's")
            old = await dealt_with(engine, "spam", raw=blob)
            clock.advance(8 * DAY)

            async def move() -> None:
                await dealt_with(engine, "ask", raw=blob)
                await store.expire("mails", "spam", before=clock.now(), at=clock.now(), limit=9)

            def disturbed(*arguments: Any) -> Any:
                asyncio.run_coroutine_threadsafe(move(), loop).result()
                return (text for text in search(*arguments) if blob.sha256 not in text)

            monkeypatch.setattr(sqlite_keeping, "_texts", disturbed)
            first = await store.collect_blobs(before=clock.now())
            monkeypatch.setattr(sqlite_keeping, "_texts", search)
            return first, await store.collect_blobs(before=clock.now()), await store.blob(blob), nobodys, await store.case(old)

    first, second, content, nobodys, old = run(main())

    assert first == (0, 0)
    assert second == (1, nobodys.size)
    assert (content, old) == (b"raw", None)


def test_a_blob_that_is_stored_again_behind_the_search_is_not_collected(on_disk: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with on_disk.open(mails(), clock=clock) as engine:
            blob = await engine.store_blob(b"raw")
            clock.advance(2 * BLOB_SECONDS)
            loop, search = asyncio.get_running_loop(), sqlite_keeping.unreferenced

            def then_kept(*arguments: Any) -> Any:
                found = search(*arguments)
                asyncio.run_coroutine_threadsafe(engine.store_blob(b"raw"), loop).result()
                return found

            monkeypatch.setattr(sqlite_keeping, "unreferenced", then_kept)
            return (await engine.vacuum()).blobs, await engine.reader.blob(blob)

    assert run(main()) == (0, b"raw")


def test_erased_content_is_gone_and_the_skeleton_stays(place: Place) -> None:
    clock, process = ManualClock(NOON), mails()

    async def main() -> Any:
        async with place.open(process, clock=clock) as engine:
            blob = await engine.store_blob(b"raw")
            case = await dealt_with(engine, f"ask {SECRET}", raw=blob)
            await engine.resume((await engine.pending(case)).token, True, by="bob")
            before = await engine.wait_until_resting(case)
            history = await history_of(engine.reader, case)
            clock.advance(2 * BLOB_SECONDS)
            row = await engine.erase(case, by="anna", why="was asked to")
            vacuumed = await engine.vacuum()
            again = await engine.start(process, {"text": "x"}, key=f"key of ask {SECRET}")
            erased = await history_of(engine.reader, case)
            return before, history, row, vacuumed, again, erased, await engine.reader.blob(blob), await export_case(engine.reader, case)

    before, history, row, vacuumed, again, erased, content, exported = run(main())

    assert SECRET in repr(history)
    assert SECRET not in repr(erased) + repr(exported.as_json())
    assert (row.status, row.outcome, row.step, row.key) == (Status.DONE, "sent", before.step, None)
    assert again == (row.id, True)
    assert (vacuumed.blobs, content) == (1, None)
    assert [(e.kind, e.step, e.at) for e in erased.events[:-1]] == [(e.kind, e.step, e.at) for e in history.events]
    assert [event_text(event) for event in erased.events if event.kind in {"resumed", "erased"}] == [
        "approval answered by bob: wrote approval",
        "by anna: was asked to",
    ]
    assert erased.state == {}
    explanation = explain(process, erased)
    assert explanation.obstacles == ("its content was erased by anna (was asked to); its events still say what happened, when and by whom",)
    assert explanation.rules == ()


def test_no_page_of_the_file_has_the_words_that_were_erased(on_disk: Place) -> None:
    async def main() -> None:
        async with on_disk.open(mails(), clock=ManualClock(NOON)) as engine:
            for number in range(20):
                await dealt_with(engine, f"{SECRET} {number} " + "x" * 3_000)
            for number in range(20):
                await engine.erase(number + 1, by="anna", why="was asked to")

    run(main())

    files = [path for path in on_disk.path.parent.iterdir() if path.is_file()]
    assert not [path.name for path in files if SECRET.encode() in path.read_bytes()]


def test_a_parked_case_is_cancelled_and_erased(place: Place) -> None:
    async def main() -> Any:
        async with place.open(mails(), clock=ManualClock(NOON)) as engine:
            case = await dealt_with(engine, f"refused {SECRET}")
            parked = await engine.case(case)
            return parked, await engine.erase(case, by="anna", why="was asked to"), (await history_of(engine.reader, case)).as_json()

    parked, row, left = run(main())

    assert (parked.status, row.status) == (Status.PARKED, Status.CANCELLED)
    assert SECRET not in json.dumps(left)


def test_a_parked_case_with_an_effect_in_doubt_is_neither_erased_nor_cancelled(place: Place) -> None:
    async def main() -> Any:
        async with place.open(mails(), clock=ManualClock(NOON)) as engine:
            case = await dealt_with(engine, f"fail {SECRET}")
            before = place.dump()
            with pytest.raises(
                Refused,
                match=r"effect 'send' of case 1 is in doubt.*first find out whether it happened, and say so .* `pointsman resolve \w+ --call-again --why TEXT`",
            ):
                await engine.erase(case, by="anna", why="was asked to")
            refused = place.dump()
            [entry] = await engine.reader.effects(case)
            await engine.resolve(entry.key, happened=True, outcome="receipt", by="anna", why="asked")
            ended = await engine.wait_until_resting(case)
            await engine.erase(case, by="anna", why="was asked to")
            return before, refused, ended, (await history_of(engine.reader, case)).as_json()

    before, refused, ended, left = run(main())

    assert refused == before
    assert ended.outcome == "sent"
    assert SECRET not in json.dumps(left)
    assert "twice" not in json.dumps(left)


def test_an_open_case_is_not_erased(place: Place) -> None:
    async def main() -> Any:
        async with place.open(mails(), clock=ManualClock(NOON)) as engine:
            case = await dealt_with(engine, "ask")
            before = place.dump()
            with pytest.raises(Refused, match="case 1 cannot be erased while it is open: it is waiting at 'approval'; cancel it first"):
                await engine.erase(case, by="anna", why="was asked to")
            with pytest.raises(UnknownCase):
                await engine.erase(77, by="anna", why="was asked to")
            return before, place.dump()

    before, after = run(main())

    assert before == after


def test_to_erase_twice_is_to_erase_once(place: Place) -> None:
    async def main() -> Any:
        async with place.open(mails(), clock=ManualClock(NOON)) as engine:
            case = await dealt_with(engine, "a")
            first = await engine.erase(case, by="anna", why="was asked to")
            before = place.dump()
            second = await engine.erase(case, by="bob", why="was asked to as well")
            return first, second, before, place.dump()

    first, second, before, after = run(main())

    assert first == second
    assert before == after


@pytest.mark.parametrize("work", ["expire", "erase"])
def test_a_kill_at_any_point_leaves_it_whole_or_undone(tmp_path: Path, work: str) -> None:
    done = subprocess.run([sys.executable, keeping.__file__, work, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)

    assert (report["different"], report["again"]) == ([], [])
    assert report["killed"] >= 3


def test_an_export_has_everything_that_is_stored_of_a_case(place: Place, tmp_path: Path) -> None:
    async def main() -> Any:
        async with place.open(mails(), clock=ManualClock(NOON)) as engine:
            blob = await engine.store_blob(b"raw")
            case = await dealt_with(engine, "ask", raw=blob)
            token = (await engine.pending(case)).token
            waiting = (await export_case(engine.reader, case)).as_json()
            await engine.resume(token, True, by="bob")
            await engine.wait_until_resting(case)
            export = await export_case(engine.reader, case)
            await write_blobs(engine.reader, export, tmp_path / "blobs")
            missing = await engine.start("mails", {"text": "ask", "raw": Blob.of(b"never kept")})
            await engine.wait_until_resting(missing.case)
            with pytest.raises(UnknownCase):
                await export_case(engine.reader, 77)
            return token, waiting, export.as_json(), (await export_case(engine.reader, missing.case)).as_json(), blob

    token, waiting, ended, missing, blob = run(main())

    assert token not in json.dumps(waiting)
    assert ended["case"]["outcome"] == "sent"
    assert ended["state"]["kind"] == "about ask"
    assert {"revision": 1, "field": "text", "value": "ask", "writer": "", "appends": False} in ended["fields"]
    assert [event["kind"] for event in ended["events"]][0::100] == ["accepted"]
    assert [(effect["status"], effect["outcome"]) for effect in ended["effects"]] == [("done", {"receipt": "sent about ask"})]
    assert [(pause["name"], pause["closed_by"]) for pause in ended["pauses"]] == [("approval", "bob")]
    assert ended["blobs"] == [{"sha256": blob.sha256, "size": 3, "file": blob.sha256}]
    assert (tmp_path / "blobs" / blob.sha256).read_bytes() == b"raw"
    assert [one["file"] for one in missing["blobs"]] == [None]


def test_the_vacuum_shrinks_the_file(on_disk: Place) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with on_disk.open(mails(RETENTION), clock=clock) as engine:
            for number in range(20):
                await dealt_with(engine, f"spam {number} " + "x" * 50_000)
            clock.advance(8 * DAY)
            return await engine.vacuum(), await dealt_with(engine, "ask")

    vacuumed, case = run(main())

    assert vacuumed.cases == 20
    assert vacuumed.size > 1_000_000
    assert on_disk.path.stat().st_size < 500_000
    with closing(sqlite3.connect(on_disk.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT id FROM cases").fetchall() == [(case,)]
