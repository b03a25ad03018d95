"""The work list of the desk: the mails that wait for a decision, those that are probably automatic, and the replies that did not arrive."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pointsman import CaseQuery, CaseRow, EffectRow, Order, Reader, Status, Task
from pointsman.web import WorkListPage
from pointsman_desk.mail.notes import MEANING
from pointsman_desk.standing import may_go_on, parked_by_rule, reasons, standing_of
from pointsman_desk.steps import APPROVE, COUNTERSIGN, FOLLOW_UP, SORT, SUPPORT_MAIL
from pointsman_desk.wiring import Desk

WORDS_MAX = 160  # characters of a mail's first words: two lines of the list
GROUP_MAX = 100  # cases of a group below the list, and no more at once: a person looks at them before the button is pressed
LINE_FIELDS = ("mail", "intents", "risk", "earlier")  # what a line is made of
PARKED_MAX = 20  # the last ones; the others are found by the search


class Line(NamedTuple):
    """What the list shows of a mail: who wrote what, what the desk found, and why a person is asked.

    `mails` is how many mails wait for this reply; `risk` is "" until the mail was classified.
    """

    case: int
    sender: str
    address: str
    subject: str
    words: str
    intents: Sequence[str]
    risk: str
    why: str
    mails: int
    files: int


class Stopped(NamedTuple):
    """A case that an operator must look at, and what to do with it."""

    line: Line
    row: CaseRow
    why: str
    action: str


def work_list_of(desk: Desk) -> WorkListPage:
    """Return the work list of an open desk."""
    reader = desk.engine.reader

    async def values(_: object, tasks: Sequence[Task]) -> Mapping[str, Any]:
        automatic = await desk.engine.tasks(process=desk.process.name, pause=SORT, limit=GROUP_MAX)
        counts = {one.place: one.cases for one in await reader.count_places(process=SUPPORT_MAIL) if one.status is Status.WAITING}
        lines = await lines_of(reader, {*(task.case for task in tasks), *(task.case for task in automatic.rows)})
        return {
            "lines": lines,
            "automatic": automatic.rows,
            "automatic_count": counts.get(SORT, 0),
            "second_count": counts.get(COUNTERSIGN, 0),
            "follow_up_count": counts.get(FOLLOW_UP, 0),
            "stopped": await stopped_of(desk),
        }

    return WorkListPage("mails.html", values, pause=APPROVE)


async def lines_of(reader: Reader, cases: Iterable[int]) -> dict[int, Line]:
    """Return the lines of these cases; a case that has been deleted has none."""
    rows = await reader.cases_of([*cases])
    fields = await reader.fields_of([row.id for row in rows], LINE_FIELDS)
    return {row.id: _line(row, {field.field: json.loads(field.text) for field in fields.get(row.id, ())}) for row in rows}


def _line(row: CaseRow, values: Mapping[str, Any]) -> Line:
    mail, intents, risk, earlier = (values.get(name) for name in LINE_FIELDS)
    mail = mail or {}
    said = " ".join(f"{mail.get('text', '')} {mail.get('doubtful', '')}"[: 2 * WORDS_MAX].split())
    return Line(
        row.id,
        mail.get("sender_name") or mail.get("sender", ""),
        mail.get("sender", ""),
        " ".join(mail.get("subject", "").split()),
        said if len(said) <= WORDS_MAX else f"{said[: WORDS_MAX - 1]}…",
        [intent.replace("_", " ") for intent in intents or ()],
        risk or "",
        _why(row, mail),
        1 + len(earlier or ()),
        len(mail.get("attachments", ())),
    )


def _why(row: CaseRow, mail: Mapping[str, Any]) -> str:
    """Say why a person is asked: the rule, and for a machine's mail which signs it has."""
    why = f"{mail.get('automatic', '')}" if row.step == SORT else row.rule or ""
    notes = [MEANING[note] for note in mail.get("notes", ()) if note in MEANING]
    return "; ".join(filter(None, (why, notes[0] if row.step == SORT and notes else "")))


async def stopped_of(desk: Desk) -> list[Stopped]:
    """Return the cases that stand still until somebody says what became of their reply, the last one first."""
    reader = desk.engine.reader
    found = await reader.find(CaseQuery(process=desk.process.name, status=Status.PARKED, order=Order.CHANGED), limit=PARKED_MAX)
    rows = [one.case for one in found.rows]
    lines = await lines_of(reader, (row.id for row in rows))
    entries = await entries_of(reader, lines)
    return [_stopped(row, entries[row.id], lines[row.id]) for row in rows if row.id in lines]


async def entries_of(reader: Reader, cases: Collection[int]) -> dict[int, list[EffectRow]]:
    """Return the entries of these cases in the ledger, by case, oldest first."""
    entries: dict[int, list[EffectRow]] = {case: [] for case in cases}
    for entry in await reader.effects_of(cases):
        entries[entry.case].append(entry)
    return entries


def _stopped(row: CaseRow, entries: Sequence[EffectRow], line: Line) -> Stopped:
    standing = standing_of(row, entries)
    if parked_by_rule(row):
        action = "Write to the customer in another way, then close it"
    elif standing == "in doubt":
        action = "Say whether it arrived"
    elif may_go_on(row, entries):
        action = "Try again when the cause is fixed"
    else:
        action = "Send it again when the reason is fixed"
    return Stopped(line, row, reasons(row, entries), action)
