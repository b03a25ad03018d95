"""Convert the rows that a database returns, of the statements that both stores have."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import CaseRow, EffectRow, FieldRow, MessageRow, MessageStatus, PauseRow
from pointsman.kernel.snapshot import Status
from pointsman.store.base import PrivateField, WriteRow
from pointsman.store.gaps import Gap, gaps_of
from pointsman.store.query import CaseCount, FoundCase
from pointsman.store.states import state_from

CASE_COLUMNS = len(CaseRow._fields)
LATEST = 1 << 62  # beyond any revision
INTAKE = "intake"  # the name in the table meta of who paused the intake
SUBSCRIBER = "subscriber "  # and its name: the name in the table meta of how far a subscriber has read
GAPS = "gaps "  # and its name: the name in the table meta of what a subscriber has given up
NO_ENGINE = 0  # the number of no engine
PRIVATE_FIELD = "private "  # how a name in the table meta begins that says of a field that it is private


def case_row(row: Sequence[Any]) -> CaseRow:
    """Convert a row of the cases table."""
    return CaseRow._make((*row[:4], Status(row[4]), *row[5:]))


def found_row(row: Sequence[Any]) -> FoundCase:
    """Convert a case and its open pause."""
    return FoundCase(case_row(row[:CASE_COLUMNS]), None if row[CASE_COLUMNS] is None else PauseRow(*row[CASE_COLUMNS:]))


def case_count(row: Sequence[Any]) -> CaseCount:
    """Convert a process, a status, a place and a number of cases."""
    return CaseCount(row[0], Status(row[1]), row[2], row[3])


def field_rows(rows: Sequence[Sequence[Any]]) -> tuple[FieldRow, ...]:
    """Build the state from the writes of fields, ordered by field, then by revision."""
    return state_from(write_row(row) for row in rows)


def fields_by_case(rows: Iterable[Sequence[Any]]) -> dict[int, tuple[FieldRow, ...]]:
    """Build the state of each case that has one, from writes with the number of their case before them, ordered by it."""
    found = ((case, field_rows([row[1:] for row in of_case])) for case, of_case in groupby(rows, key=itemgetter(0)))
    return {case: fields for case, fields in found if fields}


def writes_by_case(rows: Iterable[Sequence[Any]]) -> dict[int, tuple[WriteRow, ...]]:
    """Convert writes with the number of their case before them, ordered by it."""
    return {case: tuple(write_row(row[1:]) for row in of_case) for case, of_case in groupby(rows, key=itemgetter(0))}


def write_row(row: Sequence[Any]) -> WriteRow:
    """Convert a write of a field."""
    return WriteRow(row[0], row[1], row[2], row[3], bool(row[4]))


def message_row(row: Sequence[Any]) -> MessageRow:
    """Convert a row of the messages table."""
    return MessageRow._make((*row[:6], MessageStatus(row[6]), *row[7:]))


def effect_row(row: Sequence[Any]) -> EffectRow:
    """Convert a row of the ledger."""
    return EffectRow._make((*row[:4], EffectStatus(row[4]), *row[5:]))


def subscriber_name(subscriber: str) -> str:
    """The name in the table meta of how far a subscriber has read."""
    return f"{SUBSCRIBER}{subscriber}"


def gaps_name(subscriber: str) -> str:
    """The name in the table meta of what a subscriber has given up."""
    return f"{GAPS}{subscriber}"


def gaps_by_subscriber(rows: Iterable[Sequence[Any]]) -> list[Gap]:
    """The gaps in rows of the table meta."""
    return [gap for name, text in rows for gap in gaps_of(name.removeprefix(GAPS), text)]


def turn_text(engine: int, cursor: str) -> str:
    """What the table meta has of a subscriber: the number of the engine that has its turn, and its cursor."""
    return f"{engine} {cursor}"


def turn_of(text: str) -> tuple[int, str]:
    """Read such a text."""
    engine, _, cursor = text.partition(" ")
    return int(engine), cursor


def private_name(private: PrivateField) -> str:
    """The name under which the table `meta` has a private field."""
    return PRIVATE_FIELD + json.dumps(private)


def private_named(name: str) -> PrivateField:
    """The private field that a row of the table `meta` has under this name."""
    return PrivateField(*json.loads(name.removeprefix(PRIVATE_FIELD)))
