"""The command ps: list the cases that fit some filters."""

import shlex
import sys
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.table import Table

from pointsman.cli.filters import Filters, filtered, found
from pointsman.cli.places import database, look_at, shown
from pointsman.cli.terminal import NUMBER_MAX, Db, Json, console, escape, print_json
from pointsman.definition.counts import format_count
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.operations.history import steps_of
from pointsman.operations.times import format_time
from pointsman.store.base import Reader
from pointsman.store.query import CaseQuery

WHY_MIN = 16  # characters of a rule or a reason on a narrow terminal: its first words; `show`, `explain` and --json have all of it


@filtered
def ps(
    filters: Filters,
    db: Db = None,
    limit: Annotated[int, typer.Option(min=1, max=NUMBER_MAX, help="The maximum number of cases.")] = 1_000,
    after: Annotated[int, typer.Option(min=0, max=NUMBER_MAX, help="Start after the case with this number.")] = 0,
    as_json: Json = False,
) -> None:
    """List the cases, the oldest first, each with its status, its step and the rule that chose the step."""

    async def look(reader: Reader) -> None:
        rows, left = await found(reader, filters, after, limit)
        if left:
            print(f"pointsman: {await _note(reader, filters, rows, db)}", file=sys.stderr)
        if as_json:
            print_json([row._asdict() for row in rows])
        else:
            print_cases(rows, await steps_of(reader, rows))

    look_at(db, look)


async def _note(reader: Reader, filters: Filters, rows: list[CaseRow], db: str | None) -> str:
    """How many cases there are, and the command for the next ones."""
    again = f"pointsman ps --after {rows[-1].id}{'' if db is None else f' --db {shlex.quote(shown(database(db)))}'}"
    query = filters.query
    if filters != Filters(CaseQuery(status=query.status)):
        return f"there are more cases; the next ones: `{again}` with the same filters"
    counts = await reader.counts()
    total = sum(counts.get(status, 0) for status in query.statuses or Status)
    return f"these are {len(rows):,} of {format_count(total, 'case')}; the next ones: {again}{''.join(f' --status {one}' for one in query.statuses)}"


def print_cases(rows: list[CaseRow], steps: Mapping[int, str]) -> None:
    """Print cases as a table. `steps` has the names of their steps for people, by the number of the case."""
    table = Table("case", "process", "status", "step", box=None, expand=True)
    table.add_column("rule", no_wrap=True, overflow="ellipsis", ratio=1, min_width=WHY_MIN)
    table.add_column("since")
    for row in rows:
        stands = (
            row.outcome or steps[row.id],
            " ".join((row.reason or row.rule or "").split()),
            format_time(row.updated_at),
        )
        table.add_row(*map(escape, (str(row.id), row.process, row.status, *stands)))
    console.print(table if rows else "There are no cases.")
