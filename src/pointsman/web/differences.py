"""What has changed between two texts or two states, for a person to see."""

import json
import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any, NamedTuple

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
WORDS_MAX = 2_000  # of both texts; comparing more by words takes longer than a page may, and lines are compared instead


class Piece(NamedTuple):
    """A piece of a text: `how` is "same", "added" or "removed"."""

    how: str
    text: str


class Change(NamedTuple):
    """A field of a state: its value now and before, and whether it is "same", "added", "removed" or "changed"."""

    field: str
    how: str
    value: Any
    before: Any


def word_difference(before: str, after: str) -> list[Piece]:
    """Return what was removed and added, word by word, in the order in which a reader meets it."""
    one, other = _WORDS.findall(before), _WORDS.findall(after)
    if len(one) + len(other) > WORDS_MAX:
        one, other = before.splitlines(keepends=True), after.splitlines(keepends=True)
    if len(one) + len(other) > WORDS_MAX:
        one, other = [before], [after]
    pieces: list[Piece] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if tag == "equal":
            pieces.append(Piece("same", "".join(one[i1:i2])))
        else:
            pieces += [Piece("removed", "".join(one[i1:i2]))] if i2 > i1 else []
            pieces += [Piece("added", "".join(other[j1:j2]))] if j2 > j1 else []
    return pieces


def readable(value: Any) -> str:
    """Return a value as text: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def state_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return every field of two states, by name, with what became of it."""
    changes = []
    for name in sorted({*before, *after}):
        how = "added" if name not in before else "removed" if name not in after else "same" if before[name] == after[name] else "changed"
        changes.append(Change(name, how, after.get(name), before.get(name)))
    return changes
