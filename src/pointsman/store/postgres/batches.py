"""Plain transitions as one statement, which is its own transaction.

A transition is plain if it only moves or starts a case, without a key, and writes fields and events: most are. Its values go to the
server as a text for each column, because neither side reads or writes JSON as fast.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.kernel.rows import FieldWrite, NewCase, Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.journal import packed_in_full

APART, NOTHING = "\x1f", "\x1e"  # between the values of a column, and instead of one that is null; JSON has neither
NO_FIELD = FieldWrite("", None, "")

# The columns of each part, with their types. Those of a journal row are the same in all.
_FIELD = {"field": "text", "value": "text", "writer": "text", "appends": "boolean"}
_STANDING = {
    "id": "bigint", "revision": "integer", "fence": "integer", "claims": "integer", "attempts": "integer", "steps": "integer", "step": "text",
    "rule": "text", "reason": "text", "outcome": "text", "needs": "text", "interruptions": "integer", "wake_at": "double precision",
    "status": "text", "at": "double precision", "engine": "bigint", "version": "integer", "n": "integer", "events": "text",
}  # fmt: skip
PARTS: Mapping[str, Mapping[str, str]] = {
    "batch_moves": {**_STANDING, "inbox": "integer", **_FIELD},
    "batch_starts": {**_STANDING, "process": "text", "tenant": "text", "priority": "integer", "parent": "bigint", **_FIELD},
    "batch_fields": {"n": "integer", "case_id": "bigint", "revision": "integer", **_FIELD},
}
_WRITTEN = {"batch_moves": "batch_moved", "batch_starts": "batch_started"}  # the statements that read which cases a part has written


class Unfit(Exception):
    """A text has one of the characters between values, or a number is none of JSON."""


class Batches:
    """Makes the statement of a batch."""

    def __init__(self, sql: Mapping[str, str], engine: int, era: int) -> None:
        self._sql = sql
        self._engine = engine
        self._era = era
        self._texts: dict[tuple[str, ...], str] = {}

    def statement(self, transitions: Sequence[Transition]) -> tuple[str, dict[str, Any]] | None:
        """The statement that writes these transitions, and its values without the batch's number; None if one of them is not plain."""
        parts: dict[str, list[tuple[Any, ...]]] = {}
        n = 0
        for t in transitions:
            if not is_plain(t):
                return None
            n += 1
            if t.new is None:
                parts.setdefault("batch_moves", []).append(self._move(t, n))
            else:
                parts.setdefault("batch_starts", []).append(self._start(t, t.new, n))
            for write in t.fields[1:]:
                n += 1
                parts.setdefault("batch_fields", []).append((n, t.case, t.revision + 1, *_field(write)))
        values: dict[str, Any] = {"engine": self._engine, "era": self._era}
        try:
            for part, rows in parts.items():
                for (name, kind), column in zip(PARTS[part].items(), zip(*rows, strict=True), strict=True):
                    values[f"{part}_{name}"] = text_of(column, kind)
        except Unfit:
            return None
        return self._text(tuple(part for part in PARTS if part in parts)), values

    def _move(self, t: Transition, n: int) -> tuple[Any, ...]:
        return (*self._standing(t, n, t.migrated), t.inbox, *_field(t.fields[0] if t.fields else NO_FIELD))

    def _start(self, t: Transition, new: NewCase, n: int) -> tuple[Any, ...]:
        whose = new.process, new.tenant or None, new.priority, new.parent
        return (*self._standing(t, n, new.version), *whose, *_field(t.fields[0] if t.fields else NO_FIELD))

    def _standing(self, t: Transition, n: int, version: int | None) -> tuple[Any, ...]:
        return (
            t.case, t.revision, t.fence, int(t.claims) or None, t.attempts, t.steps, t.step, t.rule, t.reason, t.outcome, t.needs,
            t.interruptions, t.wake_at, t.status, t.at, self._engine if t.status is Status.RUNNING else None, version, n,
            packed_in_full(t.events),
        )  # fmt: skip

    def _text(self, parts: tuple[str, ...]) -> str:
        """The statement with these parts."""
        if parts not in self._texts:
            ids = " UNION ALL ".join(self._sql[_WRITTEN[part]] for part in parts if part in _WRITTEN)
            whole = ",\n".join(self._part(part).replace("{ids}", ids) for part in parts)
            self._texts[parts] = self._sql["write_batch"].replace("{parts}", whole).replace("{ids}", ids)
        return self._texts[parts]

    def _part(self, part: str) -> str:
        columns = ", ".join(_array(f"%({part}_{name})s", kind) for name, kind in PARTS[part].items())
        return self._sql[part].replace("{columns}", columns).replace("{names}", ", ".join(PARTS[part]))


def is_plain(t: Transition) -> bool:
    """Whether a transition only moves or starts a case, and writes fields and events."""
    if t.new is not None and (t.new.key is not None or t.new.correlation is not None):
        return False
    return not (
        t.takes or t.posts or t.intent or t.settlement or t.pause or t.climbs or t.leaves_pause or t.branches or t.ends_branches or t.erases
        or t.usage or t.search
    )  # fmt: skip


def text_of(column: Sequence[Any], kind: str) -> str:
    """The values of a column as one text, for `string_to_array`. Raises Unfit."""
    nulls = column.count(None)
    if nulls == len(column):
        return ""
    if kind == "text":
        text = APART + APART.join([NOTHING if value is None else value for value in column] if nulls else column)
        if text.count(APART) != len(column) or text.count(NOTHING) != nulls:
            raise Unfit
    else:
        text = APART.join([NOTHING if value is None else str(value) for value in column])
        if kind == "double precision" and "n" in text:  # "nan" and "inf"
            raise Unfit
    return text


def _array(parameter: str, kind: str) -> str:
    """The values of a column in SQL. A column of texts begins with a separator, because one empty text alone would be no value."""
    split = f"string_to_array({parameter}, E'\\x1f', E'\\x1e')"
    return f"({split})[2:]" if kind == "text" else f"{split}::{kind}[]"


def _field(write: FieldWrite) -> tuple[Any, ...]:
    field, value, writer, appends = write
    return (field, value, writer, True if appends else None) if field else (None, None, None, None)
