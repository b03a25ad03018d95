"""How lists of cases and mailboxes look in a terminal, and as JSON."""

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

CASE_WIDTH = 5  # a desk with more than 99,999 cases has a wider terminal
INTENT_WIDTH = 14  # the longest intent
AGE_WIDTH = 6
SHOWN_MAX = 20  # cases of a group, where nobody asks for more: a screen holds two such groups
_NUMBER = re.compile(r"\d+")


async def listed(reader: Reader, rows: Sequence[CaseRow], config: DeskConfig) -> list[dict[str, Any]]:
    """Cases as lines of a list; one whose reply came back says so."""
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
            case |= {"why": f"{case['outcome']}, and came back", "came_back": returned[case["id"]]}
    return cases


async def case_json(reader: Reader, row: CaseRow) -> dict[str, Any]:
    """A case as a line of a list; times are Unix seconds. `cause` is what parked it, where a redrive can take it on."""
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
    """Whether each of the words stands in what a list tells of a case."""
    told = " ".join(str(case[name]) for name in ("id", "subject", "from", "intents", "outcome", "order", "why") if case[name] is not None)
    return all(word in told.casefold() for word in words.casefold().split())


def run_json(run: Run, rows: Sequence[CaseRow]) -> dict[str, Any]:
    """A run of the desk as an object."""
    started = {*run.started, *run.joined}
    statuses = Counter("probably automatic" if row.step == SORT else str(row.status) for row in rows if row.id in started)
    return {"started": run.started, "joined": run.joined, "known": run.known, "problems": run.problems, "statuses": dict(statuses)}


def print_run(
    run: Run, cases: Sequence[dict[str, Any]], rows: Sequence[CaseRow], config: DeskConfig, label: str, *, now: float, watched: bool
) -> None:
    """What a run did, what waits for a person and why, and how to go on; where the desk is watched, only what is new."""
    new = len(run.started) + len(run.joined)
    joined = f" ({len(run.joined)} of them in open cases)" if run.joined else ""
    console.print(
        f"The desk ({safe(label)}) read {format_count(new + run.known, 'mail')}: {new} new{joined}, {run.known} that it already had."
    )
    if not rows and not run.problems:
        place = config.mailbox or ", ".join(account.place for account in config.mailboxes)
        console.print(f"The mailbox {safe(place)} is empty; there is nothing to do.")
    if not rows:
        return
    print_cases(cases, now=now, limit=SHOWN_MAX)
    counts = Counter(section_of(row.status, row.rule, row.outcome) for row in rows)
    told = ", ".join(f"{counts[section]} {section.counted}" for section in Section if counts[section])
    console.print(f"\nIn all {format_count(len(rows), 'case')}: {told}.")
    if watched:
        return
    if config.smtp is None and config.resend is None:
        console.print(f"Replies are in {safe(config.outbox)}.")
    first = {_group(case)[0]: case for case in reversed(in_order(cases))}
    if (waits := first.get(Section.DECIDE)) is not None:
        # A refund or a legal notice is read before anybody thinks of sending its draft.
        send = "" if BY_HAND.intersection(waits["intents"]) else f" To send its reply: pointsman-desk approve {waits['id']}."
        console.print(f"To read the first that waits: pointsman-desk show {waits['id']}.{send}")
    if (stopped := first.get(Section.STOPPED)) is not None:
        console.print(f"To see why a case stopped, and what to do: pointsman-desk show {stopped['id']}.")
    if Section.UNDER_WAY in first:
        console.print("What is not finished goes on with the next run, or by itself with pointsman-desk run --watch.")


def print_survey(found: Survey) -> None:
    """What reading mails gave: how many, and a line for each thing that was odd about some."""
    if not found.mails:
        console.print("There are no mails to read.")
        return
    slowest = f"{found.slowest_seconds:.3f} s for the slowest, {safe(found.slowest)}"
    console.print(f"{format_count(found.mails, 'mail')}, {found.exceptions} of them not read in full for a fault of the parser; {slowest}.")
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(justify="right")
    for name, count in found.automatic.most_common():
        table.add_row(str(count), f"automatic: {safe(name)}")
    for name, count in found.notes.most_common():
        table.add_row(str(count), safe(name), safe(MEANING.get(name, "")))
    console.print(table)


def mailbox_json(account: Account, bookmark: Bookmark, now: float) -> dict[str, Any]:
    """A mailbox on a mail server as a line of a list; times are Unix seconds, `lag_seconds` is since the last look."""
    lag = None if bookmark.looked_at is None else now - bookmark.looked_at
    return {"name": account.name, "health": bookmark.health(now, account.poll_seconds), "lag_seconds": lag, **bookmark.model_dump()}


HEALTH = {
    "well": "[green]well[/]",
    "failing": "[red]failing[/]",
    "new": "never opened",
    "late": "[yellow]not looked into lately; is the desk running?[/]",
}


