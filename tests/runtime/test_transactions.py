"""Transactions: the author's rows, the field and the events are one commit, on the engine's own database."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from typing import Any

import pytest
from places import Place, run
from test_messages import Mail, mail

from pointsman import Database, DefinitionError, Failure, Process, Retry, State, Status, finish, otherwise, when


class Booking(State):
    mail: Mail
    seat: int | None = None


ONCE = Retry(attempts_max=1)


def booking(during: Any = None, retry: Retry = ONCE) -> Process[Booking]:
    process = Process("booking", Booking)

    @process.transaction(writes="seat", retry=retry)
    def book(mail: Mail, *, db: Database) -> int:
        db.execute("CREATE TABLE IF NOT EXISTS seats (seat INTEGER PRIMARY KEY, who TEXT)")
        db.execute("INSERT INTO seats (who) VALUES (?)", (mail.text,))
        [(seat,)] = db.execute("SELECT max(seat) FROM seats")
        if during is not None:
            during(db)
        return int(seat)

    process.accept(Mail, writes="mail", correlate=lambda m: m.thread, key=lambda m: m.id)
    process.rules(when("no seat", lambda c: c.seat is None, book), otherwise(finish("booked")))
    return process


def seats(place: Place) -> list[Any]:
    if place.store is not None:
        return place.store.core.connection.execute("SELECT who FROM seats ORDER BY seat").fetchall()
    with closing(sqlite3.connect(place.path)) as connection:
        return connection.execute("SELECT who FROM seats ORDER BY seat").fetchall()


def test_rows_and_field_are_there_together(place: Place) -> None:
    async def main() -> None:
        async with place.open(booking()) as engine:
            cases = await asyncio.gather(*(engine.start("booking", Booking(mail=mail(n))) for n in range(5)))
            await engine.idle()
            taken = sorted([(await engine.state(started.case)).seat for started in cases])
            assert taken == [1, 2, 3, 4, 5]
            assert [(await engine.case(started.case)).outcome for started in cases] == ["booked"] * 5
        assert len(seats(place)) == 5

    run(main())


def test_a_transaction_that_raises_leaves_no_row_and_is_tried_again(place: Place) -> None:
    calls: list[int] = []

    def during(db: Database) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("not this time")

    async def main() -> None:
        async with place.open(booking(during, Retry(attempts_max=2, first_seconds=0))) as engine:
            case = (await engine.start("booking", Booking(mail=mail(1)))).case
            await engine.idle()
            assert (await engine.state(case)).seat == 1
        assert seats(place) == [("text 1",)]

    run(main())


def test_a_transaction_that_keeps_failing_parks_the_case(place: Place) -> None:
    def during(db: Database) -> None:
        db.execute("INSERT INTO nowhere VALUES (1)")

    async def main() -> None:
        async with place.open(booking(during)) as engine:
            case = (await engine.start("booking", Booking(mail=mail(1)))).case
            row = await engine.wait_until_resting(case)
            assert row.status is Status.PARKED
            assert "nowhere" in (row.reason or "")

    run(main())


class Recorded(State):
    who: str
    seat: int | Failure | None = None


def test_a_transaction_that_fails_for_good_can_be_recorded_and_leaves_no_row(place: Place) -> None:
    process = Process("recorded", Recorded)

    @process.transaction(writes="seat", retry=ONCE, on_failure="record")
    def book(who: str, *, db: Database) -> int:
        db.execute("CREATE TABLE IF NOT EXISTS seats (seat INTEGER PRIMARY KEY, who TEXT)")
        db.execute("INSERT INTO seats (who) VALUES (?)", (who,))
        if who == "bob":
            raise ValueError("no room for bob")
        return 1

    process.rules(when("no seat", lambda c: c.seat is None, book), otherwise(finish("decided")))

    async def main() -> None:
        async with place.open(process) as engine:
            await engine.wait_until_resting((await engine.start(process, {"who": "anna"})).case)
            case = (await engine.start(process, {"who": "bob"})).case
            assert (await engine.wait_until_resting(case)).outcome == "decided"
            seat = (await engine.state(case)).seat
            assert isinstance(seat, Failure)
            assert seat.message == "no room for bob"
        assert seats(place) == [("anna",)]

    run(main())


def test_a_cancel_during_a_transaction_ends_the_case_and_keeps_its_rows(on_disk: Place) -> None:
    async def main() -> None:
        loop, reached, gate = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def during(db: Database) -> None:
            loop.call_soon_threadsafe(reached.set)
            gate.wait()

        async with on_disk.open(booking(during)) as engine:
            case = (await engine.start("booking", Booking(mail=mail(1)))).case
            await reached.wait()
            cancel = asyncio.create_task(engine.cancel(case, by="anna", why="withdrawn"))
            await asyncio.sleep(0)
            gate.set()
            row = await cancel
            assert (row.status, row.reason, (await engine.state(case)).seat) == (Status.CANCELLED, "withdrawn", 1)
            assert [event.kind for event in await engine.reader.events(case=case)][-2:] == ["node.succeeded", "cancelled"]
        assert len(seats(on_disk)) == 1

    run(main())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cases SET status = 'done'",
        "DELETE FROM events",
        "INSERT INTO meta VALUES ('a', 'b')",
        "REPLACE INTO main.FIELDS SELECT * FROM fields",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT x",
        "PRAGMA user_version = 99",
        "PRAGMA writable_schema = ON",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "DROP TABLE effects",
        "DROP TABLE IF EXISTS main.Effects",
        "DROP VIEW states",
        "DROP INDEX cases_due",
        "DROP INDEX main.messages_pending",
        "ALTER TABLE cases ADD COLUMN colour TEXT",
        "ALTER TABLE cases DROP COLUMN reason",
        "ALTER TABLE messages RENAME TO letters",
        "ALTER TABLE fields RENAME COLUMN value TO worth",
        "CREATE INDEX more ON cases (reason)",
        "ANALYZE cases",
        "CREATE TRIGGER t AFTER INSERT ON events BEGIN SELECT 1; END",
        "CREATE TEMP TRIGGER t AFTER INSERT ON events BEGIN SELECT 1; END",
        "CREATE TEMP TABLE Cases (id INTEGER)",
        "CREATE TEMP VIEW messages AS SELECT 1 AS id",
        "INSERT OR ROLLBACK INTO seats (seat, who) VALUES (1, 'it would take back what other cases have written')",
        "CREATE TABLE more (seat INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)",
    ],
)
def test_a_transaction_cannot_change_the_engines_tables_or_file(on_disk: Place, statement: str) -> None:
    """It is told the statement and the mend, at the first attempt, and the tables stay as they are."""

    def schema() -> list[Any]:
        with closing(sqlite3.connect(on_disk.path)) as connection:
            return connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall()

    async def main() -> None:
        async with on_disk.open(booking(lambda db: db.execute(statement), Retry(attempts_max=3))) as engine:
            before = schema()
            case = (await engine.start("booking", Booking(mail=mail(1)))).case
            row = await engine.wait_until_resting(case)
            assert row.status is Status.PARKED
            assert "failed after 1 attempt: " in (row.reason or "")
            assert f"`{statement}`: not authorized, as " in (row.reason or "")
            assert "; " in (row.reason or "")
            assert schema() == before

    run(main())


def test_a_trigger_of_the_authors_own_writes_nothing_of_the_engines(on_disk: Place) -> None:
    """It is found out when it would run, which is in a transaction too."""

    def during(db: Database) -> None:
        db.execute("CREATE TRIGGER IF NOT EXISTS t AFTER UPDATE ON seats BEGIN UPDATE cases SET reason = 'mine'; END")
        db.execute("UPDATE seats SET who = 'x'")

    async def main() -> None:
        async with on_disk.open(booking(during)) as engine:
            case = (await engine.start("booking", Booking(mail=mail(1)))).case
            row = await engine.wait_until_resting(case)
            assert "'cases' is the engine's own" in (row.reason or "")

    run(main())


def test_the_authors_own_tables_are_made_altered_and_dropped_freely(place: Place) -> None:
    def during(db: Database) -> None:
        for statement in (
            "CREATE TABLE IF NOT EXISTS rooms (id INTEGER PRIMARY KEY, name TEXT)",
            "CREATE INDEX IF NOT EXISTS rooms_named ON rooms (name)",
            "CREATE TRIGGER told AFTER INSERT ON rooms BEGIN UPDATE seats SET who = new.name; END",
            "INSERT INTO rooms (name) VALUES ('blue')",
            "ALTER TABLE rooms ADD COLUMN floor INTEGER",
            "ALTER TABLE rooms RENAME COLUMN floor TO level",
            "ALTER TABLE rooms DROP COLUMN level",
            "CREATE VIEW named AS SELECT name FROM rooms",
            "DROP TRIGGER told",
            "DROP VIEW named",
            "DROP INDEX rooms_named",
            "ALTER TABLE rooms RENAME TO chambers",
            "ANALYZE chambers",
            "DROP TABLE chambers",
        ):
            db.execute(statement)

    async def main() -> None:
        async with place.open(booking(during)) as engine:
            row = await engine.wait_until_resting((await engine.start("booking", Booking(mail=mail(1)))).case)
            assert row.outcome == "booked", row.reason
        assert seats(place) == [("blue",)]

    run(main())


def test_a_handle_is_good_until_its_transaction_is_over(place: Place) -> None:
    kept: list[Database] = []

    async def main() -> None:
        async with place.open(booking(kept.append)) as engine:
            await engine.wait_until_resting((await engine.start("booking", Booking(mail=mail(1)))).case)
            with pytest.raises(DefinitionError, match="the transaction is over"):
                kept[0].execute("DELETE FROM seats")

    run(main())


def test_a_message_that_is_committed_first_rolls_the_rows_back(place: Place) -> None:
    """The seat is booked for the mail that stands, and for no other."""

    async def main() -> None:
        async with place.open(booking()) as engine:
            store = engine._store
            sent: list[Any] = []
            transact = store.transact

            async def late(work: Any) -> int:
                if not sent:
                    sent.append(await engine.send("booking", mail(2)))
                return await transact(work)

            store.transact = late  # type: ignore[method-assign]
            case = (await engine.send("booking", mail(1))).case or 0
            await engine.idle()
            assert (await engine.state(case)).mail.id == "m2"
            assert (await engine.case(case)).outcome == "booked"
        assert seats(place) == [("text 2",)]

    run(main())


def test_an_invalid_transaction_is_refused() -> None:
    process = Process("p", Booking)
    with pytest.raises(DefinitionError, match="db: Database"):

        @process.transaction(writes="seat")
        def book(mail: Mail) -> int:
            return 1
