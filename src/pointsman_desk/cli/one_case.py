"""Print one case: the mail, the desk's findings, the draft and the next commands."""

import json
from collections.abc import Mapping
from typing import Any

from pointsman import History, Status, format_duration, format_time
from pointsman_desk.cli.replies import next_try, print_beside, print_dispatches, print_next_commands, print_outgoing, print_reply
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.config import DeskConfig
from pointsman_desk.mail.lookalikes import both_forms
from pointsman_desk.mail.notes import MEANING
from pointsman_desk.standing import INTERRUPTED, Beside, reasons
from pointsman_desk.steps import FOLLOW_UP, SORT

NOTHING_BESIDE = Beside()


def print_case(history: History, beside: Beside = NOTHING_BESIDE, *, now: float | None = None) -> None:
    """Print a case in full. `now` is in Unix seconds."""
    state, row = history.state, history.case
    mail, grounds = state.get("mail") or {}, state.get("grounds") or {}
    console.print(f"[bold]case {row.id}[/] {row.status}: {safe(INTERRUPTED if beside.interrupted else reasons(row, history.effects))}")
    age = "" if now is None else f", {format_duration(now - row.created_at)} ago"
    console.print(f"Received: {format_time(row.created_at)}{age}")
    _print_head(state, mail, beside)
    _print_words(mail)
    if mail.get("quoted"):
        console.print(f"[dim]({len(mail['quoted'].splitlines())} quoted lines)[/]")
    if mail.get("attachments"):
        console.print("Attachments: " + ", ".join(safe(f"{one['name']} ({one['size']} bytes)") for one in mail["attachments"]))
    if mail.get("automatic"):
        console.print(safe(_machine_text(mail["automatic"], mail.get("bounce"), proved=mail.get("proved", False))))
    _print_conversation(history)
    if mail.get("notes"):
        odd = "; ".join(MEANING.get(note, note) for note in mail["notes"])
        console.print(f"[yellow]Peculiarities: {safe(odd)}.[/]")
    if state.get("intents"):
        because = ", ".join(repr(phrase) for phrase in grounds.get("phrases", ())) or "no phrase matched"
        console.print(
            f"\n{safe(', '.join(state['intents']))}, risk {safe(state['risk'])} ({safe(grounds.get('model', ''))}; because: {safe(because)})"
        )
    if grounds.get("opinions"):
        console.print(f"Classified by: {safe('; '.join(grounds['opinions']))}.")
    if grounds.get("signs"):
        console.print(f"[yellow]Needs a person: {safe('; '.join(grounds['signs']))}.[/]")
    if state.get("order"):
        console.print("Order: " + safe(_order_text(state["order"])))
    if state.get("reply"):
        print_reply(state["reply"], state.get("verdict"))
    _print_objections(history)
    print_outgoing(state.get("outgoing"))
    _print_people(history)
    _print_next_steps(history, beside, now)


def _print_next_steps(history: History, beside: Beside, now: float | None) -> None:
    """Print what happened to the reply, what came since, and the next commands."""
    state, row = history.state, history.case
    if state.get("receipt"):
        details = ", ".join(filter(None, (state["receipt"]["transport"], state["receipt"]["detail"])))
        console.print(f"Sent as {safe(state['receipt']['provider_message_id'])} ({safe(details)}).")
    print_dispatches(history, beside.dispatches)
    print_beside(beside)
    if row.status is Status.READY:
        _print_last_failure(history)
        console.print(f"Next attempt: {safe(next_try(history, now))}")
    if row.status is Status.PARKED:
        print_next_commands(history, newer=bool(beside.waiting))
    if row.status is Status.WAITING and row.step == FOLLOW_UP:
        console.print(f"\nThe case waits for the customer's answer. To close it: pointsman-desk close {row.id}")
    elif row.status is Status.WAITING and row.step == SORT:
        console.print(f"\nTo close it: pointsman-desk close {row.id}. To answer it: pointsman-desk accept {row.id}")
    elif row.status is Status.WAITING and history.pause is not None:
        seen = history.pause.digest[:12]
        console.print(f"\npointsman-desk approve {row.id} --seen {seen}   (or edit, or reject)")


