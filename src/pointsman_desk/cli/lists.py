"""Print lists of cases and mailboxes, as text and as JSON."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from itertools import groupby
from typing import Any

from rich.table import Table

from pointsman import CaseRow, Reader, Status, format_count, format_duration
from pointsman_desk.case import BY_HAND, RISKIEST_FIRST
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.config import DeskConfig
from pointsman_desk.desk import CASES_MAX, Run
from pointsman_desk.health import Finding
from pointsman_desk.mail.notes import MEANING
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.survey import Survey
from pointsman_desk.process import FOR_A_PERSON, MAY_ANSWER, PROBABLY_AUTOMATIC, SORT
from pointsman_desk.standing import INTERRUPTED, SEND, is_interrupted, may_go_on, reasons, returned_to

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
    for row in await reader.cases(status=Status.PARKED, limit=CASES_MAX):
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


def run_json(run: Run, rows: Sequence[CaseRow]) -> dict[str, Any]:
    """Return a run of the desk as a JSON object."""
    started = {*run.started, *run.joined}
    statuses = Counter("probably automatic" if row.step == SORT else str(row.status) for row in rows if row.id in started)
    return {"started": run.started, "joined": run.joined, "known": run.known, "problems": run.problems, "statuses": dict(statuses)}


def print_run(
    run: Run, cases: Sequence[dict[str, Any]], rows: Sequence[CaseRow], config: DeskConfig, label: str, *, now: float, watched: bool
) -> None:
    """Print what a run did, what waits for a person, and the next command; with `watched`, only what is new."""
    new = len(run.started) + len(run.joined)
    joined = f" ({len(run.joined)} of them in open cases)" if run.joined else ""
    console.print(f"The desk ({safe(label)}) read {format_count(new + run.known, 'mail')}: {new} new{joined}, {run.known} known.")
    if not rows and not run.problems:
        place = config.mailbox or ", ".join(account.place for account in config.mailboxes)
        console.print(f"The mailbox {safe(place)} is empty.")
    if not rows:
        return
    print_cases(cases, now=now, limit=SHOWN_MAX)
    if watched:
        return
    counts = Counter(section_of(row.status, row.rule, row.outcome) for row in rows)
    counted = ", ".join(f"{counts[section]} {section.counted}" for section in Section if counts[section])
    console.print(f"\n{format_count(len(rows), 'case')} in total: {counted}.")
    if config.smtp is None and config.resend is None:
        console.print(f"Replies are in {safe(config.outbox)}.")
    first = {_group(case)[0]: case for case in reversed(in_order(cases))}
    if (waits := first.get(Section.DECIDE)) is not None:
        # A person must read a refund or a legal notice before its draft is offered.
        send = "" if BY_HAND.intersection(waits["intents"]) else f" To send its reply: pointsman-desk approve {waits['id']}."
        console.print(f"To read the first case: pointsman-desk show {waits['id']}.{send}")
    if (stopped := first.get(Section.STOPPED)) is not None:
        console.print(f"To see why a case stopped and how to fix it: pointsman-desk show {stopped['id']}.")
    if Section.UNDER_WAY in first:
        console.print("The next run continues unfinished cases; `pointsman-desk serve` continues them automatically.")


def print_survey(found: Survey) -> None:
    """Print a survey of mails: how many there are, and one line for each peculiarity."""
    if not found.mails:
        console.print("There are no mails to read.")
        return
    slowest = f"{found.slowest_seconds:.3f} s for the slowest, {safe(found.slowest)}"
    console.print(f"{format_count(found.mails, 'mail')}, {found.exceptions} read only in part because of a parser error; {slowest}.")
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(justify="right")
    for name, count in found.automatic.most_common():
        table.add_row(str(count), f"automatic: {safe(name)}")
    for name, count in found.notes.most_common():
        table.add_row(str(count), safe(name), safe(MEANING.get(name, "")))
    console.print(table)


def mailbox_json(account: Account, bookmark: Bookmark, now: float) -> dict[str, Any]:
    """Return a mailbox on a mail server as a JSON object. Times are Unix seconds; `lag_seconds` counts from the last check."""
    lag = None if bookmark.looked_at is None else now - bookmark.looked_at
    return {"name": account.name, "health": bookmark.health(now, account.poll_seconds), "lag_seconds": lag, **bookmark.model_dump()}


HEALTH = {
    "well": "[green]well[/]",
    "failing": "[red]failing[/]",
    "new": "never opened",
    "late": "[yellow]not checked lately; is the desk running?[/]",
}


def print_mailboxes(known: Sequence[tuple[Account, Bookmark]], now: float) -> None:
    """Print the health of each mailbox: its error, or when it was checked and how many mails remain."""
    for account, bookmark in known:
        health = HEALTH[bookmark.health(now, account.poll_seconds)]
        console.print(f"[bold]{safe(account.name)}[/] ({safe(bookmark.place)}): {health}")
        if bookmark.error and bookmark.failing_since is not None:
            console.print(f"  {safe(bookmark.error)} Failing for {format_duration(now - bookmark.failing_since)}.")
        if bookmark.looked_at is not None:
            fetched = "none yet" if bookmark.fetched_at is None else f"{format_duration(now - bookmark.fetched_at)} ago"
            console.print(f"  checked {format_duration(now - bookmark.looked_at)} ago; last mail {fetched}; {bookmark.behind} remaining")
        if bookmark.missed:
            console.print(f"  not delivered by the server yet, retried from time to time: mail {', '.join(map(str, bookmark.missed))}")


def print_findings(findings: Sequence[Finding]) -> None:
    """Print the findings of the doctor."""
    for finding in findings:
        console.print(f"[bold]{safe(finding.what)}[/]: {safe(finding.problem or finding.state)}")


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
        group = _group(case)
        gravest[group] = min(gravest.get(group, len(RISKIEST_FIRST)), _gravity(case))
    sections, reasons_ = [*Section], [why for why, _ in FOR_A_PERSON]

    def place(case: dict[str, Any]) -> tuple[int, int, int, str, int]:
        section, why = _group(case)
        known = reasons_.index(why) if why in reasons_ else len(reasons_)
        return sections.index(section), gravest[section, why], known, why, _gravity(case) if section is Section.DECIDE else 0

    return sorted(cases, key=place)


def _group(case: dict[str, Any]) -> tuple[Section, str]:
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
    for section, members in groupby(in_order(cases), key=lambda case: _group(case)[0]):
        of_section = [*members]
        console.print(f"\n[bold]{section.title}[/] ({len(of_section)})")
        if section is Section.SORT and not closing:
            console.print("To close all of these: pointsman-desk close --probably-automatic")
        _print_rows([_HEADINGS], now, style="dim")
        for (_, why), grouped in groupby(of_section, key=_group):
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
