"""How a reply looks in a terminal: its draft, its way out, and what can be done where it has not left."""

from collections.abc import Sequence
from typing import Any

from pointsman import History, Status, format_duration, format_time
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.mail.lookalikes import both_forms
from pointsman_desk.standing import SEND, Beside, Dispatch, parked_by_rule, reasons, standing_of


def print_reply(reply: dict[str, Any] | None, verdict: dict[str, Any] | None) -> None:
    """The text of a draft, and what the checks say of it."""
    reply = reply.get("value") if reply and "raw" in reply else reply  # an Unsafe holds what was proposed, if anything
    if not reply:
        console.print("\n[red]No model has come to a draft.[/]")
        return
    console.print(f"\n[bold]Reply[/] by {safe(reply['author'])}, {reply['language']}, {reply['tone']}:")
    console.print(safe(reply["body"]))
    for violation in (verdict or {}).get("violations", ()):
        console.print(f"[red]It breaks a rule ({safe(violation['check'])}): {safe(violation['message'])}[/]")


def print_outgoing(outgoing: dict[str, Any] | None) -> None:
    """What leaves, or left, down to the hash of its bytes."""
    if not outgoing:
        return
    console.print(f"\nComposed for {safe(both_forms(outgoing['to']))}: {safe(outgoing['subject'])}")
    if outgoing.get("cc"):
        console.print(f"With a copy for {safe(', '.join(map(both_forms, outgoing['cc'])))}")
    console.print(f"[dim]{len(outgoing['raw'])} bytes, sha256 {outgoing['sha256'][:16]}, {safe(outgoing['message_id'])}[/]")


def print_dispatches(history: History, dispatches: Sequence[Dispatch]) -> None:
    """What became of each reply: what was sent, to whom and when, and what is known of it."""
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
    """What came since, and has not been taken up."""
    for one in beside.later:
        if one.bounce is not None:
            told = ", ".join(filter(None, (one.bounce.status, one.bounce.diagnostic))) or "no reason is given"
            console.print(f"[red]A reply of this case came back ({safe(told)}): pointsman-desk show {one.case}[/]")
    if others := [str(one.case) for one in beside.later if one.bounce is None]:
        console.print(f"What came of it: case {', '.join(others)}.")
    if beside.unknown:
        console.print(f"[yellow]What came of it is not known now: {safe(beside.unknown)}[/]")
    for mail in beside.waiting:
        console.print(
            f"\n[bold]A newer mail waits until this is settled[/], from {safe(mail.sender)}, {safe(mail.date or 'without a date')}:"
        )
        console.print(f"Subject: {safe(mail.subject or '(no subject)')}\n")
        console.print(safe(mail.text or "(no text)"))


def print_ways_on(history: History, *, newer: bool) -> None:
    """Why a case is parked, and what a person can do about it; `newer` says that a newer mail waits beside it."""
    row, number = history.case, history.case.id
    closing = f"To close it: pointsman-desk cancel {number} --why ..."
    standing = standing_of(row, history.effects)
    if standing == "in doubt":
        console.print("\n[yellow]Parked: nobody knows whether the reply was sent.[/]")
        console.print(f"Find out whether it arrived, and say so: pointsman-desk resolve {number} --arrived, or --send-again.")
        if newer:
            console.print("As a newer mail waits, --send-again sends nothing old: a new draft that answers both waits for you.")
        return
    if standing == "sent" and row.step == SEND:
        console.print(f"\n[yellow]Parked: {safe(reasons(row, history.effects))}.[/]")
        console.print(f"To go on: pointsman-desk resolve {number} --arrived")
        return
    console.print(f"\n[yellow]Parked: {safe((row.reason or '').rstrip('.'))}.[/]")
    if standing == "refused":
        console.print(f"Once the reason is mended: pointsman-desk resolve {number} --send-again. {closing}")
        console.print(f"To write or address it anew: cancel it, then pointsman-desk reopen {number}")
    elif parked_by_rule(row):
        console.print(closing)
    else:
        console.print(f"Once the reason is mended: pointsman-desk redrive {number} --why ... {closing}")


def next_try(history: History, now: float | None) -> str:
    """When a case that is ready goes on."""
    wake_at = history.case.wake_at
    if history.case.status is not Status.READY or wake_at is None or (now is not None and wake_at <= now):
        return "at the next run: pointsman-desk run"
    more = "" if now is None else f" (in {format_duration(wake_at - now)})"
    return f"at {format_time(wake_at)}{more}, if the desk is running then: pointsman-desk run --watch"


def beside_json(beside: Beside) -> dict[str, Any]:
    """The same as an object; times are Unix seconds."""
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
