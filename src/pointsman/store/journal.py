"""Pack the events of a transition into one text, and unpack them.

The text is a JSON array. An event in it is `[kind, step, attempt, facts]`, or the number of a common event. It has a line break
before the facts of each event and between two events, and nowhere else, so that the facts can be cut out without parsing their JSON.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring

from pointsman.kernel.events import is_common
from pointsman.kernel.rows import EventWrite

BREAK = "\n"  # valid JSON has it only between two tokens, where a space means the same
AND = "," + BREAK  # between two events
HEADS_MAX = 4_096  # parsed heads to cache: a program has few steps, and few kinds of events for each
COMMON_MAX = 4_096  # common events of a file: many times what its processes have; more would only slow down its opening
TEXTS_MAX = 512  # texts of events to remember: the transitions between the same two steps often have the same events
SHORT_MAX = 100  # characters of a text to remember: a few numbers of common events, or one event beside them
SEEN_MAX = 4_096  # events to remember until they recur: with hundreds of cases in flight, each of them has had a turn by then


def unpacked(text: str, common: Callable[[int], EventWrite]) -> list[EventWrite]:
    """Return the events in a text; `common` finds one by its number. Raises ValueError if no engine can have written the text."""
    if text[:1] != "[" or text[-1:] != "]":
        raise ValueError("the events of a transition are no JSON array of events")
    return [common(int(first)) if facts is None else EventWrite(*_head(first), facts) for first, facts in _each(text)]


def rewritten(text: str, change: Callable[[EventWrite], EventWrite]) -> str:
    """Return a text with each event changed, except the common ones."""
    each = [first if facts is None else _in_full(change(EventWrite(*_head(first), facts))) for first, facts in _each(text)]
    return "[" + AND.join(each) + "]"


def count_of(text: str) -> int:
    """Return how many events a text has."""
    return sum(1 for _ in _each(text))


def packed_in_full(events: Sequence[EventWrite]) -> str | None:
    """Return the text of these events, none of them as a common one, or None if there are none."""
    return _text_of(tuple(events)) if events else None


class CommonEvents:
    """The common events of a file, for its writer. Each is stored once, when it occurs for the second time."""

    def __init__(self, connection: sqlite3.Connection, sql: Mapping[str, str]) -> None:
        self._connection = connection
        self._sql = sql
        self._numbers: dict[EventWrite, str] | None = None
        self._seen: set[EventWrite] = set()

    def packed(self, events: Sequence[EventWrite]) -> str | None:
        """Return the text of these events, or None if there are none."""
        if not events:
            return None
        numbers = self._load() if self._numbers is None else self._numbers
        return "[" + AND.join([numbers.get(event) or self._new(event, numbers) for event in events]) + "]"

    def forget(self) -> None:
        """Read them again from the file: a rollback may have taken back some."""
        self._numbers = None

    def _load(self) -> dict[EventWrite, str]:
        rows = self._connection.execute(self._sql["select_common_events"], (0,)).fetchall()
        self._numbers = {EventWrite(*event): str(number) for number, *event in rows}
        return self._numbers

    def _new(self, event: EventWrite, numbers: dict[EventWrite, str]) -> str:
        if event not in self._seen:
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            self._seen.add(event)
        elif len(numbers) < COMMON_MAX and is_common(event.facts):
            row = self._connection.execute(self._sql["insert_common_event"], event).fetchone()
            numbers[event] = str(row[0])
            return numbers[event]
        return _in_full(event)


class CommonEventsReader:
    """The common events of a file by their numbers."""

    def __init__(self, connection: sqlite3.Connection, sql: Mapping[str, str]) -> None:
        self._connection = connection
        self._sql = sql
        self._events: dict[int, EventWrite] = {}
        self._texts: dict[str, Sequence[EventWrite]] = {}

    def unpacked(self, text: str) -> Sequence[EventWrite]:
        """Return the events in a text. Short texts recur in case after case, so they are remembered. Raises ValueError as `unpacked` does."""
        events = self._texts.get(text)
        if events is None:
            events = unpacked(text, self)
            if len(text) <= SHORT_MAX and len(self._texts) < TEXTS_MAX:
                self._texts[text] = events
        return events

    def __call__(self, number: int) -> EventWrite:
        """Return the event with this number. Raises ValueError if the file has none."""
        if number not in self._events:
            rows = self._connection.execute(self._sql["select_common_events"], (max(self._events, default=0),)).fetchall()
            self._events.update((number, EventWrite(*event)) for number, *event in rows)
        if number not in self._events:
            raise ValueError(f"there is no common event {number}")
        return self._events[number]


@lru_cache(TEXTS_MAX)
def _text_of(events: tuple[EventWrite, ...]) -> str:
    return "[" + AND.join([_in_full(event) for event in events]) + "]"


def _in_full(event: EventWrite) -> str:
    kind, step, attempt, facts = event
    head = f"{encode_basestring(kind)},{'null' if step is None else encode_basestring(step)},{attempt}"
    return f"[{head},\n{facts.replace(BREAK, ' ')}]"


def _each(text: str) -> Iterator[tuple[str, str | None]]:
    """Each event of a text: its number and None, or the text of its head and that of its facts."""
    lines = iter(text[1:].split(BREAK))
    for line in lines:
        yield (line, next(lines, "")[:-2]) if line[:1] == "[" else (line[:-1], None)


@lru_cache(HEADS_MAX)
def _head(text: str) -> tuple[str, str | None, int]:
    kind, step, attempt = json.loads(text[:-1] + "]")
    return kind, step, attempt
