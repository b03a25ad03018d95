"""Print what a run of the desk did, the mailboxes, a survey and the findings of the doctor."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from pointsman import CaseRow, format_count, format_duration
from pointsman_desk.case import BY_HAND
from pointsman_desk.cli.lists import SHOWN_MAX, Section, group_of, in_order, print_cases, section_of
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.config import DeskConfig
from pointsman_desk.desk import Run
from pointsman_desk.health import Finding
from pointsman_desk.mail.notes import MEANING
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.survey import Survey
from pointsman_desk.steps import SORT


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
    place = config.mailbox or ", ".join(account.place for account in config.mailboxes)
    if run.elsewhere and not watched:
        console.print(f"Another desk reads the mailbox {safe(place)} now.")
    elif not rows and not run.problems:
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
    first = {group_of(case)[0]: case for case in reversed(in_order(cases))}
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
        console.print(f"{finding.level:4} [bold]{safe(finding.what)}[/]: {safe(finding.problem or finding.state)}")
