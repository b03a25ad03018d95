"""The command that explains a case."""

import asyncio
import json

from pointsman import Explanation, SystemClock, explain_case
from pointsman_desk.cli.options import CaseNumber, Config, Json
from pointsman_desk.cli.session import or_exit
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.config import load_config
from pointsman_desk.folder import reader_of
from pointsman_desk.wiring import process_of


def explain(case: CaseNumber, config: Config = None, as_json: Json = False) -> None:
    """Explain the status of a case, and what would happen next with this configuration."""
    settings = or_exit(lambda: load_config(config))

    async def look() -> Explanation:
        async with reader_of(settings) as reader:
            return await explain_case(reader, [process_of(settings)], case)

    explanation = or_exit(lambda: asyncio.run(look()))
    now = SystemClock().now()
    if as_json:
        print(json.dumps(explanation.as_json(now), ensure_ascii=False, indent=1))
        return
    for line in explanation.lines(now, instead=[f"pointsman-desk show {case}"]):
        console.print(safe(line))
