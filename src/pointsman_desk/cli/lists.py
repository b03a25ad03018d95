"""Print lists of cases and mailboxes, as text and as JSON."""

import json
import re
from collections.abc import Sequence
from enum import Enum
from itertools import groupby
from typing import Any

from rich.table import Table

from pointsman import CaseRow, Reader, Status
from pointsman_desk.case import RISKIEST_FIRST
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.config import DeskConfig
from pointsman_desk.standing import CASES_MAX, INTERRUPTED, SEND, is_interrupted, may_go_on, reasons, returned_to
from pointsman_desk.steps import FOR_A_PERSON, MAY_ANSWER, PROBABLY_AUTOMATIC, SUPPORT_MAIL

CASE_WIDTH = 5  # 99,999 cases
INTENT_WIDTH = 14  # the longest intent
AGE_WIDTH = 6
SHOWN_MAX = 20  # cases of a group by default: a screen fits two such groups
_NUMBER = re.compile(r"\d+")


async def listed(reader: Reader, rows: Sequence[CaseRow], config: DeskConfig) -> list[dict[str, Any]]:
    """Return the cases as JSON objects for a list, and mark each whose reply bounced."""
    cases = [await case_json(reader, row) for row in rows]
    for case, row in zip(cases, rows, strict=True):
        if await is_interrupted(config, reader, row):
            case["why"] = INTERRUPTED
    returned = {}
    for row in await reader.cases(process=SUPPORT_MAIL, status=Status.PARKED, limit=CASES_MAX):
        if (bounced := await returned_to(reader, row)) is not None:
            returned[bounced] = row.id
    for case in cases:
        if case["id"] in returned and case["status"] == Status.DONE:
            case |= {"why": f"{case['outcome']}, but the reply bounced", "came_back": returned[case["id"]]}
    return cases


async def case_json(reader: Reader, row: CaseRow) -> dict[str, Any]:
    """Return a case as a JSON object for a list. Times are Unix seconds. `cause` is why it is parked, if a redrive can help."""
    fields = {
        field.field: json.loads(field.text)
        for field in await reader.fields(row.id)
        if field.field in {"mail", "intents", "risk", "customer_id", "order"}
    }
    mail, order = fields.get("mail") or {}, fields.get("order") or {}
    entries = await reader.effects(row.id) if row.step == SEND or row.status is Status.PARKED else []
    return {
        "id": row.id,
        "subject": mail.get("subject", ""),
        "from": fields.get("customer_id"),
        "status": row.status,
        "rule": row.rule,
        "why": reasons(row, entries),
        "intents": fields.get("intents") or [],
        "risk": fields.get("risk"),
        "outcome": row.outcome,
        "order": order.get("number") or order.get("asked"),
        "came_at": row.created_at,
        "changed_at": row.updated_at,
        "next_try_at": row.wake_at if row.status is Status.READY else None,
        "cause": row.reason if may_go_on(row, entries) else None,
    }


def is_found(case: dict[str, Any], words: str) -> bool:
    """Return whether a list shows each of the words for this case."""
    text = " ".join(str(case[name]) for name in ("id", "subject", "from", "intents", "outcome", "order", "why") if case[name] is not None)
    return all(word in text.casefold() for word in words.casefold().split())


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


class Section(Enum):
    """A section of a list, most urgent first: its `title`, and the words that count its cases in one line."""

    DECIDE = "Waiting for your decision", "waiting for your decision"
    STOPPED = "Stopped; something must be fixed", "stopped"
    SORT = "Probably automatic", "probably automatic"
    UNDER_WAY = "In progress; the desk continues these", "in progress"
    SENT = "Sent", "sent"
    ENDED = "Ended without a reply", "ended without a reply"

    def __init__(self, title: str, counted: str) -> None:
        self.title = title
        self.counted = counted


def section_of(status: str, why: str | None, outcome: str | None) -> Section:
    """Return the section of a case; `why` is the rule of a waiting case."""
    match Status(status):
        case Status.WAITING if why == PROBABLY_AUTOMATIC:
            return Section.SORT
        case Status.WAITING if why == MAY_ANSWER:
            return Section.SENT
        case Status.WAITING:
            return Section.DECIDE
        case Status.PARKED | Status.BLOCKED:
            return Section.STOPPED
        case Status.READY | Status.RUNNING:
            return Section.UNDER_WAY
        case Status.DONE if outcome == "sent":
            return Section.SENT
        case _:
            return Section.ENDED