def _print_head(state: Mapping[str, Any], mail: Mapping[str, Any], beside: Beside) -> None:
    """Print the sender, how far the sender is proved, and the other recipients."""
    name = f"{mail['sender_name']} " if mail.get("sender_name") else ""
    console.print(f"From:    {safe(name)}<{safe(both_forms(state.get('customer_id') or ''))}>")
    if beside.form:
        console.print(f"Form:    {safe(beside.form)}")
    if mail.get("authentication"):
        console.print(f"Trust:   {safe(state.get('trust') or 'not judged')} ({safe(mail['authentication']['why'])})")
    if mail.get("reply_to") and mail["reply_to"] != mail["sender"]:
        console.print(f"Reply-To: {safe(both_forms(mail['reply_to']))}")
    if mail.get("cc"):
        console.print(f"Cc:      {safe(', '.join(map(both_forms, mail['cc'])))}")
    console.print(f"Subject: {safe(mail.get('subject') or '(no subject)')}\n")


def _print_words(mail: Mapping[str, Any]) -> None:
    """Print the customer's text, and the text that may be the customer's."""
    console.print(safe(mail.get("text") or "(no text)"))
    if mail.get("doubtful"):
        if "doubtful-lines" in mail.get("notes", ()):
            console.print("[yellow]Possibly also written by the customer:[/]")
        console.print(safe(mail["doubtful"]))


def _print_unanswered(history: History) -> None:
    """Print the earlier mails that the draft also answers."""
    for earlier in reversed(history.state.get("earlier") or []):
        said = "\n\n".join(filter(None, (earlier["text"], earlier["doubtful"])))
        console.print(f"[bold]Earlier mail, not answered yet:[/] {safe(earlier['subject'])}\n{safe(said or '(no text)')}")


def _print_conversation(history: History) -> None:
    """Print the related mails and cases, and the reports of mail servers."""
    mails, reports = history.state.get("mails") or [], history.state.get("reports") or []
    if len(mails) > 1:
        console.print(f"Mail {len(mails)} of its conversation.")
    _print_unanswered(history)
    for reply in history.state.get("sent") or []:
        console.print(f"Already answered: {len(reply['answers'])} mails, to {safe(reply['to'])}: {safe(reply['subject'])}")
    newest = mails[-1] if mails else {}
    if newest.get("reopened"):
        earlier = newest["related"]
        console.print(f"Reopened by {safe(newest['reopened'])} from case {earlier}; see pointsman-desk show {earlier}.")
        for text in newest["history"]:
            console.print(f"[dim]From the earlier case:[/]\n{safe(text)}")
    elif newest.get("related") not in {None, history.case.id}:
        sure = f"answers it ({newest['link']})" if newest["link"] else "possibly related: it refers to a mail of that case"
        console.print(f"See case {newest['related']}; {safe(sure)}.")
    elif newest.get("link"):
        console.print(f"Assigned to this case as: {safe(newest['link'])}.")
    if newest.get("flood"):
        console.print(f"[yellow]No automatic reply: {safe(newest['flood'])}.[/]")
    allowance = history.state.get("allowance") or {}
    if allowance.get("why"):
        console.print(f"[yellow]No automatic reply: {safe(allowance['why'])}.[/]")
    for report in reports:
        console.print(f"From {safe(report['sender'])}: {safe(_machine_text(report['automatic'], report['bounce'], proved=True))}")


def _print_objections(history: History) -> None:
    """Print the models' answers that failed a check, and what happened next."""
    for event in history.events:
        if event.kind == "guard.violated":
            facts = json.loads(event.facts)
            checks = ", ".join(dict.fromkeys(violation["check"] for violation in facts["violations"]))
            line = f"An answer of {(facts.get('used') or {}).get('model') or 'a model'} to {event.step} failed ({checks}): {facts['next']}."
            console.print(f"[dim]{safe(line)}[/]")


def _print_last_failure(history: History) -> None:
    """Print why the last attempt of a case failed."""
    for event in reversed(history.events):
        if event.kind in {"node.failed", "effect.not_sent"}:
            console.print(f"[yellow]The last attempt to {safe(event.step)} failed: {safe(json.loads(event.facts).get('message') or '')}[/]")
            return


def _machine_text(automatic: str, bounce: dict[str, Any] | None, *, proved: bool) -> str:
    sent_by = "Sent by a machine" if proved else "Probably sent by a machine"
    if bounce is None:
        return f"{sent_by}: {automatic}."
    facts = (
        ", ".join(bounce["recipients"]),
        bounce["status"],
        bounce["diagnostic"],
        bounce["message_id"] and f"of the mail {bounce['message_id']}",
    )
    return f"{sent_by}: {automatic}; {'; '.join([bounce['action'], *filter(None, facts)])}."


