"""Print a reply: its draft, its delivery, and the next commands if it has not been sent."""

from collections.abc import Sequence
from typing import Any

from pointsman import History, Status, format_duration, format_time
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.mail.lookalikes import both_forms
from pointsman_desk.standing import SEND, Beside, Dispatch, parked_by_rule, reasons, standing_of


def print_reply(reply: dict[str, Any] | None, verdict: dict[str, Any] | None) -> None:
    """Print the text of a draft and what the checks found."""
    reply = reply.get("value") if reply and "raw" in reply else reply  # an Unsafe holds the rejected draft, if any
    if not reply:
        console.print("\n[red]No model produced a draft.[/]")
        return
    console.print(f"\n[bold]Reply[/] by {safe(reply['author'])}, {reply['language']}, {reply['tone']}:")
    console.print(safe(reply["body"]))
    for violation in (verdict or {}).get("violations", ()):
        console.print(f"[red]Breaks a rule ({safe(violation['check'])}): {safe(violation['message'])}[/]")


def print_outgoing(outgoing: dict[str, Any] | None) -> None:
    """Print the message that is or was sent, down to the hash of its bytes."""
    if not outgoing:
        return
    console.print(f"\nTo {safe(both_forms(outgoing['to']))}: {safe(outgoing['subject'])}")
    if outgoing.get("cc"):
        console.print(f"Copy to {safe(', '.join(map(both_forms, outgoing['cc'])))}")
    console.print(f"[dim]{len(outgoing['raw'])} bytes, sha256 {outgoing['sha256'][:16]}, {safe(outgoing['message_id'])}[/]")


def print_dispatches(history: History, dispatches: Sequence[Dispatch]) -> None:
    """Print each reply: what was sent, to whom and when, and its delivery status."""
    present = (history.state.get("outgoing") or {}).get("message_id")
    for one in dispatches:
        subject = f", {one.outgoing.subject!r}, {one.outgoing.message_id}" if one.outgoing else ""
        reply = f"the reply of {format_time(one.at)}{f' to {one.outgoing.to}' if one.outgoing else ''}{subject}"
        is_present = one.outgoing is not None and one.outgoing.message_id == present
        match one.standing:
            case "in doubt":
                console.print(
                    f"[red]In doubt: {safe(reply)}, may have been sent ({safe(one.error or 'the desk ended during the call')}).[/]"
                )
            case "refused":
                console.print(f"[red]Refused: {safe(reply)} ({safe(one.error)}).[/]")
            case "not sent":
                console.print(f"[yellow]Not sent: {safe(reply)} ({safe(one.error)}).[/]")
            case "interrupted":
                console.print(f"[yellow]Interrupted: {safe(reply)}, may have been sent; the next `pointsman-desk run` settles it.[/]")
            case "being sent":
                console.print(f"Being sent: {safe(reply)}.")
            case "sent" if not is_present:
                console.print(f"Sent: {safe(reply)}.")
        if one.outgoing is not None and not is_present:
            console.print(f"[dim]{safe(one.outgoing.body)}[/]")


def print_beside(beside: Beside) -> None:
    """Print what came since and is not part of the state yet."""
    for one in beside.later:
        if one.bounce is not None:
            reason = ", ".join(filter(None, (one.bounce.status, one.bounce.diagnostic))) or "no reason given"
            console.print(f"[red]A reply of this case bounced ({safe(reason)}): pointsman-desk show {one.case}[/]")
    if others := [str(one.case) for one in beside.later if one.bounce is None]:
        console.print(f"Follow-up cases: {', '.join(others)}.")
    if beside.unknown:
        console.print(f"[yellow]Follow-up cases are unknown at the moment: {safe(beside.unknown)}[/]")
    for mail in beside.waiting:
        console.print(f"\n[bold]A newer mail waits for this decision[/], from {safe(mail.sender)}, {safe(mail.date or 'without a date')}:")
        console.print(f"Subject: {safe(mail.subject or '(no subject)')}\n")
        console.print(safe(mail.text or "(no text)"))


def print_next_commands(history: History, *, newer: bool) -> None:
    """Print why a case is parked and what a person can do; `newer` says that a newer mail waits."""
    row, number = history.case, history.case.id
    closing = f"To close it: pointsman-desk cancel {number} --why TEXT"
    standing = standing_of(row, history.effects)
    if standing == "in doubt":
        console.print("\n[yellow]Parked: nobody knows whether the reply was sent.[/]")
        console.print(f"Find out whether it arrived, then: pointsman-desk resolve {number} --arrived, or --send-again.")
        if newer:
            console.print("Because a newer mail waits, --send-again drafts a new reply to both mails for your approval.")
        return
    if standing == "sent" and row.step == SEND:
        console.print(f"\n[yellow]Parked: {safe(reasons(row, history.effects))}.[/]")
        console.print(f"To continue: pointsman-desk resolve {number} --arrived")
        return
    console.print(f"\n[yellow]Parked: {safe((row.reason or '').rstrip('.'))}.[/]")
    if standing == "refused":
        console.print(f"When the reason is fixed: pointsman-desk resolve {number} --send-again. {closing}")
        console.print(f"To change its text or recipient: cancel it, then pointsman-desk reopen {number}")
    elif parked_by_rule(row):
        console.print(closing)
    else:
        console.print(f"When the reason is fixed: pointsman-desk redrive {number} --why TEXT. {closing}")


def next_try(history: History, now: float | None) -> str:
    """Return when a ready case continues, as text."""
    wake_at = history.case.wake_at
    if history.case.status is not Status.READY or wake_at is None or (now is not None and wake_at <= now):
        return "with the next run: pointsman-desk run"
    more = "" if now is None else f" (in {format_duration(wake_at - now)})"
    return f"at {format_time(wake_at)}{more}, if the desk is running: pointsman-desk serve"


def beside_json(beside: Beside) -> dict[str, Any]:
    """Return a Beside as a JSON object; times are Unix seconds."""
    replies = [
        {
            "standing": one.standing, "at": one.at, "calls": one.calls, "error": one.error,
            "outgoing": None if one.outgoing is None else one.outgoing.model_dump(mode="json", exclude={"raw"}),
        }
        for one in beside.dispatches
    ]  # fmt: skip
    return {
        "replies": replies,
        "waiting": [mail.model_dump(mode="json") for mail in beside.waiting],
        "later": [one.case for one in beside.later],
        "came_back": [one.case for one in beside.later if one.bounce is not None],
    }
