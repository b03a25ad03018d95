"""The command that explains a case."""

import asyncio
import json
from typing import Annotated, Any

import typer

from pointsman import Change, Explanation, SystemClock, explain_case, explain_change
from pointsman_desk.cli.options import CaseNumber, Config, Json
from pointsman_desk.cli.session import or_exit
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.config import load_config
from pointsman_desk.folder import reader_of
from pointsman_desk.wiring import process_of


def explain(
    case: CaseNumber,
    config: Config = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Say what the case would do if this field had this value: JSON, or a plain word."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Explain the status of a case, and what would happen next with this configuration.

    With --set, say what the case would do with other fields. Nothing is run, and nothing is stored.
    """
    settings, changes = or_exit(lambda: load_config(config)), dict(map(_field, fields or ()))

    async def look() -> Explanation | Change:
        async with reader_of(settings) as reader:
            processes = [process_of(settings)]
            return await explain_change(reader, processes, case, changes) if changes else await explain_case(reader, processes, case)

    explained = or_exit(lambda: asyncio.run(look()))
    now = SystemClock().now()
    if as_json:
        print(json.dumps(explained.as_json() if isinstance(explained, Change) else explained.as_json(now), ensure_ascii=False, indent=1))
        return
    for line in explained.lines() if isinstance(explained, Change) else explained.lines(now, instead=[f"pointsman-desk show {case}"]):
        console.print(safe(line))


def _field(pair: str) -> tuple[str, Any]:
    """The name and the value of FIELD=VALUE: JSON, or else the text as it is."""
    name, equals, text = pair.partition("=")
    if not equals:
        raise typer.BadParameter(f"{pair!r} is not FIELD=VALUE; write the name of a field, an equals sign, and its value.")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text
