"""The commands for automatic mails and for cases that ended too soon: close, accept, reopen."""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from pointsman import SystemClock, format_count
from pointsman_desk.cli.deciding import decide
from pointsman_desk.cli.lists import case_json, print_cases
from pointsman_desk.cli.options import CASE_MAX, By, CaseNumber, Config, Json, said
from pointsman_desk.cli.session import carry_out, exit_with, or_exit, who
from pointsman_desk.commands import Accept, Close, CloseAll, Reopen
from pointsman_desk.config import load_config
from pointsman_desk.folder import reader_of
from pointsman_desk.standing import probably_automatic


def close(
    case: Annotated[
        int | None, typer.Argument(metavar="[CASE]", min=1, max=CASE_MAX, help="The case's number.", show_default=False)
    ] = None,
    probably_automatic: Annotated[bool, typer.Option("--probably-automatic", help="Every case that is probably automatic.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Close a case that waits for the customer's answer or is probably automatic, or close all probably automatic cases."""
    if (case is None) == (not probably_automatic):
        exit_with("give a case number or --probably-automatic.")
    if case is not None:
        decide(or_exit(lambda: load_config(config)), or_exit(lambda: Close(case=case, by=who(by))), as_json=as_json)
    else:
        _close_all(config, by, yes=yes, as_json=as_json)


def _close_all(config: Config, by: By, *, yes: bool, as_json: bool) -> None:
    """List the cases, ask, and close exactly these. Other commands can use the cases while the question is open."""
    settings = or_exit(lambda: load_config(config))

    async def look() -> list[int]:
        async with reader_of(settings) as reader:
            rows = await probably_automatic(reader)
            if not as_json:
                print_cases([await case_json(reader, row) for row in rows], now=SystemClock().now(), closing=True)
            return [row.id for row in rows]

    async def closed_ones(cases: Sequence[int]) -> list[dict[str, Any]]:
        async with reader_of(settings) as reader:
            return [await case_json(reader, row) for case in cases if (row := await reader.case(case)) is not None]

    listed = or_exit(lambda: asyncio.run(look()))
    if not listed and not as_json:
        print("No case is probably automatic.")
        return
    if listed and not yes:
        if not sys.stdin.isatty():
            exit_with(f"closing {format_count(len(listed), 'case')} needs a confirmation, and this is not a terminal; use --yes.")
        if not typer.confirm(f"Close {format_count(len(listed), 'case')} without a reply?"):
            exit_with("nothing was closed.")
    closed = carry_out(settings, or_exit(lambda: CloseAll(cases=tuple(listed), by=who(by)))).cases
    if as_json:
        print(json.dumps(or_exit(lambda: asyncio.run(closed_ones(closed))), ensure_ascii=False, indent=1))
        return
    left = len(listed) - len(closed)
    print(f"Closed {format_count(len(closed), 'case')} as automatic." + (f" Changed meanwhile and still open: {left}." if left else ""))


def accept(case: CaseNumber, by: By = None, config: Config = None, as_json: Json = False) -> None:
    """Treat a probably automatic mail as a customer's: the desk drafts a reply and asks for approval."""
    decide(or_exit(lambda: load_config(config)), or_exit(lambda: Accept(case=case, by=who(by))), as_json=as_json)


def reopen(
    case: CaseNumber,
    why: Annotated[str | None, typer.Option(help="Why you reopen the case.", show_default=False, callback=said)] = None,
    by: By = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put the mails of an ended case before a person again, in a new case."""
    decide(or_exit(lambda: load_config(config)), or_exit(lambda: Reopen(case=case, by=who(by), why=why or "")), as_json=as_json)
