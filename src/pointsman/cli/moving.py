"""The command that moves the cases of a file to a PostgreSQL database."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pointsman.cli.terminal import Json, console, escape, exit_with, or_exit, print_json
from pointsman.runtime.clock import SystemClock
from pointsman.store import moving
from pointsman.store.postgres import is_url

DIGITS = 12  # of a digest, to compare by eye; --json prints all of it


def move(
    from_: Annotated[str, typer.Option("--from", metavar="FILE", help="The file that the cases are in; no engine may have it open.")],
    to: Annotated[
        str, typer.Option(metavar="URL", help="The database: postgresql://user@host/database, with ?schema=NAME for another schema.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would move, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Move all cases of a file to an empty PostgreSQL database: open and ended ones, with everything that belongs to them.

    The rows are read back and compared before the file is closed to engines. It can be run again at any time, also after an interruption.
    """
    if is_url(from_):
        exit_with("cases move from a file to a PostgreSQL database, and not back; name a file in --from.")
    if not is_url(to):
        exit_with(f"{to} is not the URL of a PostgreSQL database; copy the file itself to move it to another machine.")
    with Console(stderr=True).status("") as line:

        def tell(table: str, rows: int) -> None:
            line.update(f"{table}: {rows:,} rows")

        work = moving.look(Path(from_), to, tell=tell) if dry_run else moving.move(Path(from_), to, now=SystemClock().now(), tell=tell)
        moved = or_exit(lambda: asyncio.run(work))
    if as_json:
        print_json({**moved._asdict(), "tables": [table._asdict() for table in moved.tables]})
    else:
        _print(from_, moved, dry_run=dry_run)


def _print(file: str, moved: moving.Moving, *, dry_run: bool) -> None:
    table = Table("table", "rows", "there", "digest", box=None)
    for one in moved.tables:
        table.add_row(one.table, f"{one.rows:,}", "" if one.there is None else f"{one.there:,}", one.digest[:DIGITS])
    console.print(table)
    cases = f"{moved.open_cases:,} open and {moved.ended_cases:,} ended cases"
    if moved.authors_tables:
        console.print(f"tables of your own, which do not move: {escape(', '.join(moved.authors_tables))}")
    if dry_run:
        console.print(f"{cases} would move to {escape(moved.place)}; nothing was changed")
    elif moved.before:
        console.print(f"{cases} had moved to {escape(moved.place)} before; engines can open that, and no engine opens {escape(file)}")
    else:
        console.print(f"{cases} moved to {escape(moved.place)}; engines can open that, and no engine opens {escape(file)}")
