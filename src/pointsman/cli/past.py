"""The commands about the past of cases."""

from typing import Annotated

import typer
from rich.console import Console

from pointsman.cli.given import seconds_given
from pointsman.cli.places import load_processes, look_at
from pointsman.cli.terminal import NUMBER_MAX, App, CaseNumber, Db, Json, Private, console, escape, or_exit, print_json
from pointsman.definition.counts import format_count
from pointsman.operations.backtest import Backtest, Selected, backtest
from pointsman.operations.past import difference_of
from pointsman.runtime.clock import SystemClock
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


def backtest_command(
    db: Db = None,
    app: App = None,
    process_from: Annotated[
        str | None,
        typer.Option(
            "--process-from",
            metavar="APP",
            help="The process before the change, to compare with instead of what was recorded.",
            show_default=False,
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DURATION", help="Only decisions of this time, such as 30d.", show_default=False)
    ] = None,
    sample: Annotated[int | None, typer.Option("--sample", min=1, help="Only so many cases, drawn evenly.", show_default=False)] = None,
    cases: Annotated[
        list[int] | None, typer.Option("--case", min=1, max=NUMBER_MAX, help="Only this case; can be repeated.", show_default=False)
    ] = None,
    fails: Annotated[
        bool, typer.Option("--fail-on-difference", help="Exit with 1 if a case would have gone otherwise, or the code cannot read one.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Try the rules of a process on all recorded decisions: which would be others, and what would have been called or asked?

    Nothing is run, and nothing is stored. --app can name a list of processes.
    """
    processes, before = or_exit(lambda: (load_processes(app), load_processes(process_from) if process_from else []))
    clock = SystemClock()
    seconds = or_exit(lambda: None if since is None else seconds_given("--since", since))
    selected = Selected(since=None if seconds is None else clock.now() - seconds, sample=sample, cases=tuple(cases or ()))
    found: list[Backtest] = []

    async def look(reader: Reader) -> None:
        begun = clock.monotonic()
        with Console(stderr=True).status("") as line:
            result = await backtest(
                reader,
                processes,
                selected,
                before=before,
                tell=lambda done, total: line.update(f"{done:,} of {format_count(total, 'case')}"),
            )
        took = clock.monotonic() - begun
        found.append(result)
        if as_json:
            print_json({**result.as_json(), "seconds": round(took, 3)})
            return
        rate = f" ({result.decisions / took:,.0f} a second)" if took and result.decisions else ""
        console.print(f"{format_count(result.decisions, 'decision')} of {format_count(result.cases, 'case')} tried in {took:.1f} s{rate}")
        for text in result.lines():
            console.print(escape(text))

    look_at(db, look)
    if fails and any(one.fails for one in found):
        raise SystemExit(1)
