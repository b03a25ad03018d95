"""The commands that copy the cases of a file, and put a copy back."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pointsman.cli.places import database
from pointsman.cli.terminal import Db, Json, console, escape, exit_with, or_exit, print_json
from pointsman.definition.counts import format_count
from pointsman.kernel.snapshot import ENDED
from pointsman.operations.times import format_time
from pointsman.runtime.clock import SystemClock
from pointsman.store.sqlite_backup import Copied, back_up
from pointsman.store.sqlite_backup import restore as restore_file
from pointsman.store.sqlite_file import beside

EFFECTS_SHOWN = 20  # --json has all of them


def backup(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")],
    db: Db = None,
    as_json: Json = False,
) -> None:
    """Copy the cases of a file to a new one, also while an engine runs, and check the copy. Engines do not open it; `restore` puts it back."""
    place = or_exit(lambda: database(db))
    if not isinstance(place, Path):
        _use_the_tools_of_postgresql("back up")
    copied = or_exit(lambda: back_up(place, to, now=SystemClock().now()))
    if as_json:
        print_json(_json(copied))
        return
    console.print(
        f"{_cases(copied)} of {escape(str(place))} are in {escape(str(to))} ({copied.size:,} bytes), which was opened and checked."
    )
    if (accounts := beside(place, ".accounts")).exists():
        console.print(f"Users, tokens and the audit log are not in it; copy {escape(str(accounts))} too.")


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="The file that `pointsman backup FILE` has written.")],
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")],
    as_json: Json = False,
) -> None:
    """Copy a backup to a new file, and say what to find out. No engine opens the new file before you confirm what happened since."""
    if any(str(place).startswith(("postgres:/", "postgresql:/")) for place in (source, to)):  # a path has one slash for two
        _use_the_tools_of_postgresql("restore")
    copied = or_exit(lambda: restore_file(source, to))
    if as_json:
        print_json(_json(copied))
    else:
        _print_restored(copied)


def _print_restored(copied: Copied) -> None:
    at = format_time(copied.at)
    console.print(f"{_cases(copied)} are in {escape(str(copied.path))} as they were at {at}. No engine opens it yet.")
    console.print(f"It does not know what happened after {at}. Find out, with no engine on the old file:")
    console.print(
        "  which effects were called since: look at what they act on, such as the bank or the outbox; a case would call them again,"
    )
    console.print("    with the same keys, so that a receiver that knows its keys ignores the repetition;")
    console.print("  which cases started, which messages came, and what people answered since: these are missing.")
    if copied.unsettled:
        console.print(f"At that moment {format_count(len(copied.unsettled), 'effect')} had no outcome:")
    for effect in copied.unsettled[:EFFECTS_SHOWN]:
        console.print(f"  {escape(effect.effect)} of case {effect.case} (key {effect.key})")
    if len(copied.unsettled) > EFFECTS_SHOWN:
        console.print(f"  and {len(copied.unsettled) - EFFECTS_SHOWN:,} more")
    console.print("Then let engines open it:")
    console.print(f"  pointsman migrate {copied.path} --confirm-history", markup=False)


def _cases(copied: Copied) -> str:
    ended = sum(number for status, number in copied.cases.items() if status in ENDED)
    return f"{sum(copied.cases.values()) - ended:,} open and {ended:,} ended cases"


def _json(copied: Copied) -> dict[str, object]:
    effects = [effect._asdict() for effect in copied.unsettled]
    return {**copied._asdict(), "path": str(copied.path), "unsettled": effects}


def _use_the_tools_of_postgresql(what: str) -> NoReturn:
    exit_with(
        f"{what} a PostgreSQL database with its own tools, such as pg_dump and pg_restore, or pg_basebackup with an archive of its log;"
        " afterwards `pointsman migrate URL --confirm-history` lets engines open it."
    )
