"""How lists of cases and mailboxes look in a terminal, and as JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from pointsman import CaseRow, Reader, Status
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.config import DeskConfig
from pointsman_desk.desk import Run, reasons
from pointsman_desk.health import Finding
from pointsman_desk.mail.notes import MEANING
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.survey import Survey

CASE_WIDTH = 5  # a desk with more than 99,999 cases has a wider terminal
INTENT_WIDTH = 14  # the longest intent


async def case_json(reader: Reader, row: CaseRow) -> dict[str, Any]:
    """A case as a line of a list."""
    fields = {
        field.field: json.loads(field.text)
        for field in await reader.fields(row.id)
        if field.field in {"mail", "intents", "risk", "customer_id"}
    }
    mail = fields.get("mail") or {}
    return {
        "id": row.id,
        "subject": mail.get("subject", ""),
        "from": fields.get("customer_id"),
        "status": row.status,
        "rule": row.rule,
        "why": reasons(row),
        "intents": fields.get("intents") or [],
        "risk": fields.get("risk"),
        "outcome": row.outcome,
    }


def run_json(run: Run, rows: Sequence[CaseRow]) -> dict[str, Any]:
    """A run of the desk as an object."""
    started = {*run.started, *run.joined}
    statuses = Counter(str(row.status) for row in rows if row.id in started)
    return {"started": run.started, "joined": run.joined, "known": run.known, "problems": run.problems, "statuses": dict(statuses)}


def print_run(run: Run, cases: Sequence[dict[str, Any]], rows: Sequence[CaseRow], config: DeskConfig, label: str) -> None:
    """What a run did: what it answered, what waits for a person and why, and how to go on."""
    console.print(f"The desk ({safe(label)}) took in {len(run.started) + len(run.joined)} new mails; it knew {run.known} already.")
    if not rows and not run.problems:
        place = config.mailbox or ", ".join(account.place for account in config.mailboxes)
        console.print(f"The mailbox {safe(place)} is empty; there is nothing to do.")
    if not rows:
        return
    print_cases(cases)
    counts = Counter(row.outcome or str(row.status) for row in rows)
    console.print("\nIn all: " + ", ".join(f"{count} {safe(name)}" for name, count in counts.most_common()) + ".")
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
            console.print(f"  {safe(bookmark.error)} For {_ago(now - bookmark.failing_since)} now.")
        if bookmark.looked_at is not None:
            fetched = "none yet" if bookmark.fetched_at is None else f"{_ago(now - bookmark.fetched_at)} ago"
            console.print(f"  looked into {_ago(now - bookmark.looked_at)} ago; last mail taken in {fetched}; {bookmark.behind} to come")
        if bookmark.missed:
            console.print(f"  not given by the server, and asked for now and then: mail {', '.join(map(str, bookmark.missed))}")


def print_findings(findings: Sequence[Finding]) -> None:
    """What the desk needs, and what is wrong with it."""
    for finding in findings:
        console.print(f"[bold]{safe(finding.what)}[/]: {safe(finding.problem or 'well')}")


def _ago(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def print_cases(cases: Sequence[dict[str, Any]]) -> None:
    """The cases, grouped by where they stand and why."""
    if not cases:
        return
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for case in cases:
        groups.setdefault((case["status"], case["why"]), []).append(case)
    for (status, why), members in sorted(groups.items(), key=lambda group: (_ORDER.index(group[0][0]), group[0][1])):
        console.print(f"\n[bold]{status}[/]: {safe(why)} ({len(members)})")
        table = Table(box=None, show_header=False, padding=(0, 1), expand=True)  # a width to share: otherwise the numbers go first
        for width in (CASE_WIDTH, INTENT_WIDTH):
            table.add_column(no_wrap=True, width=width)
        for share in (3, 4):  # from, subject
            table.add_column(no_wrap=True, overflow="ellipsis", ratio=share)
        for case in members:
            table.add_row(*(safe(text or "") for text in (case["id"], ", ".join(case["intents"]), case["from"], case["subject"])))
        console.print(table)


_ORDER = (Status.DONE, Status.READY, Status.RUNNING, Status.CANCELLED, Status.BLOCKED, Status.PARKED, Status.WAITING)
