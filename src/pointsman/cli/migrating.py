"""The command that prepares a PostgreSQL database for this release."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from pointsman.cli.places import database
from pointsman.cli.terminal import console, exit_with, or_exit
from pointsman.store.postgres import migrate_url
from pointsman.store.sqlite_backup import confirm
from pointsman.store.statements import migrations


def migrate(
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]",
            help="The database: postgresql://user@host/database, with ?schema=NAME for another schema (default: POINTSMAN_DB)."
            " With --confirm-history also a file that was restored.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the migrations that are missing, and change nothing.")] = False,
    confirm_history: Annotated[
        bool, typer.Option("--confirm-history", help="You know which effects were called since a backup, or a failover that lost commits.")
    ] = False,
) -> None:
    """Create or migrate the tables of a PostgreSQL database, as a role that may: engines then need no right to create tables.

    An engine does the same when it opens a database. Engines of the last release can go on meanwhile. It can be run again.
    """
    place = or_exit(lambda: database(url, given_by="name its URL after the command"))
    if isinstance(place, Path) and confirm_history and not dry_run:
        confirmed = or_exit(lambda: confirm(place))
        print(f"confirmed: engines can open {place}" if confirmed else f"{place} is no backup, and there is nothing to confirm")
        return
    if isinstance(place, Path):
        exit_with(f"{place} is not the URL of a PostgreSQL database; an engine migrates a SQLite file when it opens it.")
    numbers = or_exit(lambda: asyncio.run(migrate_url(place, dry_run=dry_run, confirmed=confirm_history)))
    for number, text in migrations("postgres"):
        if number in numbers:
            console.print(f"{number:04} {_title(text)}", markup=False)
    if numbers:
        done = f"{len(numbers)} missing; nothing was changed" if dry_run else f"{len(numbers)} done"
        console.print(f"migrations: {done}")
    else:
        console.print("migrations: none is missing")


def _title(migration: str) -> str:
    """The first sentence of the comment at the head of a migration."""
    return migration.partition("\n")[0].removeprefix("--").strip().partition(". ")[0].rstrip(".")
