"""The commands that decide on a case: approve, edit, reject, redrive, cancel, resolve."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from pointsman import CaseRow, Status, history_of
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.lists import SHOWN_MAX, listed, print_cases
from pointsman_desk.cli.looking import look_at
from pointsman_desk.cli.one_case import print_decision, print_draft, print_question
from pointsman_desk.cli.options import CASE_MAX, By, CaseNumber, Cc, Config, Json, Seen, To, Yes, said
from pointsman_desk.cli.session import exit_with, or_exit, who, with_desk
from pointsman_desk.cli.shown import last_shown, remember, remember_digest
from pointsman_desk.config import DeskConfig, load_config
from pointsman_desk.errors import DeskError
from pointsman_desk.process import FOLLOW_UP, SORT
from pointsman_desk.standing import reasons
from pointsman_desk.wiring import Desk

NOTHING_SEEN = "0" * at_desk.SEEN_MIN  # the digest of no draft: one that comes up meanwhile is not approved unseen


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
    """Send the draft of a case as you saw it; where you have not looked at it, it is shown, and you are asked.

    With another recipient or a copy it is composed anew and shown, and waits for approval again.
    """
    settings = or_exit(lambda: load_config(config))
    if to is not None or cc is not None:
        decide(settings, lambda desk: at_desk.readdress(desk, case, by=who(by), seen=seen, to=to, copies=_kept(cc)), as_json=as_json)
        return
    shown = _shown(settings, case, seen, "Send this reply?", yes=yes, as_json=as_json)
    decide(
        settings,
        lambda desk: at_desk.approve(desk, case, by=who(by), seen=shown, despite_violations=despite_violations),
        as_json=as_json,
        sends=True,
    )


def edit(
    case: CaseNumber,
    text: Annotated[str | None, typer.Option(help="The new text of the reply.", show_default=False)] = None,
    file: Annotated[typer.FileText | None, typer.Option(help="A file with the new text; - for standard input.", show_default=False)] = None,
    send: Annotated[bool, typer.Option("--approve", help="Send it at once if it breaks no rule.")] = False,
    to: To = None,
    cc: Cc = None,
    seen: Seen = None,
    yes: Yes = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put another text in place of the draft; it is checked again and waits for approval."""
    if (text is None) == (file is None):
        exit_with("give the new text with --text, or in a file with --file.")
    body = text if text is not None else or_exit(lambda: _text_of(file))
    settings = or_exit(lambda: load_config(config))
    shown = _shown(settings, case, seen, "Send your text in the place of this draft?", yes=yes, as_json=as_json) if send else seen
    decide(
        settings,
        lambda desk: at_desk.edit(desk, case, by=who(by), body=body, seen=shown, send=send, to=to, copies=_kept(cc)),
        as_json=as_json,
        sends=True,
    )


