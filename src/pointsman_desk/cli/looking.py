"""The commands that only read: cases, show."""

import asyncio
import json
from typing import Annotated, Any

import typer

from pointsman import History, Status, SystemClock, history_of
from pointsman_desk.cli.lists import SHOWN_MAX, is_found, listed, print_cases
from pointsman_desk.cli.one_case import print_case
from pointsman_desk.cli.options import CASE_MAX, CaseNumber, Config, Json
from pointsman_desk.cli.replies import beside_json
from pointsman_desk.cli.session import or_exit
from pointsman_desk.cli.shown import remember
from pointsman_desk.config import DeskConfig, load_config
from pointsman_desk.folder import reader_of
from pointsman_desk.standing import CASES_MAX, Beside, beside
from pointsman_desk.steps import SUPPORT_MAIL


def cases(
    status: Annotated[Status | None, typer.Option(help="Only cases in this status.")] = None,
    search: Annotated[
        str | None, typer.Option(help="Only cases with these words in the number, sender, subject, order or outcome.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, max=CASE_MAX, help=f"Cases of each group (default: {SHOWN_MAX}; with --json, all).", show_default=False),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the cases: what was answered, and what waits for a person, how long, and why."""
    settings = or_exit(lambda: load_config(config))

    async def look() -> list[dict[str, Any]]:
        async with reader_of(settings) as reader:
            rows = await reader.cases(process=SUPPORT_MAIL, status=status, limit=CASES_MAX)
            return [case for case in await listed(reader, rows, settings) if search is None or is_found(case, search)]

    found = or_exit(lambda: asyncio.run(look()))
    if as_json:
        print(json.dumps(found if limit is None else found[-limit:], ensure_ascii=False, indent=1))
    elif found:
        print_cases(found, now=SystemClock().now(), limit=limit or SHOWN_MAX)
    elif search is not None:
        print(f"No case has {search!r} in its number, sender, subject, order or outcome.")
    else:
        print(f"No case is {status}." if status is not None else "There are no cases; `pointsman-desk run` takes in the mailbox.")


def show(case: CaseNumber, config: Config = None, as_json: Json = False) -> None:
    """Show a case: the mail, the desk's findings, and the draft."""
    settings = or_exit(lambda: load_config(config))

    history, found = or_exit(lambda: asyncio.run(look_at(settings, case)))
    if as_json:
        print(json.dumps(history.as_json() | beside_json(found), ensure_ascii=False, indent=1))
    else:
        print_case(history, found, now=SystemClock().now())
        remember(settings, history)


async def look_at(settings: DeskConfig, case: int) -> tuple[History, Beside]:
    """Read a case and the rows that belong to it outside its state. Raises UnknownCase, StoreError."""
    async with reader_of(settings) as reader:
        history = await history_of(reader, case)
        return history, await beside(settings, reader, history.case)
