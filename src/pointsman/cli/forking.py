"""The commands that fork a case and try code on the fork."""

import asyncio
from pathlib import Path
from random import SystemRandom
from typing import Annotated

import typer

from pointsman.cli.given import assigned, parsed
from pointsman.cli.places import load_processes, load_resources, look_at
from pointsman.cli.terminal import NUMBER_MAX, App, CaseNumber, Db, Json, Resources, console, escape, or_exit, print_json
from pointsman.operations.fork import TRIAL_SECONDS, fork_case, try_fork
from pointsman.runtime.clock import SystemClock
from pointsman.store.base import Reader


def fork(
    case: CaseNumber,
    at: Annotated[int, typer.Option("--at", metavar="REVISION", min=1, max=NUMBER_MAX, help="The revision after which the fork begins.")],
    into: Annotated[Path, typer.Option("--into", metavar="FILE", help="The new file; private values are in it, too.")],
    db: Db = None,
) -> None:
    """Copy a case as it was after a revision into a new file, to try a fix there. No engine opens that file."""

    async def look(reader: Reader) -> None:
        await fork_case(reader, case, at, into, clock=SystemClock(), chance=SystemRandom())
        console.print(escape(f"case {case} after revision {at} is in {into}; try your code on it with `pointsman try --db {into}`"))

    look_at(db, look, private=True)


def try_command(
    db: Annotated[Path, typer.Option("--db", metavar="FILE", help="The file of the fork, which stays as it is.")],
    app: App = None,
    resources: Resources = None,
    fields: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Correct this field first.")] = None,
    answer: Annotated[str | None, typer.Option(metavar="JSON", help="Answer the pause of the case first.", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="The time after which the trial ends.")] = TRIAL_SECONDS,
    as_json: Json = False,
) -> None:
    """Run a fork in memory with your code: nodes are called, and effects are not.

    An effect takes its recorded outcome, and the trial ends before one that has none. A parked case is redriven.
    """
    processes, changes = or_exit(lambda: (load_processes(app), assigned(fields)))
    given = or_exit(lambda: load_resources(resources))
    answers = [] if answer is None else [or_exit(lambda: parsed("--answer", answer))]
    trial = or_exit(lambda: asyncio.run(try_fork(db, processes, resources=given, fields=changes, answer=answers, seconds=seconds)))
    if as_json:
        print_json(trial.as_json())
        return
    for line in trial.lines():
        console.print(escape(line))
