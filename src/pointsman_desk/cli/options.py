"""The options that the desk's commands share."""

from pathlib import Path
from typing import Annotated

import typer

from pointsman_desk.mail.characters import clean


def said(text: str | None) -> str | None:
    """Check a text that a person gives for others to read: it must not be empty, and loses control characters."""
    cleaned = None if text is None else clean(text, set())
    if cleaned is not None and not cleaned.strip():
        raise typer.BadParameter("it is empty; give a text for the people who read the case later.")
    return cleaned


Config = Annotated[
    Path | None,
    typer.Option("--config", help="The configuration file (default: desk.toml in this folder, if it exists).", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CASE_MAX = 2**63 - 1  # the largest integer of SQLite
CaseNumber = Annotated[int, typer.Argument(metavar="CASE", min=1, max=CASE_MAX, help="The case's number.")]
Seen = Annotated[
    str | None,
    typer.Option("--seen", help="The digest of the draft that you saw, as `show` prints it.", show_default=False),
]
By = Annotated[str | None, typer.Option("--by", help="Who decides (default: your login name).", show_default=False, callback=said)]
Yes = Annotated[bool, typer.Option("--yes", help="Decide on the current draft without a question; for scripts.")]
To = Annotated[str | None, typer.Option("--to", metavar="ADDRESS", help="The recipient of the reply.", show_default=False)]
Cc = Annotated[
    str | None,
    typer.Option("--cc", metavar="keep|drop", help="Whether the addresses in Cc get a copy (default: drop).", show_default=False),
]
