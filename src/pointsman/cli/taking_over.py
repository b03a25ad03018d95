"""The command that takes over the threads of LangGraph's own savers."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pointsman.cli.terminal import Json, console, escape, exit_with, or_exit, print_json
from pointsman.store.postgres import is_url

if TYPE_CHECKING:
    from pointsman.integrations.langgraph.taking_over import Taken

NEEDS = "threads of LangGraph are read with langgraph; install it with `pip install 'pointsman[langgraph]'`."


def import_langgraph(
    place: Annotated[
        str, typer.Argument(metavar="PATH_OR_URL", help="The file of a SqliteSaver, or the postgresql:// URL of a PostgresSaver.")
    ],
    to: Annotated[str, typer.Option(metavar="PATH_OR_URL", help="The database that takes the threads; no engine may have a file open.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the threads, and write nothing.")] = False,
    ended: Annotated[bool, typer.Option("--ended", help="Also take the threads that have ended.")] = False,
    as_json: Json = False,
) -> None:
    """Take over open threads of LangGraph's own saver: checkpoints and pending writes. It can be run again; nothing is changed there.

    Stop the program that works on them first. Exits with code 1 if an open thread cannot be taken over; the last column says why.
    """
    try:
        from pointsman.integrations.langgraph import taking_over as threads  # noqa: PLC0415 - langgraph is an extra
    except ImportError:
        exit_with(NEEDS)

    def body() -> list["Taken"]:
        found: Iterator[Taken] = threads.look(place) if dry_run else threads.take_over(place, to if is_url(to) else Path(to), ended=ended)
        return list(found)

    taken = or_exit(body)
    if as_json:
        print_json([one._asdict() for one in taken])
    else:
        _print_threads(taken, dry_run=dry_run, ended=ended)
        console.print(f"{len(taken):,} threads; nothing was written" if dry_run else threads.summary(taken))
    wanted = [one for one in taken if ended or one.state != threads.ENDED]
    if any(one.refused if dry_run else not one.complete for one in wanted):
        raise SystemExit(1)


def _print_threads(taken: list["Taken"], *, dry_run: bool, ended: bool) -> None:
    table = Table("thread", "state", "checkpoints", "writes", "", box=None)
    for one in taken:
        left = one.state == "ended" and not ended
        said = f"not taken: {one.refused}" if one.refused else "left: it has ended" if left else "would be taken" if dry_run else "taken"
        here = (f"{one.checkpoints:,}", f"{one.writes:,}")
        if not (dry_run or left or one.refused):
            here = (f"{one.checkpoints_here:,} of {one.checkpoints:,}", f"{one.writes_here:,} of {one.writes:,}")
        table.add_row(*map(escape, (one.thread, one.state, *here, said)))
    console.print(table)
