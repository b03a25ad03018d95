"""How the desk's cases look in a terminal, and as JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from pointsman import CaseRow, History, Pending, Reader, Status
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.config import DeskConfig
from pointsman_desk.desk import Run, reasons
from pointsman_desk.mail.notes import MEANING
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.survey import Survey
from pointsman_desk.process import FOLLOW_UP

CASE_WIDTH = 5  # a desk with more than 99,999 cases has a wider terminal
INTENT_WIDTH = 14  # the longest intent


async def case_json(reader: Reader, row: CaseRow) -> dict[str, Any]:
    """A case as a line of a list."""
    fields = {
        field.field: json.loads(field.text)
        for field in await reader.fields(row.id)
        if field.field in {"mail", "intent", "risk", "customer_id"}
    }
    mail = fields.get("mail") or {}
    return {
        "id": row.id,
        "subject": mail.get("subject", ""),
        "from": fields.get("customer_id"),
        "status": row.status,
        "rule": row.rule,
        "why": reasons(row),
        "intent": fields.get("intent"),
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
            table.add_row(*(safe(case[column] or "") for column in ("id", "intent", "from", "subject")))
        console.print(table)


_ORDER = (Status.DONE, Status.READY, Status.RUNNING, Status.CANCELLED, Status.BLOCKED, Status.PARKED, Status.WAITING)


def print_case(history: History, later: Sequence[int] = ()) -> None:
    """A case in full: the mail, the facts, the draft, and what can be done with it; `later` are the cases that came of it."""
    state, row = history.state, history.case
    mail, grounds = state.get("mail") or {}, state.get("grounds") or {}
    console.print(f"[bold]case {row.id}[/] {row.status}: {safe(reasons(row))}")
    name = f"{mail['sender_name']} " if mail.get("sender_name") else ""
    console.print(f"From:    {safe(name)}<{safe(state.get('customer_id'))}>")
    if mail.get("authentication"):
        console.print(f"Trust:   {safe(state.get('trust') or 'not judged')} ({safe(mail['authentication']['why'])})")
    console.print(f"Subject: {safe(mail.get('subject') or '(no subject)')}\n")
    console.print(safe(mail.get("text") or "(no text)"))
    if mail.get("quoted"):
        console.print(f"[dim]({len(mail['quoted'].splitlines())} quoted lines)[/]")
    if mail.get("attachments"):
        console.print("Attachments: " + ", ".join(safe(f"{one['name']} ({one['size']} bytes)") for one in mail["attachments"]))
    if mail.get("automatic"):
        console.print(safe(_machine_told(mail["automatic"], mail.get("bounce"))))
    _print_conversation(history, later)
    if mail.get("notes"):
        odd = "; ".join(MEANING.get(note, note) for note in mail["notes"])
        console.print(f"[yellow]Odd about it: {safe(odd)}.[/]")
    if state.get("intent"):
        because = ", ".join(repr(phrase) for phrase in grounds.get("phrases", ())) or "nothing that matched"
        console.print(f"\n{safe(state['intent'])}, risk {safe(state['risk'])} ({safe(grounds.get('model', ''))}; because: {safe(because)})")
    if grounds.get("opinions"):
        console.print(f"Who said what: {safe('; '.join(grounds['opinions']))}.")
    if grounds.get("signs"):
        console.print(f"[yellow]A person should see it: {safe('; '.join(grounds['signs']))}.[/]")
    if state.get("order"):
        console.print("Order: " + safe(_order_told(state["order"])))
    if state.get("reply"):
        _print_reply(state["reply"], state.get("verdict"))
    _print_objections(history)
    _print_outgoing(state.get("outgoing"))
    _print_people(history)
    if state.get("receipt"):
        told = ", ".join(filter(None, (state["receipt"]["transport"], state["receipt"]["detail"])))
        console.print(f"Sent as {safe(state['receipt']['provider_message_id'])} ({safe(told)}).")
    if row.status is Status.READY:
        _print_last_failure(history)
    if row.status is Status.PARKED:
        _print_ways_on(history)
    if row.status is Status.WAITING and row.step == FOLLOW_UP:
        console.print(f"\nIt waits for the customer's answer. To end it: pointsman-desk close {row.id}")
    elif row.status is Status.WAITING and history.pause is not None:
        seen = history.pause.digest[:12]
        console.print(f"\npointsman-desk approve {row.id} --seen {seen}   (or edit, or reject)")


def _print_conversation(history: History, later: Sequence[int]) -> None:
    """To which other mails and cases the mail belongs, and what machines have said to them."""
    mails, reports = history.state.get("mails") or [], history.state.get("reports") or []
    if len(mails) > 1:
        console.print(f"It is mail {len(mails)} of its conversation.")
    newest = mails[-1] if mails else {}
    if newest.get("related") not in {None, history.case.id}:
        sure = f"it is an answer there ({newest['link']})" if newest["link"] else "possibly related: a stranger to it names a mail of it"
        console.print(f"See case {newest['related']}; {safe(sure)}.")
    elif newest.get("link"):
        console.print(f"It came here as: {safe(newest['link'])}.")
    if newest.get("flood"):
        console.print(f"[yellow]No machine answers it: {safe(newest['flood'])}.[/]")
    allowance = history.state.get("allowance") or {}
    if allowance.get("why"):
        console.print(f"[yellow]No machine answers it: {safe(allowance['why'])}.[/]")
    for report in reports:
        console.print(f"From {safe(report['sender'])}: {safe(_machine_told(report['automatic'], report['bounce']))}")
    if later:
        console.print(f"What came of it: case {', '.join(map(str, later))}.")


def _print_objections(history: History) -> None:
    """Which answers of models did not pass the checks, and what was done about each."""
    for event in history.events:
        if event.kind == "guard.violated":
            facts = json.loads(event.facts)
            checks = ", ".join(dict.fromkeys(violation["check"] for violation in facts["violations"]))
            told = f"An answer of {(facts.get('used') or {}).get('model') or 'a model'} to {event.step} did not pass ({checks}): {facts['next']}."
            console.print(f"[dim]{safe(told)}[/]")


def _print_last_failure(history: History) -> None:
    """Why a case that will be tried again has not gone on."""
    for event in reversed(history.events):
        if event.kind in {"node.failed", "effect.not_sent"}:
            console.print(f"[yellow]The last attempt to {safe(event.step)} failed: {safe(json.loads(event.facts).get('message') or '')}[/]")
            return


def _machine_told(automatic: str, bounce: dict[str, Any] | None) -> str:
    if bounce is None:
        return f"Sent by a machine: {automatic}."
    facts = (
        ", ".join(bounce["recipients"]),
        bounce["status"],
        bounce["diagnostic"],
        bounce["message_id"] and f"of the mail {bounce['message_id']}",
    )
    return f"Sent by a machine: {automatic}; {'; '.join([bounce['action'], *filter(None, facts)])}."


def _order_told(order: dict[str, Any]) -> str:
    if "number" not in order:
        return f"none; {order['reason']}" + (f" ({order['asked']})" if order.get("asked") else "")
    due = f", due {order['due_on']}" if order["due_on"] else ""
    return f"{order['number']}, {order['status']}{due}, {order['total']} {order['currency']}"


def _print_people(history: History) -> None:
    """Who decided what."""
    for event in history.events:
        facts = json.loads(event.facts)
        if event.kind == "resumed":
            approval = history.state.get("approval") or {}
            decided = approval.get("decision", "answered") if approval.get("by") == facts["by"] else "answered"
            note = f": {approval['note']}" if approval.get("note") and approval.get("by") == facts["by"] else ""
            console.print(f"[bold]{safe(facts['by'])}[/]: {safe(decided + note)}")
        elif event.kind in {"cancelled", "redriven"} or str(facts.get("how", "")).startswith("resolved"):
            console.print(f"[bold]{safe(facts.get('by'))}[/]: {event.kind} ({safe(facts.get('why'))})")


def _print_ways_on(history: History) -> None:
    """Why a case is parked, and what a person can do about it."""
    number = history.case.id
    console.print(f"\n[yellow]Parked: {safe(history.case.reason or '')}[/]")
    if any(effect.status == "in_doubt" for effect in history.effects):
        console.print(f"Find out whether the reply arrived: pointsman-desk resolve {number} --arrived, or --send-again.")
    elif any(effect.status == "failed" for effect in history.effects):
        console.print(
            f"Once the reason is mended: pointsman-desk resolve {number} --send-again. To close it: pointsman-desk cancel {number} --why ..."
        )
    else:
        console.print(
            f"Once the reason is mended: pointsman-desk redrive {number} --why ... To close it: pointsman-desk cancel {number} --why ..."
        )


def print_draft(pending: Pending) -> None:
    """The draft that is shown now."""
    _print_reply(pending.shown["reply"].model_dump(), pending.beside["verdict"].model_dump())
    _print_outgoing(pending.beside["outgoing"].model_dump(mode="json"))
    console.print(f"This draft has the digest {pending.digest[:12]}.\n")


def print_decision(history: History, config: DeskConfig) -> None:
    """What became of a case after a person's decision."""
    state, row = history.state, history.case
    if row.outcome == "sent" or row.step == FOLLOW_UP:
        place = f"; it is in {config.outbox}" if config.smtp is None and config.resend is None else ""
        console.print(
            safe(f"case {row.id}: the reply to {state['outgoing']['to']} was sent as {state['receipt']['provider_message_id']}{place}.")
        )
    elif row.status is Status.WAITING:
        console.print(f"case {row.id} waits for approval: {safe(reasons(row))}.")
        _print_reply(state.get("reply"), state.get("verdict"))
        _print_outgoing(state.get("outgoing"))
        console.print(f"\npointsman-desk approve {row.id} --seen {history.pause.digest[:12] if history.pause else ''}")
    elif row.status is Status.READY:
        console.print(f"case {row.id} will be tried again later: {safe(row.step or '')}.")
    else:
        console.print(f"case {row.id} is {row.status}: {safe((row.reason or row.outcome or '').rstrip('.'))}.")
    if row.status is Status.PARKED:
        _print_ways_on(history)


def _print_reply(reply: dict[str, Any] | None, verdict: dict[str, Any] | None) -> None:
    reply = reply.get("value") if reply and "raw" in reply else reply  # an Unsafe holds what was proposed, if anything
    if not reply:
        console.print("\n[red]No model has come to a draft.[/]")
        return
    console.print(f"\n[bold]Reply[/] by {safe(reply['author'])}, {reply['language']}, {reply['tone']}:")
    console.print(safe(reply["body"]))
    for violation in (verdict or {}).get("violations", ()):
        console.print(f"[red]It breaks a rule ({safe(violation['check'])}): {safe(violation['message'])}[/]")


def _print_outgoing(outgoing: dict[str, Any] | None) -> None:
    """What leaves, or left, down to the hash of its bytes."""
    if not outgoing:
        return
    console.print(f"\nComposed for {safe(outgoing['to'])}: {safe(outgoing['subject'])}")
    console.print(f"[dim]{len(outgoing['raw'])} bytes, sha256 {outgoing['sha256'][:16]}, {safe(outgoing['message_id'])}[/]")