def reject(
    case: CaseNumber,
    why: Annotated[str | None, typer.Option(help="Why the mail is not answered.", show_default=False, callback=said)] = None,
    seen: Seen = None,
    yes: Yes = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Do not answer this mail; where you have not looked at it, it is shown, and you are asked."""
    settings = or_exit(lambda: load_config(config))
    shown = _shown(settings, case, seen, "Leave this mail without an answer?", yes=yes, as_json=as_json)
    decide(settings, lambda desk: at_desk.reject(desk, case, by=who(by), why=why or "", seen=shown), as_json=as_json)


def redrive(
    why: Annotated[str, typer.Option(help="What was mended.", callback=said)],
    case: Annotated[
        int | None, typer.Argument(metavar="[CASE]", min=1, max=CASE_MAX, help="The case's number.", show_default=False)
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every parked case that a redrive can take on: no reply in doubt or refused.")
    ] = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put a parked case, or all of them, back into the line."""
    if (case is None) == (not everything):
        exit_with("name the case, or say --all.")
    if case is not None:
        settings = or_exit(lambda: load_config(config))
        decide(settings, lambda desk: at_desk.redrive(desk, case, by=who(by), why=why), as_json=as_json, sends=True)
        return
    settings = or_exit(lambda: load_config(config))

    async def work(desk: Desk, _: asyncio.Event) -> None:
        moved = await listed(desk.engine.reader, await at_desk.redrive_all(desk, by=who(by), why=why), settings)
        if as_json:
            print(json.dumps(moved, ensure_ascii=False, indent=1))
        elif moved:
            print_cases(moved, now=desk.clock.now(), limit=SHOWN_MAX)
        else:
            print("No case is parked that a redrive could take on.")

    with_desk(settings, work, needs="sending")


def cancel(
    case: CaseNumber,
    why: Annotated[str, typer.Option(help="Why it is closed.", callback=said)],
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Close a case without an answer, wherever it stands."""
    settings = or_exit(lambda: load_config(config))
    decide(settings, lambda desk: at_desk.cancel(desk, case, by=who(by), why=why), as_json=as_json)


def resolve(
    case: CaseNumber,
    arrived: Annotated[bool, typer.Option("--arrived/--send-again", help="Did the reply arrive, or shall it be sent again?")],
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say whether a reply arrived whose sending was cut short."""
    settings = or_exit(lambda: load_config(config))
    decide(settings, lambda desk: at_desk.resolve(desk, case, by=who(by), arrived=arrived), as_json=as_json, sends=True)


def _shown(settings: DeskConfig, case: int, seen: str | None, question: str, *, yes: bool, as_json: bool) -> str:
    """Return the digest of what the person decides on: what they name, were shown last, or are shown now and agree to."""
    if seen is not None:
        return seen
    history, beside = or_exit(lambda: asyncio.run(look_at(settings, case)))
    if history.pause is None or history.case.status is not Status.WAITING or history.case.step in {FOLLOW_UP, SORT}:
        return NOTHING_SEEN
    if not yes and (known := last_shown(settings, case)) is not None:
        return known
    if not yes and (as_json or not at_a_terminal()):
        told = f"nothing was done, as you have not looked at the draft of case {case}"
        exit_with(f"{told}; look first: pointsman-desk show {case}. A script names the draft with --seen DIGEST, or says --yes.")
    if not as_json:
        print_question(history, beside)
        remember(settings, history)
    if not yes and not typer.confirm(f"\n{question}"):
        exit_with("nothing was done.")
    return history.pause.digest


def at_a_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def decide(settings: DeskConfig, decision: Callable[[Desk], Awaitable[CaseRow]], *, as_json: bool, sends: bool = False) -> None:
    """Open the desk, decide, and tell what became of the case."""

    async def work(desk: Desk, _: asyncio.Event) -> None:
        try:
            row = await decision(desk)
        except at_desk.DraftChanged as changed:
            if not as_json:
                print_draft(changed.pending)
                remember_digest(settings, changed.pending.case, changed.pending.digest)
            raise
        history = await history_of(desk.engine.reader, row.id)
        if as_json:
            print(json.dumps(history.as_json(), ensure_ascii=False, indent=1))
        else:
            print_decision(history, settings, desk.clock.now())
        if row.status is Status.READY:
            raise DeskError(f"case {row.id} has not come to its end: {reasons(row, history.effects)}; your decision is kept.")
        if row.status is Status.PARKED:
            raise DeskError(f"case {row.id} has not come to its end: {reasons(row, history.effects)}.")

    with_desk(settings, work, needs="sending" if sends else "nothing")


def _kept(cc: str | None) -> bool | None:
    if cc not in {None, "keep", "drop"}:
        raise DeskError(f"--cc {cc} is not keep or drop; say one of them.")
    return None if cc is None else cc == "keep"


def _text_of(file: Any) -> str:
    try:
        return str(file.read())
    except UnicodeDecodeError:
        raise DeskError(f"{file.name} is not UTF-8 text; save it as UTF-8.") from None
