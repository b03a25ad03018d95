"""What a long case costs: its own bytes once, and of its history only what its state is made of."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from pointsman import Engine, Log, Process, State, finish, otherwise, when
from pointsman.store import sqlite_core, sqlite_reader
from pointsman.store.statements import statements
from pointsman.store.stored_rows import LATEST

BODY_BYTES = 10_000
MESSAGES = 200


class Mail(BaseModel):
    number: int
    text: str


class Thread(State):
    first: str
    mails: Log[Mail] = Field(default_factory=list)
    newest: Mail | None = None
    answer: str | None = None


def thread(order: Any = None) -> Process[Thread]:
    process = Process("thread", Thread)
    ask = process.pause(writes="answer", answer=str, shows=("mails", "newest"))
    process.accept(
        Mail,
        name="more",
        writes="mails",
        correlate=lambda mail: "one",
        key=lambda mail: str(mail.number),
        while_open="append",
        order=order,
        starts=False,
    )
    process.accept(Mail, name="newer", writes="newest", correlate=lambda mail: "one", key=lambda mail: str(mail.number), starts=False)
    process.rules(when("no answer", lambda c: c.answer is None or len(c.mails) < 0, ask), otherwise(finish("answered")))
    return process


@contextmanager
def read_rows() -> Iterator[list[int]]:
    """Count the rows of fields that are read and decoded."""
    counts: list[int] = []

    def counted(rows: Any) -> Any:
        counts.append(len(rows))
        return real(rows)

    real = sqlite_reader.field_rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_reader, "field_rows", counted)
        patch.setattr(sqlite_core, "field_rows", counted)
        yield counts


async def filled(path: Path, name: str, messages: int) -> None:
    """A case that waits, and takes in one message after the other."""
    async with Engine.open(path, [thread()]) as engine:
        case = (await engine.start("thread", Thread(first="x"), correlation="one")).case
        for number in range(messages):
            await engine.wait_until_resting(case)
            await engine.send("thread", Mail(number=number, text=f"{number:05} ".ljust(BODY_BYTES, "x")), name=name)
        await engine.wait_until_resting(case)
        state = await engine.state(case, Thread)
        assert len(state.mails) == (messages if name == "more" else 0)


def stored_bytes(path: Path) -> tuple[int, int]:
    """The bytes of all values and messages, and those of the file."""
    with closing(sqlite3.connect(path)) as connection:
        [values] = connection.execute("SELECT sum(length(value)) FROM fields").fetchone()
        [bodies] = connection.execute("SELECT total(length(body)) FROM messages").fetchone()
    return values + bodies, path.stat().st_size


def test_two_hundred_messages_in_a_log_take_their_own_bytes_and_are_never_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cases.db"
    with read_rows() as counts:
        asyncio.run(filled(path, "more", MESSAGES))
    stored, size = stored_bytes(path)
    own = MESSAGES * BODY_BYTES

    async def look_again() -> int:
        async with Engine.open(path, [thread()]) as engine:
            return len((await engine.state(1, Thread)).mails)

    with read_rows() as afresh:
        assert asyncio.run(look_again()) == MESSAGES
    assert sum(afresh) == MESSAGES + 2  # another engine reads it once: the first field, the log at the start, and the items

    with capsys.disabled():
        print(
            f"\n{MESSAGES} messages of {BODY_BYTES} bytes in a log: {stored / own:.2f} x stored, file {size / own:.2f} x, {sum(counts)} rows read"
        )
    assert stored <= 1.1 * own
    assert size <= 2 * own
    assert sum(counts) <= MESSAGES  # the engine knows the case that it has moved; reading the log each time would be 20,000


class Growing(State):
    size: int
    entries: Log[str] = Field(default_factory=list)


@pytest.mark.parametrize(("size", "most"), [(100, 1.7), (288, 1.3), (1_000, 1.45)])
def test_a_list_of_a_thousand_items_that_grows_by_one_a_step_costs_little_more_than_the_list(
    tmp_path: Path, size: int, most: float
) -> None:
    path = tmp_path / "cases.db"
    process = Process("growing", Growing, steps_max=2_000)

    @process.node(writes="entries")
    async def add(size: int) -> str:
        return "x" * (size - len('""'))

    process.rules(when("items are missing", lambda c: len(c.entries) < 1_000, add), otherwise(finish("grown")))

    async def main() -> None:
        async with Engine.open(path, []):
            pass
        empty = path.stat().st_size
        async with Engine.open(path, [process]) as engine:
            await engine.wait_until_resting((await engine.start(process, Growing(size=size))).case)
        weight, _ = stored_bytes(path)
        assert weight > 1_000 * size
        assert path.stat().st_size - empty <= most * weight  # each item has a row, and a place in the index, of about 60 bytes

    asyncio.run(main())


def steps_of(connection: sqlite3.Connection, case: int) -> int:
    """How many steps SQLite's machine takes to find the state of a case."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count, 1)
    connection.execute(statements("sqlite")["select_fields"], {"case": case, "revision": LATEST}).fetchall()
    connection.set_progress_handler(None, 1)
    return steps


def test_the_state_of_a_long_case_is_found_by_the_index(tmp_path: Path) -> None:
    steps = {}
    for messages in (10, 40):
        path = tmp_path / f"{messages}.db"
        asyncio.run(filled(path, "newer", messages))
        with closing(sqlite3.connect(path)) as connection:
            steps[messages] = steps_of(connection, 1)
            plan = connection.execute(
                "EXPLAIN QUERY PLAN " + statements("sqlite")["select_fields"], {"case": 1, "revision": LATEST}
            ).fetchall()
    told = [row[3] for row in plan]

    assert steps[40] == steps[10]
    assert not [line for line in told if line.startswith("SCAN") and not line.startswith(("SCAN names", "SCAN whole", "SCAN CONSTANT"))]
    assert [line for line in told if "journal USING INDEX journal_of_case (case_id=? AND field=?" in line]


def test_the_view_shows_logs_as_the_engine_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    asyncio.run(filled(path, "more", 3))

    with closing(sqlite3.connect(path)) as connection:
        [(numbers, first)] = connection.execute(
            "SELECT json_extract(state, '$.mails[0].number', '$.mails[2].number'), json_extract(state, '$.first') FROM states WHERE id = 1"
        ).fetchall()
        plan = " ".join(row[3] for row in connection.execute("EXPLAIN QUERY PLAN SELECT state FROM states WHERE id = 1").fetchall())

    assert (numbers, first) == ("[0,2]", "x")
    assert "SCAN journal" not in plan


def test_a_log_in_an_order_costs_its_items_as_long_as_they_come_in_it(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    process = thread(order=lambda mail: mail.number)

    async def main() -> list[int]:
        async with Engine.open(path, [process]) as engine:
            case = (await engine.start(process, Thread(first="x"), correlation="one")).case
            for number in (*range(1, 41), 0):
                await engine.wait_until_resting(case)
                await engine.send(process, Mail(number=number, text="x" * 1_000), name="more")
            await engine.wait_until_resting(case)
            return [mail.number for mail in (await engine.state(case, Thread)).mails]

    assert asyncio.run(main()) == list(range(41))
    stored, _ = stored_bytes(path)
    assert stored <= 2.2 * 41 * 1_000  # each once, and all of them once more for the one that came late