def print_mailboxes(known: Sequence[tuple[Account, Bookmark]], now: float) -> None:
    """How each mailbox does: what is wrong, or when it was looked into and what is still to come."""
    for account, bookmark in known:
        health = HEALTH[bookmark.health(now, account.poll_seconds)]
        console.print(f"[bold]{safe(account.name)}[/] ({safe(bookmark.place)}): {health}")
        if bookmark.error and bookmark.failing_since is not None:
            console.print(f"  {safe(bookmark.error)} For {format_duration(now - bookmark.failing_since)} now.")
        if bookmark.looked_at is not None:
            fetched = "none yet" if bookmark.fetched_at is None else f"{format_duration(now - bookmark.fetched_at)} ago"
            console.print(
                f"  looked into {format_duration(now - bookmark.looked_at)} ago; last mail taken in {fetched}; {bookmark.behind} to come"
            )
        if bookmark.missed:
            console.print(f"  not given by the server, and asked for now and then: mail {', '.join(map(str, bookmark.missed))}")


def print_findings(findings: Sequence[Finding]) -> None:
    """What the desk needs, and what is wrong with it."""
    for finding in findings:
        console.print(f"[bold]{safe(finding.what)}[/]: {safe(finding.problem or finding.state)}")


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


class Section(Enum):
    """A part of a list, what a person has to see first: its `title`, and how its cases are `counted` in one line."""

    DECIDE = "Waiting for your decision", "waiting for your decision"
    STOPPED = "Stopped, and needs you to mend something", "stopped"
    SORT = "Probably automatic", "probably automatic"
    UNDER_WAY = "Not finished; the desk goes on with these", "not finished"
    SENT = "Sent", "sent"
    ENDED = "Ended without a reply", "ended without a reply"

    def __init__(self, title: str, counted: str) -> None:
        self.title = title
        self.counted = counted


def section_of(status: str, why: str | None, outcome: str | None) -> Section:
    """Return where in a list a case belongs; `why` is its rule where it waits."""
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
    """Return the cases as a list shows them: by section, by reason with the gravest first, and the gravest of each reason first."""
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


_CANCELLED = "cancelled"  # by people, each for a reason of its own


def _gravity(case: dict[str, Any]) -> int:
    """0 for a legal matter, and more for what is less urgent."""
    return next((place for place, intent in enumerate(RISKIEST_FIRST) if intent in case["intents"]), len(RISKIEST_FIRST))


def print_cases(cases: Sequence[dict[str, Any]], *, now: float | None = None, limit: int | None = None) -> None:
    """The cases in their sections, grouped by why they stand there, at most `limit` of each group; with `now` (Unix seconds) their ages.

    Of what waits for somebody the oldest are shown, and of the rest the newest.
    """
    for section, members in groupby(in_order(cases), key=lambda case: _group(case)[0]):
        of_section = [*members]
        console.print(f"\n[bold]{section.title}[/] ({len(of_section)})")
        if section is Section.SORT:
            console.print("To close all of these: pointsman-desk close --probably-automatic")
        _print_rows([_HEADINGS], now, style="dim")
        for (_, why), grouped in groupby(of_section, key=_group):
            group = [*grouped]
            if why != section.counted and section is not Section.SORT:
                console.print(f"[bold]{safe(why)}[/] ({len(group)})")
            newest_first = section in {Section.SENT, Section.ENDED}
            shown = group if limit is None else group[-limit:] if newest_first else group[:limit]
            _print_rows([_told(case, now) for case in shown], now)
            if left := len(group) - len(shown):
                which = "older" if newest_first else "younger"
                console.print(f"[dim]and {left} {which} ones: pointsman-desk cases --status {group[0]['status']} --limit {len(group)}[/]")
    if cases and now is not None:
        console.print("\n[dim]Ages are since a mail came; pointsman-desk show says when that was.[/]")
    _print_causes(cases)


_HEADINGS = ("case", "about", "from", "subject", "age")


def _told(case: dict[str, Any], now: float | None) -> tuple[str, ...]:
    age = () if now is None else (_age(now - case["came_at"]),)
    return str(case["id"]), ", ".join(case["intents"]), case["from"] or "", case["subject"] or "(no subject)", *age


def _print_rows(rows: Sequence[tuple[str, ...]], now: float | None, *, style: str = "") -> None:
    # A width to share: otherwise the numbers go first. One space between two columns leaves more of it to the subject.
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
    """What parked several cases at once, and the one command that takes all of them on."""
    causes: dict[str, list[str]] = {}
    for case in cases:
        if case.get("cause"):
            causes.setdefault(_NUMBER.sub("#", case["cause"]), []).append(case["cause"])
    for told in causes.values():
        if len(told) > 1:
            console.print(f"\n[yellow]{len(told)} cases are parked for one cause: {safe(told[0].rstrip('.'))}.[/]")
            console.print("Once it is mended: pointsman-desk redrive --all --why ...")
