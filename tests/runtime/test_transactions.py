"""Transactions: the author's rows, the field and the events are one commit, on the engine's own database."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from places import Place, run
from test_messages import Mail, mail

from pointsman import Database, DefinitionError, Process, Retry, State, Status, finish, otherwise, when


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
        [rows] = place.store._rows
        return rows.execute("SELECT who FROM seats ORDER BY seat").fetchall()
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
            row = await engine.settled(case)
            assert row.status is Status.PARKED
            assert "nowhere" in (row.reason or "")

    run(main())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cases SET status = 'done'",
        "DELETE FROM events",
        "INSERT INTO meta VALUES ('a', 'b')",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT x",
        "PRAGMA user_version = 99",
        "ATTACH ':memory:' AS other",
        "DROP TABLE effects",
        "CREATE TRIGGER t AFTER INSERT ON events BEGIN SELECT 1; END",
        "CREATE TEMP TRIGGER t AFTER INSERT ON events BEGIN SELECT 1; END",
        "CREATE TEMP TABLE Cases (id INTEGER)",
        "CREATE TEMP VIEW messages AS SELECT 1 AS id",
        "INSERT OR ROLLBACK INTO seats (seat, who) VALUES (1, 'it would take back what other cases have written')",
        "CREATE TABLE more (seat INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)",
    ],
)
def test_a_transaction_cannot_touch_what_is_the_engines(on_disk: Place, statement: str) -> None:
    async def main() -> None:
        async with on_disk.open(booking(lambda db: db.execute(statement))) as engine:
            case = (await engine.start("booking", Booking(mail=mail(1)))).case
            row = await engine.settled(case)
            assert row.status is Status.PARKED
            assert "not authorized" in (row.reason or "") or "prohibited" in (row.reason or "")

    run(main())


def test_a_message_that_comes_first_takes_the_rows_back(place: Place) -> None:
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


def test_what_is_no_transaction_is_refused() -> None:
    process = Process("p", Booking)
    with pytest.raises(DefinitionError, match="db: Database"):

        @process.transaction(writes="seat")
        def book(mail: Mail) -> int:
            return 1
