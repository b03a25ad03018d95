"""The commands about the past of cases."""

from typing import Annotated

import typer

from pointsman.cli.places import look_at
from pointsman.cli.terminal import NUMBER_MAX, CaseNumber, Db, Json, Private, console, escape, print_json
from pointsman.operations.past import difference_of
from pointsman.store.base import Reader


def diff(
    case: CaseNumber,
    since: Annotated[int, typer.Argument(metavar="[FROM]", min=0, max=NUMBER_MAX, help="The earlier revision; 0 is before the start.")] = 0,
    to: Annotated[
        int | None,
        typer.Argument(metavar="[TO]", min=1, max=NUMBER_MAX, help="The later revision; by default the newest.", show_default=False),
    ] = None,
    db: Db = None,
    private: Private = False,
    as_json: Json = False,
) -> None:
    """Show which fields of a case differ between two of its revisions, and who wrote them. Without revisions: since its start."""

    async def look(reader: Reader) -> None:
        difference = await difference_of(reader, case, since, to)
        if as_json:
            print_json(difference.as_json())
            return
        for line in difference.lines():
            console.print(escape(line))

    look_at(db, look, private=private)
