"""Pack the events of a transition into one text, and unpack them.

The text is a JSON array of `[kind, step, attempt, facts]`. It has a line break before the facts of each event and between two
events, and nowhere else, so that the facts can be cut out without parsing their JSON.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring

from pointsman.kernel.rows import EventWrite

BREAK = "\n"  # valid JSON has it only between two tokens, where a space means the same
HEADS_MAX = 4_096  # parsed heads to cache: a program has few steps, and few kinds of events for each


def packed(events: Sequence[EventWrite]) -> str | None:
    """Return the text of these events, or None if there are none."""
    if not events:
        return None
    each = [
        f"[{encode_basestring(kind)},{'null' if step is None else encode_basestring(step)},{attempt},\n{facts.replace(BREAK, ' ')}]"
        for kind, step, attempt, facts in events
    ]
    return "[" + ",\n".join(each) + "]"


def unpacked(text: str) -> list[EventWrite]:
    """Return the events in a text. Raises ValueError if no engine can have written it."""
    lines = text.split("\n")
    if len(lines) % 2 or lines[0][:1] != "[":
        raise ValueError("the events of a transition are no JSON array of events")
    lines[0] = lines[0][1:]
    return [EventWrite(*_head(head), facts[:-2]) for head, facts in zip(lines[::2], lines[1::2], strict=True)]


def count_of(text: str) -> int:
    """Return how many events a text has."""
    return (text.count("\n") + 1) // 2


@lru_cache(HEADS_MAX)
def _head(text: str) -> tuple[str, str | None, int]:
    kind, step, attempt = json.loads(text[:-1] + "]")
    return kind, step, attempt
