"""The command stats: figures about many cases."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from pointsman.cli.given import seconds_given
from pointsman.cli.places import look_at
from pointsman.cli.terminal import Db, Json, console, escape, or_exit, print_json
from pointsman.definition.counts import format_count
from pointsman.operations.stats import Stats, Took, stats_of
from pointsman.operations.times import format_duration, format_time
from pointsman.runtime.clock import SystemClock
from pointsman.store.base import Reader

CASES = 10_000  # read in seconds


def stats(
    db: Db = None,
    last: Annotated[str, typer.Option("--last", metavar="DURATION", help='The time to look at, such as "4h" or "30d".')] = "7d",
    process: Annotated[str | None, typer.Option(help="Only cases of this process.", show_default=False)] = None,
    cases: Annotated[int, typer.Option(min=1, help="How many cases to read at most, those that changed last.")] = CASES,
    as_json: Json = False,
) -> None:
    """Count the cases by status and step, say how long cases and people took, and group the parked cases by their reason."""
    until = SystemClock().now()
    since = until - or_exit(lambda: seconds_given("--last", last))

    async def look(reader: Reader) -> None:
        found = await stats_of(reader, since=since, until=until, process=process, most=cases)
        if as_json:
            print_json(found.as_json())
        else:
            _print(found)

    look_at(db, look)


def _print(found: Stats) -> None:
    counts = Table("process", "status", "step or outcome", "cases", box=None)
    for count in found.counts:
        counts.add_row(*map(escape, (count.process, count.status, count.place, f"{count.cases:,}")))
    console.print(counts if found.counts else "There are no cases.")
    _print_times(f"From the start to the end, since {format_time(found.since)}", found.times.ends)
    _print_times("From the question to the answer of a person", found.times.waits)
    if found.parked:
        console.print("\n[bold]Parked[/]")
    for reason in found.parked:
        console.print(f"{reason.cases:6,}  {escape(f'{reason.process} at {reason.step}: {reason.reason}')}")
    if found.times.more:
        console.print(f"\nThe times are those of the {format_count(found.times.looked, 'case')} that changed last; --cases reads more.")


def _print_times(title: str, times: Sequence[Took]) -> None:
    if not times:
        return
    console.print(f"\n[bold]{title}[/]")
    table = Table("process", "pause", "times", "half within", "95 % within", box=None)
    for took in times:
        within = (format_duration(took.seconds.median), format_duration(took.seconds.p95))
        table.add_row(*map(escape, (took.process, took.pause, f"{took.seconds.number:,}", *within)))
    console.print(table)
