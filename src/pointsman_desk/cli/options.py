"""The options that the desk's commands share."""

from pathlib import Path
from typing import Annotated

import typer

from pointsman_desk.mail.characters import clean


def said(text: str | None) -> str | None:
    """What a person says of a decision: others read it, so it has to say something, and nothing in it moves their terminal."""
    told = None if text is None else clean(text, set())
    if told is not None and not told.strip():
        raise typer.BadParameter("it is empty; write something for those who read the case later.")
    return told


Config = Annotated[
    Path | None,
    typer.Option("--config", help="The configuration; desk.toml in this folder where it is there.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CASE_MAX = 2**63 - 1  # the largest number that a database holds
CaseNumber = Annotated[int, typer.Argument(metavar="CASE", min=1, max=CASE_MAX, help="The case's number.")]
Seen = Annotated[
    str | None,
    typer.Option("--seen", help="The digest of the draft that you looked at, as `show` prints it.", show_default=False),
]
By = Annotated[str | None, typer.Option("--by", help="Who decides; your login name.", show_default=False, callback=said)]
Yes = Annotated[bool, typer.Option("--yes", help="Decide on what stands there now, without being asked; for scripts.")]
To = Annotated[str | None, typer.Option("--to", metavar="ADDRESS", help="Whom the reply goes to.", show_default=False)]
Cc = Annotated[
    str | None,
    typer.Option("--cc", metavar="keep|drop", help="Whether those in Cc of the mail get a copy; they get none.", show_default=False),
]
