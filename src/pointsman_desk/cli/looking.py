"""The commands that look: cases, show."""

import asyncio
import json
from typing import Annotated, Any

import typer

from pointsman import Status, history_of, open_cases
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.lists import case_json, print_cases
from pointsman_desk.cli.one_case import print_case
from pointsman_desk.cli.options import CaseNumber, Config, Json
from pointsman_desk.cli.session import or_exit
from pointsman_desk.config import load_config


def cases(
    status: Annotated[Status | None, typer.Option(help="Only cases in this status.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the cases: what was answered, what waits for a person, and why."""
    settings = or_exit(lambda: load_config(config))

    async def look() -> list[dict[str, Any]]:
        with open_cases(settings.database) as reader:
            return [await case_json(reader, row) for row in await reader.cases(status=status, limit=at_desk.CASES_MAX)]

    found = or_exit(lambda: asyncio.run(look()))
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    elif not found:
        print(f"No case is {status}." if status is not None else "There are no cases; `pointsman-desk run` takes in the mailbox.")
    else:
        print_cases(found)


def show(case: CaseNumber, config: Config = None, as_json: Json = False) -> None:
    """Show a case: the mail, what the desk made of it, and the draft that waits."""
    settings = or_exit(lambda: load_config(config))

    async def look() -> Any:
        with open_cases(settings.database) as reader:
            return await history_of(reader, case), await at_desk.later_cases(settings, reader, case)

    history, later = or_exit(lambda: asyncio.run(look()))
    if as_json:
        print(json.dumps(history.as_json() | {"later": later}, ensure_ascii=False, indent=1))
    else:
        print_case(history, later)
