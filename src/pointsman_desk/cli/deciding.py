"""The commands that decide on a case: approve, edit, reject, redrive, cancel, close, resolve."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman import CaseRow, Status, history_of
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.lists import case_json, print_cases
from pointsman_desk.cli.one_case import print_decision, print_draft
from pointsman_desk.cli.options import CASE_MAX, By, CaseNumber, Config, Json, Seen
from pointsman_desk.cli.session import exit_with, or_exit, who, with_desk
from pointsman_desk.config import load_config
from pointsman_desk.errors import DeskError
from pointsman_desk.wiring import Desk


def approve(
    case: CaseNumber,
    seen: Seen = None,
    by: By = None,
    despite_violations: Annotated[bool, typer.Option("--despite-violations", help="Send it although it breaks a rule.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Send the draft of a case as it is."""
    _decide(
        config,
        lambda desk: at_desk.approve(desk, case, by=who(by), seen=seen, despite_violations=despite_violations),
        as_json=as_json,
        sends=True,
    )


def edit(
    case: CaseNumber,
    text: Annotated[str | None, typer.Option(help="The new text of the reply.", show_default=False)] = None,
    file: Annotated[typer.FileText | None, typer.Option(help="A file with the new text; - for standard input.", show_default=False)] = None,
    send: Annotated[bool, typer.Option("--approve", help="Send it at once if it breaks no rule.")] = False,
    seen: Seen = None,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put another text in place of the draft; it is checked again and waits for approval."""
    if (text is None) == (file is None):
        exit_with("give the new text with --text, or in a file with --file.")
    body = text if text is not None else or_exit(lambda: _text_of(file))
    _decide(config, lambda desk: at_desk.edit(desk, case, by=who(by), body=body, seen=seen, send=send), as_json=as_json, sends=True)


def reject(
    case: CaseNumber,
    why: Annotated[str, typer.Option(help="Why the mail is not answered.")] = "",
    seen: Seen = None,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Do not answer this mail."""
    _decide(config, lambda desk: at_desk.reject(desk, case, by=who(by), why=why, seen=seen), as_json=as_json)


def redrive(
    why: Annotated[str, typer.Option(help="What was mended.")],
    case: Annotated[
        int | None, typer.Argument(metavar="[CASE]", min=1, max=CASE_MAX, help="The case's number.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every parked case whose reply is not in doubt.")] = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put a parked case, or all of them, back into the line."""
    if (case is None) == (not everything):
        exit_with("name the case, or say --all.")
    if case is not None:
        _decide(config, lambda desk: at_desk.redrive(desk, case, by=who(by), why=why), as_json=as_json, sends=True)
        return
    settings = or_exit(lambda: load_config(config))

    async def work(desk: Desk, _: asyncio.Event) -> None:
        moved = [await case_json(desk.engine.reader, row) for row in await at_desk.redrive_all(desk, by=who(by), why=why)]
        if as_json:
            print(json.dumps(moved, ensure_ascii=False, indent=1))
        elif moved:
            print_cases(moved)
        else:
            print("No case is parked whose reply is not in doubt.")

    with_desk(settings, work, needs="sending")


def cancel(
    case: CaseNumber,
    why: Annotated[str, typer.Option(help="Why it is closed.")],
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Close a case without an answer, wherever it stands."""
    _decide(config, lambda desk: at_desk.cancel(desk, case, by=who(by), why=why), as_json=as_json)


def close(case: CaseNumber, by: By = None, config: Config = None, as_json: Json = False) -> None:
    """End a case that waits for the customer's answer."""
    _decide(config, lambda desk: at_desk.close(desk, case, by=who(by)), as_json=as_json)


def resolve(
    case: CaseNumber,
    arrived: Annotated[bool, typer.Option("--arrived/--send-again", help="Did the reply arrive, or shall it be sent again?")],
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say whether a reply arrived whose sending was cut short."""
    _decide(config, lambda desk: at_desk.resolve(desk, case, by=who(by), arrived=arrived), as_json=as_json, sends=True)


def _decide(config: Path | None, decision: Callable[[Desk], Awaitable[CaseRow]], *, as_json: bool, sends: bool = False) -> None:
    settings = or_exit(lambda: load_config(config))

    async def work(desk: Desk, _: asyncio.Event) -> None:
        try:
            row = await decision(desk)
        except at_desk.DraftChanged as changed:
            if not as_json:
                print_draft(changed.pending)
            raise
        history = await history_of(desk.engine.reader, row.id)
        if as_json:
            print(json.dumps(history.as_json(), ensure_ascii=False, indent=1))
        else:
            print_decision(history, settings)
        if row.status in {Status.PARKED, Status.READY}:
            raise DeskError(f"case {row.id} has not come to its end.")

    with_desk(settings, work, needs="sending" if sends else "nothing")


def _text_of(file: Any) -> str:
    try:
        return str(file.read())
    except UnicodeDecodeError:
        raise DeskError(f"{file.name} is not UTF-8 text; save it as UTF-8.") from None
