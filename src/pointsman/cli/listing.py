"""The command ps: list the cases that fit some filters."""

import shlex
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from pointsman.cli.places import database, look_at, shown
from pointsman.cli.terminal import NUMBER_MAX, Db, Json, console, escape, exit_with, print_json
from pointsman.definition.counts import format_count
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.operations.history import step_text
from pointsman.operations.times import format_time
from pointsman.store.base import Reader
from pointsman.store.query import PAGE_MAX, CaseQuery, Order, cursor_of

WHY_MIN = 16  # characters of a rule or a reason on a narrow terminal: its first words; `show`, `explain` and --json have all of it


def _only(what: str) -> Any:
    return typer.Option(help=f"Only cases {what}.", show_default=False)


def ps(
    db: Db = None,
    status: Annotated[list[Status] | None, _only("in this status; can be repeated")] = None,
    process: Annotated[str | None, _only("of this process")] = None,
    pause: Annotated[str | None, _only("that wait at this pause")] = None,
    assignee: Annotated[str | None, _only('that wait for this person; "" finds those that wait for nobody in particular')] = None,
    waiting_since: Annotated[
        str | None, _only("that have waited at least since this time (ISO 8601; UTC unless it says otherwise)")
    ] = None,
    rule: Annotated[str | None, _only("whose step this rule chose")] = None,
    tenant: Annotated[str | None, _only("of this tenant")] = None,
    search: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=VALUE", help="Only cases with this value in a searchable field.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=NUMBER_MAX, help="The maximum number of cases.")] = 1_000,
    after: Annotated[int, typer.Option(min=0, max=NUMBER_MAX, help="Start after the case with this number.")] = 0,
    as_json: Json = False,
) -> None:
    """List the cases, the oldest first, each with its status, its step and the rule that chose the step."""
    filters: dict[str, Any] = {"process": process, "pause": pause, "assignee": assignee, "rule": rule, "tenant": tenant}
    filters |= {"status": status or (), "search": dict(map(_field, search or ())), "waiting_before": _time(waiting_since)}
    query = CaseQuery(**filters)

    async def look(reader: Reader) -> None:
        rows, left = await _found(reader, query, after, limit)
        if left:
            print(f"pointsman: {await _note(reader, query, rows, db)}", file=sys.stderr)
        if as_json:
            print_json([row._asdict() for row in rows])
        else:
            _print(rows)

    look_at(db, look)


async def _found(reader: Reader, query: CaseQuery, after: int, limit: int) -> tuple[list[CaseRow], bool]:
    """The cases, and whether there are more behind them."""
    rows: list[CaseRow] = []
    cursor: str | None = cursor_of(Order.NUMBER, 0.0, after)
    while cursor is not None and len(rows) < limit:
        page = await reader.find(query, after=cursor, limit=min(PAGE_MAX, limit - len(rows)))
        rows += [found.case for found in page.rows]
        cursor = page.cursor
    return rows, cursor is not None


async def _note(reader: Reader, query: CaseQuery, rows: list[CaseRow], db: str | None) -> str:
    """How many cases there are, and the command for the next ones."""
    again = f"pointsman ps --after {rows[-1].id}{'' if db is None else f' --db {shlex.quote(shown(database(db)))}'}"
    if query != CaseQuery(status=query.status):
        return f"there are more cases; the next ones: `{again}` with the same filters"
    counts = await reader.counts()
    total = sum(counts.get(status, 0) for status in query.statuses or Status)
    return f"these are {len(rows):,} of {format_count(total, 'case')}; the next ones: {again}{''.join(f' --status {one}' for one in query.statuses)}"


def _field(text: str) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    if not (field and equals):
        exit_with(f"--search {text!r} is not a field and its value; write it as field=value.")
    return field, value


def _time(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        exit_with(f"--waiting-since {text!r} is not a time; write it as 2026-01-31 or 2026-01-31T09:30.")
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _print(rows: list[CaseRow]) -> None:
    table = Table("case", "process", "status", "step", box=None, expand=True)
    table.add_column("rule", no_wrap=True, overflow="ellipsis", ratio=1, min_width=WHY_MIN)
    table.add_column("since")
    for row in rows:
        stands = (
            row.outcome or step_text(row.step, row.rule),
            " ".join((row.reason or row.rule or "").split()),
            format_time(row.updated_at),
        )
        table.add_row(*map(escape, (str(row.id), row.process, row.status, *stands)))
    console.print(table if rows else "There are no cases.")
