"""How lists of cases and mailboxes look in a terminal, and as JSON."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from pointsman import CaseRow, Reader, Status, format_duration, format_time
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.config import DeskConfig
from pointsman_desk.desk import CASES_MAX, Run
from pointsman_desk.health import Finding
from pointsman_desk.mail.notes import MEANING
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.survey import Survey
from pointsman_desk.process import PROBABLY_AUTOMATIC, SORT
from pointsman_desk.standing import SEND, may_go_on, reasons, returned_to

CASE_WIDTH = 5  # a desk with more than 99,999 cases has a wider terminal
INTENT_WIDTH = 14  # the longest intent
DATE_WIDTH = 11  # month, day, hour and minute; of an old case year, month and day
AGE_WIDTH = 6
YEAR_SECONDS = 365 * 86_400.0
SHOWN_MAX = 20  # cases of a group, where nobody asks for more: a screen holds two such groups
_NUMBER = re.compile(r"\d+")


async def listed(reader: Reader, rows: Sequence[CaseRow]) -> list[dict[str, Any]]:
    """Cases as lines of a list; one whose reply came back says so."""
    cases = [await case_json(reader, row) for row in rows]
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
    statuses = Counter(_standing(row) if row.step == SORT else str(row.status) for row in rows if row.id in started)
    return {"started": run.started, "joined": run.joined, "known": run.known, "problems": run.problems, "statuses": dict(statuses)}


def print_run(
    run: Run, cases: Sequence[dict[str, Any]], rows: Sequence[CaseRow], config: DeskConfig, label: str, *, now: float, watched: bool
) -> None:
    """What a run did, what waits for a person and why, and how to go on; where the desk is watched, only what is new."""
    console.print(f"The desk ({safe(label)}) took in {len(run.started) + len(run.joined)} new mails; it knew {run.known} already.")
    if not rows and not run.problems:
        place = config.mailbox or ", ".join(account.place for account in config.mailboxes)
        console.print(f"The mailbox {safe(place)} is empty; there is nothing to do.")
    if not rows:
        return
    print_cases(cases, now=now, limit=SHOWN_MAX)
    counts = Counter(_standing(row) for row in rows)
    console.print("\nIn all: " + ", ".join(f"{count} {safe(name)}" for name, count in counts.most_common()) + ".")
    if watched:
        return
    if config.smtp is None and config.resend is None:
        console.print(f"Replies are in {safe(config.outbox)}.")
    first = {case["status"]: case["id"] for case in reversed(cases)}
    if Status.WAITING in first:
        number = first[Status.WAITING]
        console.print(f"To look at one that waits: pointsman-desk show {number}. To send its reply: pointsman-desk approve {number}.")
    if Status.PARKED in first:
        console.print(f"To see why one is parked, and what to do: pointsman-desk show {first[Status.PARKED]}.")
    if Status.READY in first:
        console.print("What is ready will be tried again: run the desk later, or let it watch.")


def _standing(row: CaseRow) -> str:
    """In a word, where a case stands."""
    return "probably automatic" if row.status is Status.WAITING and row.step == SORT else row.outcome or str(row.status)


def print_survey(found: Survey) -> None:
    """What reading mails gave: how many, and a line for each thing that was odd about some."""
    if not found.mails:
        console.print("There are no mails to read.")
        return
    slowest = f"{found.slowest_seconds:.3f} s for the slowest, {safe(found.slowest)}"
    console.print(f"{found.mails} mails, {found.exceptions} of them not read in full for a fault of the parser; {slowest}.")
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
        console.print(f"[bold]{safe(finding.what)}[/]: {safe(finding.problem or 'well')}")


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def print_cases(cases: Sequence[dict[str, Any]], *, now: float | None = None, limit: int | None = None) -> None:
    """The cases, grouped by where they stand and why, at most `limit` of each group; with `now` (Unix seconds) their dates and ages.

    Of what waits for somebody the oldest are shown, and of the rest the newest.
    """
    if not cases:
        return
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for case in cases:
        groups.setdefault((case["status"], case["why"]), []).append(case)
    for (status, why), members in sorted(groups.items(), key=lambda group: _place(Status(group[0][0]), group[0][1])):
        console.print(f"\n[bold]{status}[/]: {safe(why)} ({len(members)})")
        shown = members if limit is None else members[:limit] if status in _HELD else members[-limit:]
        _print_group(shown, now)
        if left := len(members) - len(shown):
            which = "younger" if status in _HELD else "older"
            console.print(f"[dim]and {left} {which} ones: pointsman-desk cases --status {status} --limit {len(members)}[/]")
    if now is not None:
        console.print(f"\n[dim]Dates are local ({format_time(now).rpartition(' ')[2]}); ages are since a mail came.[/]")
    _print_causes(cases)


def _print_group(members: Sequence[dict[str, Any]], now: float | None) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1), expand=True)  # a width to share: otherwise the numbers go first
    for width in (CASE_WIDTH, INTENT_WIDTH):
        table.add_column(no_wrap=True, width=width)
    for share in (3, 4):  # from, subject
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=share)
    for width in () if now is None else (DATE_WIDTH, AGE_WIDTH):
        table.add_column(no_wrap=True, width=width, justify="right")
    for case in members:
        times = () if now is None else (_date(case["came_at"], now), _age(now - case["came_at"]))
        told = (case["id"], ", ".join(case["intents"]), case["from"], case["subject"])
        table.add_row(*(safe(text or "") for text in told), *times)
    console.print(table)


def _date(at: float, now: float) -> str:
    told = format_time(at)
    return told[5:16] if now - at < YEAR_SECONDS / 2 else told[:10]


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


_HELD = (Status.WAITING, Status.PARKED, Status.READY)


def _place(status: Status, why: str) -> tuple[int, str]:
    """Where a group stands in a list, whose end is what is read first: what is probably automatic before all that waits or ended badly."""
    return (_ORDER.index(Status.DONE), "~") if why == PROBABLY_AUTOMATIC else (_ORDER.index(status), why)


_ORDER = (Status.DONE, Status.READY, Status.RUNNING, Status.CANCELLED, Status.BLOCKED, Status.PARKED, Status.WAITING)
