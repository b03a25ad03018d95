"""The events of a transition in one text: read back as they were written, by the store and by plain SQL."""

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from unittest.mock import ANY

import pytest

from pointsman.kernel.events import OF_PROCESS, SKELETON, Event, Kind, skeleton_of
from pointsman.kernel.rows import EventWrite
from pointsman.kernel.transitions import event_write
from pointsman.store import journal
from pointsman.store.journal import CommonEvents, CommonEventsReader, count_of, rewritten, unpacked
from pointsman.store.sqlite_core import SqliteCore
from pointsman.store.sqlite_file import migrate
from pointsman.store.statements import statements

EVENTS = [
    EventWrite("node.failed", "draft", 2, r'{"message":"a \"quoted\" line\n, [[ and ]]","none":null}'),
    EventWrite("decided", None, 0, "{}"),
    EventWrite("decided", "finish('a\",{\n]')", 0, '{"of":[1,{"two":2.50}]}'),
    EventWrite("entschieden ü", "", 0, '{"an ümlaut":"ü"}'),
]


COMMON = EventWrite("decided", None, 0, '{"rule":"a \\"quoted\\" rule","reads":["text"],"step":"draft"}')
OF_A_CASE = EventWrite("node.failed", "draft", 1, '{"error":"ValueError","message":"Dear Ada"}')
SQL = statements("sqlite")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        migrate(made)
        yield made


def packed(connection: sqlite3.Connection, events: list[EventWrite]) -> str:
    text = CommonEvents(connection, SQL).packed(events)
    assert text is not None
    return text


def shown(connection: sqlite3.Connection, text: str) -> list[EventWrite]:
    """What the view shows of a text."""
    connection.execute("INSERT INTO journal (case_id, revision, at, events) VALUES (1, 1, 1.0, ?)", (text,))
    last = "SELECT kind, step, attempt, facts FROM events WHERE revision = 1 ORDER BY id"
    rows = [EventWrite(*row) for row in connection.execute(last)]
    connection.execute("DELETE FROM journal")
    return rows


@pytest.mark.parametrize("events", [EVENTS[:1], EVENTS[1:2], EVENTS], ids=["one", "without a step", "all"])
def test_events_are_read_back_as_they_were_written(connection: sqlite3.Connection, events: list[EventWrite]) -> None:
    text = packed(connection, events)

    assert unpacked(text, CommonEventsReader(connection, SQL)) == events
    assert count_of(text) == len(events)
    assert json.loads(text) == [[kind, step, attempt, json.loads(facts)] for kind, step, attempt, facts in events]
    assert shown(connection, text) == events


def test_an_event_that_recurs_becomes_a_number_and_is_read_back_as_it_was_written(connection: sqlite3.Connection) -> None:
    common, events = CommonEvents(connection, SQL), [OF_A_CASE, COMMON, EVENTS[2], COMMON]
    texts = [common.packed(events) or "" for _ in range(3)]

    assert json.loads(texts[0]) == [[*OF_A_CASE[:3], json.loads(OF_A_CASE.facts)], [*COMMON[:3], json.loads(COMMON.facts)], ANY, 1]
    assert [json.loads(text)[1::2] for text in texts[1:]] == [[1, 1], [1, 1]]
    for text in texts:
        assert unpacked(text, CommonEventsReader(connection, SQL)) == events
        assert count_of(text) == len(events)
        assert shown(connection, text) == events
    assert (CommonEvents(connection, SQL).packed([COMMON]), common.packed([COMMON])) == ("[1]", "[1]")  # the file knows it


def test_an_event_with_content_of_a_case_is_never_common(connection: sqlite3.Connection) -> None:
    common = CommonEvents(connection, SQL)
    for _ in range(3):
        common.packed([OF_A_CASE, EventWrite("resumed", "ask", 0, '{"by":"Ada","fields":[]}')])

    assert connection.execute("SELECT * FROM common_events").fetchall() == []
    assert skeleton_of(COMMON.facts).replace(" ", "") == COMMON.facts.replace(" ", "")  # erasing a case may leave it as it is
    assert set(SKELETON) >= OF_PROCESS


def test_erasing_changes_all_events_of_a_text_but_the_common_ones(connection: sqlite3.Connection) -> None:
    common = CommonEvents(connection, SQL)
    texts = [common.packed([COMMON, OF_A_CASE]) or "" for _ in range(2)]

    after = rewritten(texts[1], lambda event: event._replace(facts="{}"))

    assert unpacked(after, CommonEventsReader(connection, SQL)) == [COMMON, OF_A_CASE._replace(facts="{}")]


def test_a_number_that_a_rollback_took_back_is_not_used_again(connection: sqlite3.Connection) -> None:
    core = SqliteCore(connection, Path("cases.db"))
    connection.execute("BEGIN")
    core.events.packed([COMMON, COMMON])
    core.roll_back()

    text = core.events.packed([COMMON]) or ""

    assert unpacked(text, CommonEventsReader(connection, SQL)) == [COMMON]


def test_a_file_stores_a_bounded_number_of_common_events(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "COMMON_MAX", 3)
    monkeypatch.setattr(journal, "SEEN_MAX", 4)
    common, read = CommonEvents(connection, SQL), CommonEventsReader(connection, SQL)
    events = [EventWrite("finished", None, 0, f'{{"outcome":"{number}"}}') for number in range(10)]

    for event in [event for event in events for _ in range(2)]:
        assert unpacked(common.packed([event]) or "", read) == [event]

    assert connection.execute("SELECT count(*) FROM common_events").fetchone() == (3,)


def test_a_reader_gives_the_events_of_a_text_that_recurs_again(connection: sqlite3.Connection) -> None:
    common, read = CommonEvents(connection, SQL), CommonEventsReader(connection, SQL)
    texts = [common.packed([COMMON, COMMON]) or "" for _ in range(2)] + [packed(connection, EVENTS)]

    found = [[*read.unpacked(text)] for _ in range(2) for text in texts]

    assert found == [[COMMON, COMMON], [COMMON, COMMON], EVENTS] * 2


def test_no_events_are_no_text(connection: sqlite3.Connection) -> None:
    assert CommonEvents(connection, SQL).packed([]) is None


def test_facts_of_several_lines_become_one_line_of_the_same_json(connection: sqlite3.Connection) -> None:
    text = packed(connection, [EventWrite("decided", None, 0, '{\n "a": 1\n}')])

    assert json.loads(unpacked(text, CommonEventsReader(connection, SQL))[0].facts) == {"a": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[[",
        "[]",
        '[["decided",null,0,{}]]',
        '[["decided",\n{}]]',
        "[[decided,null,0,\n{}]]",
        "\n",
        "[7]",
        "[7,]",
        "[x]",
        "[7,\n[]",
    ],
)
def test_what_no_engine_wrote_is_refused(connection: sqlite3.Connection, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(text, CommonEventsReader(connection, SQL))


def test_a_number_that_json_does_not_know_is_a_text_in_the_facts_of_an_event() -> None:
    written = event_write(Event(Kind.NODE_FAILED, "step", 1, {"waited": math.nan, "limit": math.inf}))

    assert json.loads(written.facts, parse_constant=pytest.fail) == {"waited": "NaN", "limit": "Infinity"}
