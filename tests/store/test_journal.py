"""The events of a transition in one text: read back as they were written, by the store and by plain SQL."""

import json
import math
import sqlite3

import pytest

from pointsman.kernel.events import Event, Kind
from pointsman.kernel.rows import EventWrite
from pointsman.kernel.transitions import event_write
from pointsman.store.journal import count_of, packed, unpacked

EVENTS = [
    EventWrite("node.failed", "draft", 2, r'{"message":"a \"quoted\" line\n, [[ and ]]","none":null}'),
    EventWrite("decided", None, 0, "{}"),
    EventWrite("decided", "finish('a\",{\n]')", 0, '{"of":[1,{"two":2.50}]}'),
    EventWrite("entschieden ü", "", 0, '{"an ümlaut":"ü"}'),
]


@pytest.mark.parametrize("events", [EVENTS[:1], EVENTS[1:2], EVENTS], ids=["one", "without a step", "all"])
def test_events_are_read_back_as_they_were_written(events: list[EventWrite]) -> None:
    text = packed(events)
    assert text is not None

    assert unpacked(text) == events
    assert count_of(text) == len(events)
    assert json.loads(text) == [[kind, step, attempt, json.loads(facts)] for kind, step, attempt, facts in events]
    read = "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]') FROM json_each(?)"
    assert sqlite3.connect(":memory:").execute(read, (text,)).fetchall() == events


def test_no_events_are_no_text() -> None:
    assert packed([]) is None


def test_facts_of_several_lines_become_one_line_of_the_same_json() -> None:
    text = packed([EventWrite("decided", None, 0, '{\n "a": 1\n}')])
    assert text is not None

    assert json.loads(unpacked(text)[0].facts) == {"a": 1}


@pytest.mark.parametrize(
    "text", ["", "hello", "[[", "[]", '[["decided",null,0,{}]]', '[["decided",\n{}]]', "[[decided,null,0,\n{}]]", "\n"]
)
def test_what_no_engine_wrote_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(text)


def test_a_number_that_json_does_not_know_is_a_text_in_the_facts_of_an_event() -> None:
    written = event_write(Event(Kind.NODE_FAILED, "step", 1, {"waited": math.nan, "limit": math.inf}))

    assert json.loads(written.facts, parse_constant=pytest.fail) == {"waited": "NaN", "limit": "Infinity"}
