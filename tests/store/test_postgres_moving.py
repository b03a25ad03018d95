"""`pointsman move`: the cases of a file go on in a PostgreSQL database, or stay where they are."""

import asyncio
import json
import shutil
import sqlite3
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import psycopg
import pytest
from moving_world import LEASE_SECONDS, World, go_on, make_file, opened
from typer.testing import CliRunner

from pointsman import Engine, Status, StoreError, ValueRefused, open_reader
from pointsman.cli.main import app
from pointsman.integrations.langgraph import PointsmanSaver
from pointsman.kernel.rows import FieldWrite, NewCase, Transition
from pointsman.store import moving
from pointsman.store.postgres import arriving
from pointsman.store.postgres.connections import Connections, place_of, rows_of
from pointsman.store.postgres.reader import PostgresReader
from pointsman.store.postgres.store import open_postgres
from pointsman.store.sqlite import open_sqlite
from pointsman.store.statements import migrations, statements
from postgres_proxy import Proxy
from postgres_server import Server
from tiers import figure, seed

pytestmark = pytest.mark.usefixtures("patient")

T = TypeVar("T")

NOT_MOVED = {"engines", "commits", "small_writes", "case_counts", "meta", "users", "tokens", "sessions", "audit"}
LITTLE_BYTES = 1_000_000  # far less than 5,000 cases of a kilobyte
LEFT_OUT = {("cases", "engine"), ("cases", "rank"), ("cases", "need"), ("cases", "still_rule"), ("cases", "still_at")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    """The file, and the world as its cases have left it."""
    path = tmp_path_factory.mktemp("made") / "cases.db"
    return path, make_file(path)


@pytest.fixture
def file(made: tuple[Path, World], tmp_path: Path) -> Path:
    """A copy of the file."""
    return Path(shutil.copy(made[0], tmp_path / "cases.db"))


@pytest.fixture
def world(made: tuple[Path, World]) -> World:
    """The world as the cases of the file have left it."""
    world = World()
    world.sent = list(made[1].sent)
    return world


def pointsman(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.exit_code, done.output


def move(file: Path, url: str, **more: Any) -> moving.Moving:
    return asyncio.run(moving.move(file, url, **{"now": 1_800_000_000.0, "tell": lambda *_: None, **more}))


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in the schema of a URL."""
    place = place_of(url)
    with psycopg.connect(place.conninfo, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {place.schema}".encode())
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def in_file(file: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


def read(url: str, what: Callable[[PostgresReader], Awaitable[T]]) -> T:
    async def main() -> T:
        connections = Connections(place_of(url))
        await connections.open()
        try:
            [(incarnation,)] = rows(url, "SELECT value FROM meta WHERE name = 'incarnation'")
            return await what(PostgresReader(connections, incarnation))
        finally:
            await connections.close()

    return asyncio.run(main())


async def everything(reader: Any, cases: int) -> Any:
    """All that a reader says of each case, without the cursors of its events."""
    dossiers = [await reader.dossier(case) for case in range(1, cases + 1)]
    plain = [one and one._replace(events=tuple(event._replace(cursor="") for event in one.events)) for one in dossiers]
    return {
        "cases": plain,
        "places": await reader.count_places(),
        "usage": [await reader.usage_of_case(case) for case in range(1, cases + 1)],
        "days": await reader.usage_of_days("orders", 0, 99_999),
        "limits": await reader.limits(),
        "paused": await reader.intake_paused(),
        "definitions": await reader.definitions(),
        "private": await reader.private(),
    }


def test_a_case_that_has_moved_ends_as_its_twin_that_stayed(file: Path, world: World, tmp_path: Path, postgres_url: str) -> None:
    twin, twins_world = Path(shutil.copy(file, tmp_path / "twin.db")), World()
    twins_world.sent = list(world.sent)

    move(file, postgres_url)

    assert asyncio.run(go_on(postgres_url, world)) == asyncio.run(go_on(twin, twins_world))
    assert len(world.sent) == len(set(world.sent)) > 5


def test_everything_that_a_reader_sees_is_there(file: Path, postgres_url: str) -> None:
    with open_reader(file) as reader:
        count = len(asyncio.run(reader.cases()))
        here = asyncio.run(everything(reader, count))

    move(file, postgres_url)

    assert read(postgres_url, lambda reader: everything(reader, count)) == here


def test_every_table_is_full_and_every_column_is_moved(file: Path, postgres_url: str) -> None:
    """A table or a column that a later release adds must be moved too, or stand in the lists above."""
    moved = move(file, postgres_url)

    schema = place_of(postgres_url).schema
    columns = rows(
        postgres_url,
        f"SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)"
        f" WHERE table_schema = '{schema}' AND table_type = 'BASE TABLE'",
    )
    with closing(sqlite3.connect(file)) as connection:
        sql = statements("sqlite")
        told = {(table, column[0]) for table in moving.TABLES for column in connection.execute(sql[f"moved_{table}"]).description}
    assert {one for one in columns if one[0] not in NOT_MOVED} - told == LEFT_OUT
    assert [table.table for table in moved.tables if not table.rows] == []


def test_threads_of_langgraph_go_on(file: Path, postgres_url: str) -> None:
    config: Any = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}
    with PointsmanSaver.open(file) as saver:
        here = list(saver.list(config))

    move(file, postgres_url)

    with PointsmanSaver.open(postgres_url) as saver:
        assert list(saver.list(config)) == here
        assert here[0].checkpoint["channel_values"]["a"][399] == "x" * 1_000


def test_a_cursor_of_the_file_goes_on_in_the_database(file: Path, world: World, postgres_url: str) -> None:
    with open_reader(file) as reader:
        events = asyncio.run(reader.events(limit=1_000))
    move(file, postgres_url)

    async def after_each(reader: PostgresReader) -> None:
        for place, event in enumerate(events):
            rest = await reader.events(after=event.cursor)
            assert [one[1:] for one in rest] == [one[1:] for one in events[place + 1 :]]
            of_case = await reader.events(after=event.cursor, case=event.case)
            assert [one[1:] for one in of_case] == [one[1:] for one in events[place + 1 :] if one.case == event.case]
        assert await reader.events(after="999999999999") == []

    read(postgres_url, after_each)


def test_a_cursor_of_a_file_is_refused_where_nothing_has_moved(postgres_url: str) -> None:
    pointsman("migrate", postgres_url)

    with pytest.raises(ValueRefused, match="is not the cursor of an event"):
        read(postgres_url, lambda reader: reader.events(after="7"))


def test_new_cases_and_messages_are_numbered_behind_those_that_moved(file: Path, postgres_url: str) -> None:
    highest = in_file(file, "SELECT max(id) FROM cases")[0][0]
    in_file(file, f"INSERT INTO journal (case_id, revision, at, events) VALUES ({highest + 5}, 0, 1.0, NULL)")  # a case that has expired

    move(file, postgres_url)

    async def main() -> tuple[int, int]:
        async with opened(postgres_url, World()) as engine:
            await engine.resume_intake()
            return (await engine.start("days", {"begun": "x"})).case, (await engine.send("orders", "nobody:x", name="note")).case or 0

    assert asyncio.run(main()) == (highest + 6, 0)
    assert len(rows(postgres_url, "SELECT 1 FROM messages")) == len(in_file(file, "SELECT 1 FROM messages")) + 1


def test_cases_that_a_dead_engine_left_running_are_recovered(file: Path, postgres_url: str) -> None:
    [(case, interruptions)] = in_file(file, "SELECT id, interruptions FROM cases WHERE status = 'waiting' LIMIT 1")
    in_file(file, f"UPDATE cases SET status = 'running', wake_at = NULL, attempts = 1 WHERE id = {case}")

    move(file, postgres_url)

    assert rows(postgres_url, f"SELECT status, interruptions, attempts FROM cases WHERE id = {case}") == [("ready", interruptions + 1, 0)]


# The command.


def test_the_command_tells_what_moved_and_can_be_run_again(file: Path, postgres_url: str) -> None:
    code, told = pointsman("move", "--from", file, "--to", postgres_url, "--dry-run")
    assert (code, told.splitlines()[-1].partition(" would")[0]) == (0, "8 open and 3 ended cases")
    assert "nothing was changed" in told

    code, told = pointsman("move", "--from", file, "--to", postgres_url)
    assert code == 0
    assert told.splitlines()[-1].startswith("8 open and 3 ended cases moved to postgresql://")

    code, told = pointsman("move", "--from", file, "--to", postgres_url)
    assert code == 0
    assert "had moved to" in told.splitlines()[-1]

    code, told = pointsman("move", "--from", file, "--to", postgres_url, "--json")
    found = json.loads(told)
    assert (code, found["open_cases"], found["tables"][0]["table"], len(found["tables"][0]["digest"])) == (0, 8, "cases", 64)


def test_a_dry_run_changes_neither_place(file: Path, postgres_url: str) -> None:
    before = file.read_bytes()

    assert pointsman("move", "--from", file, "--to", postgres_url, "--dry-run")[0] == 0

    assert file.read_bytes() == before
    assert rows(postgres_url, f"SELECT 1 FROM pg_namespace WHERE nspname = '{place_of(postgres_url).schema}'") == []


def test_a_move_of_more_cases_takes_no_more_memory(tmp_path: Path, postgres: Server, capsys: pytest.CaptureFixture[str]) -> None:
    peaks = []
    for cases in (1_000, 6_000):
        file = tmp_path / f"{cases}.db"
        asyncio.run(fill(file, cases))
        with postgres.schema() as url:
            tracemalloc.start()
            moved = move(file, url)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert moved.open_cases == cases

    with capsys.disabled():
        print(f"\n1,000 cases: {peaks[0]:,} bytes at most; 6,000 cases: {peaks[1]:,}")
    assert peaks[1] < peaks[0] + LITTLE_BYTES


async def fill(file: Path, cases: int) -> None:
    """Write waiting cases with a field of a kilobyte each."""
    store = await open_sqlite(file, now=10.0)
    numbers = await store.reserve(cases)
    fields = [FieldWrite("message", json.dumps("x" * 1_000), "")]
    await asyncio.gather(
        *(store.commit(Transition(case, 0, 0, 10.0, Status.WAITING, new=NewCase("p", 1, f"k{case}"), fields=fields)) for case in numbers)
    )
    await store.close()


def test_the_authors_own_tables_are_named(file: Path, postgres_url: str) -> None:
    in_file(file, "CREATE TABLE seats (seat INTEGER PRIMARY KEY)")

    assert "do not move: seats\n" in pointsman("move", "--from", file, "--to", postgres_url)[1]


# What is refused.


def refused(*arguments: object) -> str:
    code, told = pointsman("move", *arguments)
    assert (code, told.count("\n")) == (1, 1), told
    return told


def test_an_engine_does_not_open_a_file_that_has_moved(file: Path, postgres_url: str) -> None:
    move(file, postgres_url)

    for way in (open_sqlite(file, now=1.0), go_on(file, World())):
        with pytest.raises(StoreError, match=r"have moved to postgresql://\S+; open that instead\.$"):
            asyncio.run(way)
    with open_reader(file) as reader:
        assert len(asyncio.run(reader.cases())) == 11  # what was there can still be read
    code, told = pointsman("ps", "--db", file)
    assert (code, "have moved to postgresql://" in told) == (0, True), told


def test_a_file_that_is_in_use_is_refused(file: Path, postgres_url: str) -> None:
    async def main() -> None:
        async with Engine.open(file, []):
            for more in ((), ("--dry-run",)):
                assert "open in another engine" in await asyncio.to_thread(refused, "--from", file, "--to", postgres_url, *more)

    asyncio.run(main())


def test_what_is_no_file_of_this_release_is_refused_and_not_changed(file: Path, tmp_path: Path, postgres_url: str) -> None:
    newest = migrations("sqlite")[-1][0]
    for version, told in ((newest - 1, "an earlier release"), (newest + 1, "a newer release")):
        in_file(file, f"PRAGMA user_version = {version}")
        assert told in refused("--from", file, "--to", postgres_url)
        assert in_file(file, "PRAGMA user_version") == [(version,)]
    assert "does not exist" in refused("--from", tmp_path / "none.db", "--to", postgres_url)
    assert not (tmp_path / "none.db").exists()
    assert "and not back" in refused("--from", postgres_url, "--to", file)
    assert "is not the URL" in refused("--from", file, "--to", tmp_path / "other.db")


def test_a_database_that_is_in_use_or_has_content_is_refused(file: Path, postgres_url: str) -> None:
    async def main() -> None:
        async with Engine.open(postgres_url, [], lease_seconds=LEASE_SECONDS):
            assert "is open in an engine" in await asyncio.to_thread(refused, "--from", file, "--to", postgres_url)

    asyncio.run(main())
    asyncio.run(open_and_leave(postgres_url))
    for more in (("--dry-run",), ()):
        assert "has content of its own (in definitions" in refused("--from", file, "--to", postgres_url, *more)
    with open_reader(file) as reader:
        assert len(asyncio.run(reader.cases())) == 11
    asyncio.run(open_and_leave(file))


async def open_and_leave(place: Path | str) -> None:
    async with opened(place, World()):
        pass


def test_a_second_file_does_not_move_into_the_same_database(file: Path, tmp_path: Path, postgres_url: str) -> None:
    other = tmp_path / "other.db"
    asyncio.run(open_and_leave(other))
    move(file, postgres_url)

    assert "has content of its own" in refused("--from", other, "--to", postgres_url)


def test_a_file_does_not_move_twice(file: Path, postgres: Server, postgres_url: str) -> None:
    move(file, postgres_url)

    with postgres.schema() as url:
        assert "have moved to" in refused("--from", file, "--to", url)
        assert rows(url, f"SELECT 1 FROM pg_namespace WHERE nspname = '{place_of(url).schema}'") == []


def test_a_text_that_postgresql_cannot_store_is_named_before_anything_moves(file: Path, postgres_url: str) -> None:
    in_file(file, "UPDATE cases SET reason = 'a' || char(0) WHERE id = 2")

    for more in (("--dry-run",), ()):
        assert "the column reason of cases (id 2)" in refused("--from", file, "--to", postgres_url, *more)
    asyncio.run(open_and_leave(file))


def test_a_row_that_postgresql_cannot_store_is_named(file: Path, postgres_url: str) -> None:
    key = "".join(chr(Random(7 + place).randint(0x4E00, 0x9FFF)) for place in range(3_000))  # nothing to compress
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE cases SET key = ? WHERE id = 2", (key,))

    assert "row 2 of cases (index row" in refused("--from", file, "--to", postgres_url)
    asyncio.run(open_and_leave(file))


def test_no_time_limit_of_the_role_ends_a_move(postgres: Server, postgres_url: str) -> None:
    newer = postgres.execute("SELECT 1 FROM pg_settings WHERE name = 'transaction_timeout'")
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", *(["transaction_timeout"] if newer else [])]
    url = f"{postgres_url}&options={'%20'.join(f'-c%20{name}%3D600s' for name in names)}"

    async def main() -> list[Any]:
        async with arriving.arriving(url) as database:
            found = [await rows_of(database._connection, f"SHOW {name}") for name in names]
            await database.set_moved_from("x")
            return found

    assert asyncio.run(main()) == [[("0",)]] * len(names)


# The proof.


CHANGED = {
    "one value": "UPDATE {schema}.effects SET attempts = attempts + 1 WHERE key = (SELECT min(key) FROM {schema}.effects)",
    "one row less": "DELETE FROM {schema}.pauses WHERE token = (SELECT min(token) FROM {schema}.pauses)",
    "one row more": "INSERT INTO {schema}.words VALUES ('sneaky', 1, 'customer')",
    "one byte": "UPDATE {schema}.blobs SET content = content || ''::bytea || '\\x00'::bytea",
    "one count": "UPDATE {schema}.case_counts SET cases = cases + 1 WHERE place = 'sent'",
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_row_that_changes_on_its_way_stops_the_move(change: str, file: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the proof: without it, the move would be complete."""
    copy_in = arriving.Arriving.copy_in

    async def and_change(self: Any, table: str, *more: Any) -> None:
        await copy_in(self, table, *more)
        statement = CHANGED[change].replace("{schema}", place_of(postgres_url).schema)
        if f".{table} " in statement or (table == "cases" and ".case_counts " in statement):
            await self._connection.execute(statement)

    monkeypatch.setattr(arriving.Arriving, "copy_in", and_change)

    with pytest.raises(StoreError, match="nothing was moved"):
        move(file, postgres_url)

    assert rows(postgres_url, "SELECT 1 FROM cases") == []
    asyncio.run(open_and_leave(file))


# Interruptions.


class Died(BaseException):
    """The process ended here."""


def stop_at(number: int) -> tuple[Callable[[str], None], list[str]]:
    """Failpoints at which the process ends at the one with this number."""
    seen: list[str] = []

    def point(label: str) -> None:
        seen.append(label)
        if len(seen) == number:
            raise Died

    return point, seen


def opens(place: Path | str) -> bool:
    """Whether an engine opens a place, and finds cases there."""

    async def main() -> bool:
        store = await open_sqlite(place, now=1.0) if isinstance(place, Path) else await open_postgres(place)
        try:
            return bool(await store.reader.cases(limit=1))
        finally:
            await store.close()

    try:
        return asyncio.run(main())
    except StoreError:
        return False


def in_one_place_at_most(file: Path, url: str) -> None:
    """An engine opens a copy of the file, or finds cases in the database, or neither, but never both."""
    copy = Path(shutil.copy(file, file.with_name("copy.db")))
    assert not (opens(copy) and has_cases(url)), "both places can be opened"


def has_cases(url: str) -> bool:
    try:
        return bool(rows(url, "SELECT 1 FROM cases"))
    except psycopg.errors.UndefinedTable:
        return False


def test_a_process_that_dies_at_any_point_of_the_move_loses_and_doubles_nothing(
    made: tuple[Path, World], tmp_path: Path, postgres: Server
) -> None:
    quiet, labels = stop_at(0)
    before: list[bool] = []
    with postgres.schema() as url:
        expected = move(Path(shutil.copy(made[0], tmp_path / "quiet.db")), url, failpoints=quiet)
    for number in range(1, len(labels) + 1):
        if 1 < number < len(moving.TABLES):
            continue  # one table is like another
        file = Path(shutil.copy(made[0], tmp_path / f"{number}.db"))
        with postgres.schema() as url:
            point, seen = stop_at(number)
            with pytest.raises(Died):
                move(file, url, failpoints=point)
            in_one_place_at_most(file, url)

            again = move(file, url)

            assert ([(one.table, one.rows, one.digest) for one in again.tables]) == [
                (one.table, one.rows, one.digest) for one in expected.tables
            ]
            assert not opens(file)
            assert len(rows(url, "SELECT 1 FROM cases")) == 11
            before.append(again.before)
            assert seen[-1] == labels[number - 1]
    assert labels[-4:] == ["move.proven", "move.closed", "move.committed", "move.finished"]
    assert before == [False] * (len(before) - 2) + [True] * 2  # only the commit of the database is not repeated


def test_a_file_whose_move_was_interrupted_is_not_opened_until_it_is_finished(file: Path, postgres_url: str) -> None:
    point, _ = stop_at(len(moving.TABLES) + 2)  # the file is closed, and nothing is committed in the database
    with pytest.raises(Died):
        move(file, postgres_url, failpoints=point)

    assert not opens(file)
    with pytest.raises(StoreError, match="are being moved to postgresql"):
        asyncio.run(open_and_leave(file))
    assert "are being moved to" in refused("--from", file, "--to", postgres_url.replace("schema=", "schema=x"))

    assert not move(file, postgres_url).before


@pytest.mark.parametrize(("cut", "before"), [("before", False), ("after", True)])
def test_an_unanswered_commit_is_found_out_by_the_next_run(cut: Any, before: bool, file: Path, postgres_url: str) -> None:
    with Proxy(postgres_url) as proxy:
        points = {"move.closed": lambda: proxy.cut_at_commit(cut)}
        with pytest.raises(StoreError):
            move(file, proxy.url, failpoints=lambda label: points.get(label, lambda: None)())
        in_one_place_at_most(file, postgres_url)

        assert move(file, proxy.url).before is before

    assert len(rows(postgres_url, "SELECT 1 FROM cases")) == 11


def test_a_connection_that_ends_at_any_statement_loses_and_doubles_nothing(
    made: tuple[Path, World], tmp_path: Path, postgres: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with postgres.schema() as url, Proxy(url) as proxy:
        move(Path(shutil.copy(made[0], tmp_path / "quiet.db")), proxy.url)
        count = proxy.statements
    chance = Random(seed())
    numbers = sorted(chance.sample(range(1, count + 1), min(count, figure("MOVE_CUTS", 5))))
    for number in numbers:
        file = Path(shutil.copy(made[0], tmp_path / f"{number}.db"))
        with postgres.schema() as url, Proxy(url) as proxy:
            proxy.cut_at_number(number, chance.choice(("before", "after")))
            try:
                move(file, proxy.url)
            except StoreError:
                in_one_place_at_most(file, url)
            assert proxy.cuts == 1

            move(file, proxy.url)

            assert len(rows(url, "SELECT 1 FROM cases")) == 11
            assert len(rows(url, "SELECT 1 FROM journal")) == len(in_file(file, "SELECT 1 FROM journal"))
    with capsys.disabled():
        print(f"\n{len(numbers)} of {count} statements cut: nothing lost, nothing doubled (seed {seed()})")


def test_a_move_that_is_undone_by_hand_leaves_the_file_as_it_was(file: Path, world: World, postgres_url: str) -> None:
    """As docs/postgres.md says."""
    move(file, postgres_url)
    rows(postgres_url, f"DROP SCHEMA {place_of(postgres_url).schema} CASCADE")
    in_file(file, "DELETE FROM meta WHERE name = 'moved'")

    assert len(asyncio.run(go_on(file, world))["cases"]) > 11


def test_a_file_that_has_changed_since_its_cases_came_is_refused(file: Path, world: World, postgres_url: str) -> None:
    move(file, postgres_url)
    in_file(file, "DELETE FROM meta WHERE name = 'moved'")
    asyncio.run(go_on(file, world))

    assert "has changed since its cases came" in refused("--from", file, "--to", postgres_url)
