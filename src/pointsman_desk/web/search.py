"""Find mails by what they say: the customer, the order, the subject, the text."""

from typing import NamedTuple

from pointsman import CaseQuery, CaseRow, Order, ValueRefused
from pointsman_desk.standing import reasons
from pointsman_desk.web.work_list import Line, entries_of, lines_of
from pointsman_desk.wiring import Desk

FOUND_MAX = 30  # cases on a page: more than that is a reason to add a word


class Hit(NamedTuple):
    """A case that was found; `stands` says how it stands."""

    line: Line
    row: CaseRow
    stands: str
    waits: bool


class Found(NamedTuple):
    """A page of what was found, the newest case first; `cursor` is where the next one begins, or None."""

    hits: list[Hit]
    cursor: str | None


async def find(desk: Desk, text: str, after: str) -> Found:
    """Return the cases in which every word of `text` occurs."""
    reader = desk.engine.reader
    query = CaseQuery(process=desk.process.name, text=text, order=Order.NEWEST)
    try:
        page = await reader.find(query, after=after, limit=FOUND_MAX)
    except ValueRefused:  # a cursor that is none
        page = await reader.find(query, limit=FOUND_MAX)
    lines = await lines_of(reader, [one.case.id for one in page.rows])
    entries = await entries_of(reader, lines)
    hits = [Hit(lines[row.id], row, reasons(row, entries[row.id]), pause is not None) for row, pause in page.rows if row.id in lines]
    return Found(hits, page.cursor)
