"""The commands that decide on a case: approve, edit, reject, redrive, cancel, resolve."""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pointsman import Status, SystemClock
from pointsman.client import find_running
from pointsman_desk.cli.lists import SHOWN_MAX, listed, print_cases
from pointsman_desk.cli.looking import look_at
from pointsman_desk.cli.one_case import print_decision, print_draft, print_question
from pointsman_desk.cli.options import CASE_MAX, By, CaseNumber, Cc, Config, Json, Seen, To, Yes, said
from pointsman_desk.cli.session import carry_out, exit_with, or_exit, who
from pointsman_desk.cli.shown import last_shown, remember
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.commands import (
    SEEN_MIN,
    Approve,
    Assign,
    Cancel,
    Command,
    Edit,
    OnCase,
    Readdress,
    Redraft,
    Redrive,
    RedriveAll,
    Reject,
    Resolve,
)
from pointsman_desk.config import DeskConfig, load_config
from pointsman_desk.errors import DeskError, DraftChanged
from pointsman_desk.folder import reader_of
from pointsman_desk.standing import reasons
from pointsman_desk.steps import FOLLOW_UP, SORT

NOTHING_SEEN = "0" * SEEN_MIN  # matches no draft, so a draft that appears meanwhile is not approved


def approve(
    case: CaseNumber,
    seen: Seen = None,
    yes: Yes = False,
    by: By = None,
    despite_violations: Annotated[bool, typer.Option("--despite-violations", help="Send it although it breaks a rule.")] = False,
    to: To = None,
    cc: Cc = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Send the draft of a case. If you have not seen the draft yet, the command shows it and asks.

    With --to or --cc, the desk writes the reply anew and asks for approval again.
    """
    settings = or_exit(lambda: load_config(config))
    if to is not None or cc is not None:
        readdressed = or_exit(lambda: Readdress(case=case, by=who(by), seen=seen, to=to, copies=_kept(cc)))
        decide(settings, readdressed, as_json=as_json)
        return
    shown = _shown(settings, case, seen, "Send this reply?", yes=yes, as_json=as_json)
    approved = or_exit(lambda: Approve(case=case, by=who(by), seen=shown, despite_violations=despite_violations))
    decide(settings, approved, as_json=as_json)


def edit(
    case: CaseNumber,
    text: Annotated[str | None, typer.Option(help="The new text of the reply.", show_default=False)] = None,
    file: Annotated[typer.FileText | None, typer.Option(help="A file with the new text; - is standard input.", show_default=False)] = None,
    send: Annotated[bool, typer.Option("--approve", help="Send it at once if it breaks no rule.")] = False,
    to: To = None,
    cc: Cc = None,
    seen: Seen = None,
    yes: Yes = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Replace the text of the draft. The new text is checked and waits for approval."""
    if (text is None) == (file is None):
        exit_with("give the new text with --text or --file.")
    body = text if text is not None else or_exit(lambda: _text_of(file))
    settings = or_exit(lambda: load_config(config))
    shown = _shown(settings, case, seen, "Send your text instead of this draft?", yes=yes, as_json=as_json) if send else seen
    edited = or_exit(lambda: Edit(case=case, by=who(by), body=body, seen=shown, send=send, to=to, copies=_kept(cc)))
    decide(settings, edited, as_json=as_json)


def redraft(
    case: CaseNumber,
    instruction: Annotated[str, typer.Option(help="What to change, such as: shorter, and name the tracking number.", callback=said)],
    seen: Seen = None,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask the model for a new draft, and say what to change. It waits for approval."""
    settings = or_exit(lambda: load_config(config))
    asked = or_exit(lambda: Redraft(case=case, by=who(by), instruction=instruction, seen=seen))
    decide(settings, asked, as_json=as_json)


def reject(
    case: CaseNumber,
    why: Annotated[str | None, typer.Option(help="Why the mail is not answered.", show_default=False, callback=said)] = None,
    seen: Seen = None,
    yes: Yes = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Close the case without a reply. If you have not seen the draft yet, the command shows it and asks."""
    settings = or_exit(lambda: load_config(config))
    shown = _shown(settings, case, seen, "Close this case without a reply?", yes=yes, as_json=as_json)
    decide(settings, or_exit(lambda: Reject(case=case, by=who(by), why=why or "", seen=shown)), as_json=as_json)


def redrive(
    why: Annotated[str, typer.Option(help="What you fixed.", callback=said)],
    case: Annotated[
        int | None, typer.Argument(metavar="[CASE]", min=1, max=CASE_MAX, help="The case's number.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every parked case, except replies in doubt or refused.")] = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Return a parked case, or all parked cases, to the backlog."""
    if (case is None) == (not everything):
        exit_with("give a case number or --all.")
    settings = or_exit(lambda: load_config(config))
    if case is not None:
        decide(settings, or_exit(lambda: Redrive(case=case, by=who(by), why=why)), as_json=as_json)
        return
    done = carry_out(settings, or_exit(lambda: RedriveAll(by=who(by), why=why)))
    moved = or_exit(lambda: asyncio.run(_listed(settings, done.cases)))
    if as_json:
        print(json.dumps(moved, ensure_ascii=False, indent=1))
    elif moved:
        print_cases(moved, now=SystemClock().now(), limit=SHOWN_MAX)
    else:
        print("No parked case can be redriven.")


async def _listed(settings: DeskConfig, cases: Sequence[int]) -> list[dict[str, Any]]:
    async with reader_of(settings) as reader:
        return await listed(reader, [row for case in cases if (row := await reader.case(case)) is not None], settings)


def assign(
    case: CaseNumber,
    to: Annotated[str, typer.Option("--to", metavar="WHO", help='Who decides on the case; "" is nobody in particular.')],
    note: Annotated[str | None, typer.Option(help="Why; whoever gets the case reads it.", show_default=False, callback=said)] = None,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask somebody else to decide on a case that waits for a person."""
    settings = or_exit(lambda: load_config(config))
    [assigned] = carry_out(settings, or_exit(lambda: Assign(case=case, by=who(by), to=to, note=note or ""))).cases
    history, _ = or_exit(lambda: asyncio.run(look_at(settings, assigned)))
    if as_json:
        print(json.dumps(history.as_json(), ensure_ascii=False, indent=1))
    elif history.pause is not None:
        console.print(f"case {assigned} waits for {safe(history.pause.assignee or 'anybody')}.")


def cancel(
    case: CaseNumber,
    why: Annotated[str, typer.Option(help="Why you close the case.", callback=said)],
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Cancel a case in any status, without a reply."""
    settings = or_exit(lambda: load_config(config))
    decide(settings, or_exit(lambda: Cancel(case=case, by=who(by), why=why)), as_json=as_json)


def resolve(
    case: CaseNumber,
    arrived: Annotated[bool, typer.Option("--arrived/--send-again", help="Whether the reply arrived, or must be sent again.")],
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say whether a reply in doubt arrived."""
    settings = or_exit(lambda: load_config(config))
    decide(settings, or_exit(lambda: Resolve(case=case, by=who(by), arrived=arrived)), as_json=as_json)


def _shown(settings: DeskConfig, case: int, seen: str | None, question: str, *, yes: bool, as_json: bool) -> str:
    """Return the digest of the draft to decide on: the one named, the one last shown, or the one shown now and confirmed."""
    if seen is not None:
        return seen
    history, beside = or_exit(lambda: asyncio.run(look_at(settings, case)))
    if history.pause is None or history.case.status is not Status.WAITING or history.case.step in {FOLLOW_UP, SORT}:
        return NOTHING_SEEN
    if not yes and (known := last_shown(settings, case)) is not None:
        return known
    if not yes and (as_json or not at_a_terminal()):
        problem = f"nothing was done, because you have not seen the draft of case {case}"
        exit_with(f"{problem}; see it with `pointsman-desk show {case}`. In a script, use --seen DIGEST or --yes.")
    if not as_json:
        print_question(history, beside)
        remember(settings, history)
    if not yes and not typer.confirm(f"\n{question}"):
        exit_with("nothing was done.")
    return history.pause.digest


def at_a_terminal() -> bool:
    """Return whether standard input is a terminal."""
    return sys.stdin.isatty()


def decide(settings: DeskConfig, command: Command, *, as_json: bool) -> None:
    """Carry out a decision on a case, and print where the case stands."""
    try:
        [case] = carry_out(settings, command).cases
    except DraftChanged as changed:
        if not as_json and isinstance(command, OnCase):
            history, _ = or_exit(lambda: asyncio.run(look_at(settings, command.case)))
            print_draft(history)
            remember(settings, history)
        exit_with(str(changed))
    history, _ = or_exit(lambda: asyncio.run(look_at(settings, case)))
    row = history.case
    if as_json:
        print(json.dumps(history.as_json(), ensure_ascii=False, indent=1))
    else:
        print_decision(history, settings, SystemClock().now())
    runs = settings.database is not None or find_running(settings.cases_file) is not None
    if row.status is Status.READY and (row.attempts or not runs):  # else it only waits for its turn
        exit_with(f"case {row.id} has not ended: {reasons(row, history.effects)}; your decision is saved.")
    if row.status is Status.PARKED:
        exit_with(f"case {row.id} has not ended: {reasons(row, history.effects)}.")


def _kept(cc: str | None) -> bool | None:
    if cc not in {None, "keep", "drop"}:
        raise DeskError(f"--cc {cc} is not valid; use keep or drop.")
    return None if cc is None else cc == "keep"


def _text_of(file: Any) -> str:
    try:
        return str(file.read())
    except UnicodeDecodeError:
        raise DeskError(f"{file.name} is not UTF-8 text; save it as UTF-8.") from None