def in_order(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cases in list order: by section, then by reason, most urgent first."""
    gravest: dict[tuple[Section, str], int] = {}
    for case in cases:
        group = group_of(case)
        gravest[group] = min(gravest.get(group, len(RISKIEST_FIRST)), _gravity(case))
    sections, reasons_ = [*Section], [why for why, _ in FOR_A_PERSON]

    def place(case: dict[str, Any]) -> tuple[int, int, int, str, int]:
        section, why = group_of(case)
        known = reasons_.index(why) if why in reasons_ else len(reasons_)
        return sections.index(section), gravest[section, why], known, why, _gravity(case) if section is Section.DECIDE else 0

    return sorted(cases, key=place)


def group_of(case: dict[str, Any]) -> tuple[Section, str]:
    """Return the section of a listed case, and the reason under which it is listed there."""
    section = section_of(case["status"], case["why"], case.get("outcome"))
    return section, _CANCELLED if case["status"] == Status.CANCELLED else case["why"]


_CANCELLED = "cancelled"  # the reasons that people give differ too much to group by


def _gravity(case: dict[str, Any]) -> int:
    """Return the urgency of a case: 0 is a legal matter, higher is less urgent."""
    return next((place for place, intent in enumerate(RISKIEST_FIRST) if intent in case["intents"]), len(RISKIEST_FIRST))


def print_cases(
    cases: Sequence[dict[str, Any]], *, now: float | None = None, limit: int | None = None, closing: bool = False
) -> None:  # fmt: skip
    """Print the cases by section and reason, at most `limit` of each group; with `now` (Unix seconds), their ages.

    Open groups show the oldest cases first; other groups show the newest. A command that is `closing` them names no command that does.
    """
    for section, members in groupby(in_order(cases), key=lambda case: group_of(case)[0]):
        of_section = [*members]
        console.print(f"\n[bold]{section.title}[/] ({len(of_section)})")
        if section is Section.SORT and not closing:
            console.print("To close all of these: pointsman-desk close --probably-automatic")
        _print_rows([_HEADINGS], now, style="dim")
        for (_, why), grouped in groupby(of_section, key=group_of):
            group = [*grouped]
            if why != section.counted and section is not Section.SORT:
                console.print(f"[bold]{safe(why)}[/] ({len(group)})")
            newest_first = section in {Section.SENT, Section.ENDED}
            shown = group if limit is None else group[-limit:] if newest_first else group[:limit]
            _print_rows([_row(case, now) for case in shown], now)
            if left := len(group) - len(shown):
                which = "older" if newest_first else "newer"
                console.print(f"[dim]and {left} {which} cases: pointsman-desk cases --status {group[0]['status']} --limit {len(group)}[/]")
    if cases and now is not None:
        console.print("\n[dim]Ages count from the last mail; `pointsman-desk show CASE` prints its date.[/]")
    _print_causes(cases)


_HEADINGS = ("case", "about", "from", "subject", "age")


def _row(case: dict[str, Any], now: float | None) -> tuple[str, ...]:
    age = () if now is None else (_age(now - case["came_at"]),)
    return str(case["id"]), ", ".join(case["intents"]), case["from"] or "", case["subject"] or "(no subject)", *age


def _print_rows(rows: Sequence[tuple[str, ...]], now: float | None, *, style: str = "") -> None:
    # At full width, rich shortens the wide columns first. A single space between columns leaves more for the subject.
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), expand=True)
    table.add_column(no_wrap=True, width=CASE_WIDTH, justify="right", style=style)
    table.add_column(no_wrap=True, width=INTENT_WIDTH, style=style)
    for share in (3, 4):  # from, subject
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=share, style=style)
    if now is not None:
        table.add_column(no_wrap=True, width=AGE_WIDTH, justify="right", style=style)
    for row in rows:
        table.add_row(*(safe(text) for text in row[: len(table.columns)]))
    console.print(table)


def _print_causes(cases: Sequence[dict[str, Any]]) -> None:
    """Print the causes that several parked cases share, and the command that redrives them all."""
    causes: dict[str, list[str]] = {}
    for case in cases:
        if case.get("cause"):
            causes.setdefault(_NUMBER.sub("#", case["cause"]), []).append(case["cause"])
    for same in causes.values():
        if len(same) > 1:
            console.print(f"\n[yellow]{len(same)} cases are parked for the same cause: {safe(same[0].rstrip('.'))}.[/]")
            console.print("When it is fixed: pointsman-desk redrive --all --why TEXT")
