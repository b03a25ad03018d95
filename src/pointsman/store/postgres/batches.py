"""Plain transitions as one statement, which is its own transaction.

A transition is plain if it only moves or starts a case, without a key, and writes fields and events: most are. Its values go to the
server as a text for each column, because neither side reads or writes JSON as fast.
"""

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from pointsman.kernel.rows import FieldWrite, Transition
from pointsman.store.journal import packed_in_full

APART, NOTHING = "\x1f", "\x1e"  # between the values of a column, and instead of one that is null; JSON has neither
NUMBERED = ("engine", "line", "number", "era")  # the first parameters of each statement
NO_FIELD = FieldWrite("", None, "")

# The columns of each part, with their types: first what is read from the transition, then what it writes first.
_STANDING = {
    "case": "bigint", "revision": "integer", "fence": "integer", "claims": "boolean", "attempts": "integer", "steps": "integer", "step": "text",
    "rule": "text", "reason": "text", "outcome": "text", "needs": "text", "interruptions": "integer", "wake_at": "double precision",
    "status": "text", "at": "double precision",
}  # fmt: skip
_MOVE = {**_STANDING, "inbox": "integer", "migrated": "integer"}
_NEW = {"process": "text", "version": "integer", "tenant": "text", "priority": "integer", "parent": "bigint"}
_FIELD = {"field": "text", "value": "text", "writer": "text", "appends": "boolean"}
_WRITES = {"events": "text", **_FIELD}
PARTS: Mapping[str, Mapping[str, str]] = {
    "batch_moves": {**_MOVE, **_WRITES},
    "batch_starts": {**_STANDING, **_NEW, **_WRITES},
    "batch_fields": {"case": "bigint", "revision": "integer", **_FIELD},
}
_WRITTEN = {"batch_moves": "batch_moved", "batch_starts": "batch_started"}  # the statements that read which cases a part has written
_move, _standing, _new = (attrgetter(*columns) for columns in (_MOVE, _STANDING, _NEW))
_PARAMETER = re.compile(r"%\((\w+)\)s")


class Unfit(Exception):
    """A text has one of the characters between values, or a number is none of JSON."""


class Batches:
    """Makes the statement of a batch."""

    def __init__(self, sql: Mapping[str, str]) -> None:
        self._sql = sql
        self._texts: dict[tuple[str, ...], bytes] = {}

    def statement(self, transitions: Sequence[Transition]) -> tuple[bytes, list[Any]] | None:
        """The statement that writes these transitions, and its parameters behind those in `NUMBERED`; None if one of them is not plain."""
        moves: list[Transition] = []
        starts: list[Transition] = []
        further: list[tuple[Any, ...]] = []
        for t in transitions:
            if not is_plain(t):
                return None
            (moves if t.new is None else starts).append(t)
            if len(t.fields) > 1:
                further += [(t.case, t.revision + 1, *write) for write in t.fields[1:]]
        parts: dict[str, list[Sequence[Any]]] = {}
        if moves:
            parts["batch_moves"] = [*zip(*map(_move, moves), strict=True), *_writes(moves)]
        if starts:
            new = [t.new for t in starts]
            parts["batch_starts"] = [*zip(*map(_standing, starts), strict=True), *zip(*map(_new, new), strict=True), *_writes(starts)]
        if further:
            parts["batch_fields"] = [*zip(*further, strict=True)]
        try:
            return self._text(tuple(parts)), _values(parts)
        except Unfit:
            return None

    def _text(self, parts: tuple[str, ...]) -> bytes:
        """The statement with these parts."""
        if parts not in self._texts:
            ids = " UNION ALL ".join(self._sql[_WRITTEN[part]] for part in parts if part in _WRITTEN)
            whole = ",\n".join(self._part(part) for part in parts)
            named = self._sql["write_batch"].replace("{parts}", whole).replace("{ids}", ids)
            names = [*NUMBERED, *(f"{part}_{name}" for part in parts for name in ("before", *PARTS[part]))]
            places = {name: f"${place}" for place, name in enumerate(names, 1)}
            self._texts[parts] = _PARAMETER.sub(lambda found: places[found[1]], named).encode()
        return self._texts[parts]

    def _part(self, part: str) -> str:
        columns = ", ".join(_array(f"%({part}_{name})s", kind) for name, kind in PARTS[part].items())
        return self._sql[part].replace("{columns}", columns).replace("{names}", ", ".join([*map(_name, PARTS[part]), "n"]))


def is_plain(t: Transition) -> bool:
    """Whether a transition only moves or starts a case, and writes fields and events."""
    if t.new is not None and (t.new.key is not None or t.new.correlation is not None):
        return False
    return not (
        t.takes or t.posts or t.intent or t.settlement or t.pause or t.climbs or t.leaves_pause or t.branches or t.ends_branches or t.erases
        or t.usage or t.search
    )  # fmt: skip


def text_of(column: Sequence[Any], kind: str) -> str:
    """The values of a column as one text, for `string_to_array`. False is null. Raises Unfit."""
    if kind == "boolean":
        return APART.join(["true" if value else NOTHING for value in column]) if True in column else ""
    nulls, rows = column.count(None), len(column)
    if nulls == rows:
        return ""
    if kind == "text":
        text = APART + APART.join([NOTHING if value is None else value for value in column] if nulls else column)
        if text.count(APART) != rows or text.count(NOTHING) != nulls:
            raise Unfit
        return text
    if nulls:
        text = APART.join([NOTHING if value is None else str(value) for value in column])
    else:
        text = APART.join([str(column[0])] * rows if column.count(column[0]) == rows else map(str, column))
    if kind == "double precision" and "n" in text:  # "nan" and "inf"
        raise Unfit
    return text


def _values(parts: Mapping[str, Sequence[Sequence[Any]]]) -> list[Any]:
    """The parameters of these parts: how many rows of the journal stand before those of the part, and its columns."""
    values: list[Any] = []
    before = 0
    for part, columns in parts.items():
        values.append(before)
        values += map(text_of, columns, PARTS[part].values())
        before += len(columns[0])
    return values


def _writes(transitions: Sequence[Transition]) -> list[Sequence[Any]]:
    """The columns of what these transitions write first."""
    events = [packed_in_full(t.events) for t in transitions]
    fields = [t.fields[0] if t.fields else (None, None, None, False) for t in transitions]
    return [events, *zip(*fields, strict=True)]


def _array(parameter: str, kind: str) -> str:
    """The values of a column in SQL. A column of texts begins with a separator, because one empty text alone would be no value."""
    split = f"string_to_array({parameter}, E'\\x1f', E'\\x1e')"
    return f"({split})[2:]" if kind == "text" else f"{split}::{kind}[]"


def _name(attribute: str) -> str:
    """The column for an attribute of a transition."""
    return {"case": "id", "migrated": "version"}.get(attribute, attribute)
