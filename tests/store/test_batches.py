"""What one turn of the event loop hands over: how it is divided into commits, and what a refused transition leaves of it."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from pointsman.definition.messages import WhileOpen
from pointsman.errors import Conflict, InboxChanged
from pointsman.kernel.rows import Address, EventWrite, FieldWrite, NewCase, Post, Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.sqlite import BATCH_MAX, open_sqlite


def start(number: int, key: str | None = None) -> Transition:
    fields, events = [FieldWrite("text", '"a"', "")], [EventWrite("accepted", None, 0, "{}")]
    return Transition(number, 0, 0, 2.0, Status.PARKED, new=NewCase("p", 1, key), fields=fields, events=events)


def test_a_turn_with_many_starts_does_not_keep_the_first_one_waiting_for_the_last(tmp_path: Path) -> None:
    async def main() -> None:
        labels: list[str] = []
        store = await open_sqlite(tmp_path / "cases.db", now=1.0, failpoints=labels.append)
        numbers = await store.reserve(BATCH_MAX * 8)
        found = await asyncio.gather(*(store.commit(start(number)) for number in numbers))
        await store.close()

        assert found == [*numbers]
        assert 4 <= labels.count("store.committed") <= 8

    asyncio.run(main())


def move(number: int, revision: int, *fields: FieldWrite, inbox: int | None = None, events: int = 1) -> Transition:
    each = [EventWrite("decided", None, 0, f'{{"at":{revision},"number":{place}}}') for place in range(events)]
    return Transition(number, revision, 0, 3.0, Status.PARKED, inbox=inbox, fields=fields, events=each)


def test_refused_transitions_write_nothing_among_hundreds_that_are_written(tmp_path: Path) -> None:
    """Stale, too late for a message, with a known key: in one turn with others, also with several transitions of one case."""

    async def main() -> None:
        store = await open_sqlite(tmp_path / "cases.db", now=1.0)
        known = [await store.commit(start(number, f"key {number}")) for number in await store.reserve(300)]
        new = [*await store.reserve(600)]
        three = [FieldWrite("text", '"b"', "s"), FieldWrite("log", "[1]", "s", appends=True), FieldWrite("other", None, "s")]
        both: list[tuple[Transition, int | type[Exception]]] = []
        for place, case in enumerate(known):
            kind = place % 5
            if kind == 0:
                both += [(move(case, 1, *three, events=3), case), (move(case, 2, *three), case)]
            elif kind == 1:
                both.append((move(case, 0, *three, events=2), Conflict))
            elif kind == 2:
                both.append((move(case, 1, *three, inbox=1), InboxChanged))
            elif kind == 3:
                both += [(move(case, 1), case), (move(case, 1, *three), Conflict)]
            both.append((start(new[2 * place], f"key {case}"), case))
            both.append((start(new[2 * place + 1], f"new {place}"), new[2 * place + 1]))
        found = await asyncio.gather(*(store.commit(transition) for transition, _ in both), return_exceptions=True)
        await store.append(known[0], [EventWrite("alone", None, 0, "{}")] * 3, at=3.0)

        assert [type(answer) if isinstance(answer, Exception) else answer for answer in found] == [expected for _, expected in both]
        plain = sqlite3.connect(tmp_path / "cases.db")
        written = [transition for transition, answer in both if answer == transition.case]
        ids = [number for (number,) in plain.execute("SELECT id FROM events ORDER BY id")]
        assert len(ids) == len({*ids}) == len(known) + sum(len(transition.events) for transition in written) + 3
        count = "SELECT count(*), sum(field = 'log') FROM fields"
        assert plain.execute(count).fetchone() == (
            len(known) + sum(len(t.fields) for t in written),
            sum(len(t.fields) == 3 for t in written),
        )
        assert plain.execute(
            "SELECT count(*) FROM cases WHERE revision <> (SELECT max(revision) FROM events WHERE case_id = cases.id)"
        ).fetchone() == (0,)
        plain.close()

        for limit in (1, 2, 7, 1_000):
            followed, after = [], ""
            while batch := await store.events(after=after, limit=limit):
                followed += [int(event.cursor) for event in batch]
                after = batch[-1].cursor
            assert followed == ids
        await store.close()

    asyncio.run(main())


def letter(number: int, key: str, thread: str, while_open: WhileOpen = "hold") -> tuple[Post, Transition]:
    new = NewCase("p", 1, None, correlation=thread)
    begun = Transition(number, 0, 0, 2.0, Status.WAITING, new=new, fields=[FieldWrite("text", '"a"', "")])
    return Post(Address("p", "", thread), "letter", key, '"hello"', 2.0, while_open), begun


def test_messages_of_one_turn_start_cases_as_they_would_one_after_the_other(tmp_path: Path) -> None:
    async def main() -> None:
        together = await open_sqlite(tmp_path / "together.db", now=1.0)
        apart = await open_sqlite(tmp_path / "apart.db", now=1.0)
        wanted = [
            *(letter(10 + place, f"new {place}", f"thread {place}") for place in range(20)),
            letter(40, "known", "elsewhere"),
            letter(41, "new 3", "another thread"),
            letter(42, "second", "thread 5"),
            letter(43, "third", "open"),
            letter(44, "fourth", "open", "supersede"),
            letter(45, "fifth", "early"),
            letter(46, "sixth", "thread 6", "new_case"),
            letter(47, "erased", "gone"),
        ]
        for store in (together, apart):
            await store.post(*letter(1, "known", "open"))
            await store.post(Post(Address("p", "", "early"), "letter", "early", '"first"', 1.5))
            await store.post(*letter(2, "erased", "gone"))
            await store.commit(Transition(2, 1, 0, 3.0, Status.CANCELLED, erases=True))

        found = await asyncio.gather(*(together.post(*one) for one in wanted))
        full = await asyncio.gather(
            *(together.post(*letter(50 + place, f"late {place}", f"late {place}"), full=True) for place in range(3))
        )
        one_by_one = [await apart.post(*one) for one in wanted]
        await together.close()
        await apart.close()

        assert found == one_by_one
        assert full == [None] * 3
        assert rows(tmp_path / "together.db") == rows(tmp_path / "apart.db")

    asyncio.run(main())


def rows(path: Path) -> list[list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as plain:
        messages = plain.execute("SELECT name, key, correlation, case_id, status, body, at FROM messages ORDER BY key").fetchall()
        cases = plain.execute("SELECT id, status, revision, correlation, inbox, wake_at FROM cases ORDER BY id").fetchall()
        return [messages, cases, plain.execute("SELECT case_id, field, value FROM fields ORDER BY case_id").fetchall()]