def _order_text(order: dict[str, Any]) -> str:
    if "number" not in order:
        return f"none; {order['reason']}" + (f" ({order['asked']})" if order.get("asked") else "")
    due = f", due {order['due_on']}" if order["due_on"] else ""
    return f"{order['number']}, {order['status']}{due}, {order['total']} {order['currency']}"


def _print_people(history: History) -> None:
    """Print who decided what."""
    for event in history.events:
        facts = json.loads(event.facts)
        if event.kind == "resumed":
            approval = history.state.get("approval") or {}
            decided = approval.get("decision", "answered") if approval.get("by") == facts["by"] else "answered"
            note = f": {approval['note']}" if approval.get("note") and approval.get("by") == facts["by"] else ""
            console.print(f"[bold]{safe(facts['by'])}[/]: {safe(decided + note)}")
        elif event.kind in {"cancelled", "redriven"} or str(facts.get("how", "")).startswith("resolved"):
            console.print(f"[bold]{safe(facts.get('by'))}[/]: {event.kind} ({safe(facts.get('why'))})")


def _print_instruction(state: Mapping[str, Any]) -> None:
    """Print what a person asked the draft to be like, and whether anything came of it."""
    mail, reply = state.get("mail") or {}, state.get("reply") or {}
    asked = [one for one in state.get("instructions") or () if one["about"] == mail.get("message_id")]
    if asked:
        console.print(f"[bold]{safe(asked[-1]['by'])}[/] asked for a new draft: {safe(asked[-1]['text'])}")
        if reply.get("value", reply) == asked[-1]["draft"]:
            console.print("No language model has followed this, so the draft is as it was; write the reply yourself.")


def print_draft(history: History) -> None:
    """Print the current draft."""
    _print_instruction(history.state)
    print_reply(history.state.get("reply"), history.state.get("verdict"))
    print_outgoing(history.state.get("outgoing"))
    if history.pause is not None:
        console.print(f"This draft has the digest {history.pause.digest[:12]}.\n")


def print_decision(history: History, config: DeskConfig, now: float) -> None:
    """Print the case after a person's decision; `now` is in Unix seconds."""
    state, row = history.state, history.case
    if row.outcome == "sent" or row.step == FOLLOW_UP:
        place = f"; it is in {config.outbox}" if config.smtp is None and config.resend is None else ""
        console.print(
            safe(f"case {row.id}: the reply to {state['outgoing']['to']} was sent as {state['receipt']['provider_message_id']}{place}.")
        )
    elif row.status is Status.WAITING and row.step == SORT:
        console.print(f"case {row.id} waits: {safe(reasons(row, history.effects))}.")
    elif row.status is Status.WAITING:
        console.print(f"case {row.id} waits for approval: {safe(reasons(row, history.effects))}.")
        _print_instruction(state)
        print_reply(state.get("reply"), state.get("verdict"))
        print_outgoing(state.get("outgoing"))
        console.print(f"\npointsman-desk approve {row.id} --seen {history.pause.digest[:12] if history.pause else ''}")
    elif row.status is Status.READY:
        console.print(f"case {row.id}: your decision is saved, but {safe(reasons(row, history.effects))}.")
        _print_last_failure(history)
        console.print(f"Next attempt: {safe(next_try(history, now))}")
    elif row.status is not Status.PARKED:
        console.print(f"case {row.id} is {row.status}: {safe((row.reason or row.outcome or '').rstrip('.'))}.")
    if row.status is Status.PARKED:
        print_next_commands(history, newer=bool(row.inbox))


def print_question(history: History, beside: Beside) -> None:
    """What a person is about to decide on: all that the draft answers, and the draft that would leave."""
    state = history.state
    mail = state.get("mail") or {}
    console.print(
        f"[bold]case {history.case.id}[/]: {safe(both_forms(state.get('customer_id') or ''))}: {safe(mail.get('subject') or '(no subject)')}\n"
    )
    _print_words(mail)
    _print_unanswered(history)
    _print_instruction(state)
    print_reply(state.get("reply"), state.get("verdict"))
    print_outgoing(state.get("outgoing"))
    print_beside(beside)
