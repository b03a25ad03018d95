"""The commands that look at cases and processes."""

import asyncio
import json
import shlex
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pointsman.cli.given import assigned
from pointsman.cli.places import load_process, load_processes, look_at, options_again
from pointsman.cli.terminal import NUMBER_MAX, App, CaseNumber, Db, Json, Private, console, escape, or_exit, print_json
from pointsman.definition.counts import format_count
from pointsman.definition.durations import DAY_SECONDS
from pointsman.kernel.events import chosen_by
from pointsman.kernel.rows import CaseRow, EventRow, UsageRow
from pointsman.operations.check import Report, check_cases, summary
from pointsman.operations.draw import draw as draw_process
from pointsman.operations.explain import explain_case
from pointsman.operations.export import export_case, write_blobs
from pointsman.operations.history import History, event_text, history_of, step_text, with_task_names
from pointsman.operations.map import label_of, map_of, ways_of
from pointsman.operations.map_drawing import draw_mermaid, draw_svg, kinds_of
from pointsman.operations.past import Past, past_of
from pointsman.operations.times import format_duration, format_time
from pointsman.operations.what_if import Change, explain_change
from pointsman.runtime.clock import SystemClock
from pointsman.store.base import Reader
from pointsman.store.query import PAGE_MAX, CaseQuery, Order

CASES_SHOWN = 10  # for each finding; --json has all of them
FOLLOW_SECONDS = 0.25  # fast enough for a reader, and slow enough for the processor


def show(
    case: CaseNumber,
    db: Db = None,
    at: Annotated[
        int | None, typer.Option("--at", metavar="REVISION", min=1, max=NUMBER_MAX, help="Show the case as it was after this revision.")
    ] = None,
    private: Private = False,
    as_json: Json = False,
) -> None:
    """Show the events and the state of a case, now or as they were after one of its revisions."""

    async def look(reader: Reader) -> None:
        if at is not None:
            _print_past(await past_of(reader, case, at), as_json=as_json)
            return
        history = await history_of(reader, case)
        if as_json:
            print_json(history.as_json())
        else:
            _print_history(history, history.erased)

    look_at(db, look, private=private)


def explain(
    case: CaseNumber,
    db: Db = None,
    app: App = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=VALUE", help="Say what the case would do if this field had this value: JSON, or a plain word."
        ),
    ] = None,
    private: Private = False,
    as_json: Json = False,
) -> None:
    """Explain why a case is where it is, what the engine would do next, and what it would not repeat.

    With --set, say what the case would do with other fields. Nothing is run, and nothing is stored.
    """
    processes, changes = or_exit(lambda: (load_processes(app), assigned(fields)))

    async def look(reader: Reader) -> None:
        if changes:
            change = await explain_change(reader, processes, case, changes)
            _print_change(change, options_again(db=db, app=app), fields or [], as_json=as_json)
            return
        explanation = await explain_case(reader, processes, case)
        now = SystemClock().now()
        if as_json:
            print_json(explanation.as_json(now))
            return
        for line in explanation.lines(now, options_again(db=db, app=app)):
            console.print(line, markup=False)

    look_at(db, look, private=private)


def events(
    db: Db = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new events until Ctrl-C.")] = False,
    after: Annotated[str, typer.Option(metavar="CURSOR", help="Start after the event with this cursor, the first column.")] = "",
    private: Private = False,
    as_json: Json = False,
) -> None:
    """List the events in order. With --json, each event is one line of JSON."""

    async def look(reader: Reader) -> None:
        last = after
        while True:
            rows = await reader.events(after=last)
            for row in rows:
                last = row.cursor
                _print_event(row, as_json=as_json)
            if not rows and not follow:
                return
            if not rows:
                await asyncio.sleep(FOLLOW_SECONDS)

    look_at(db, look, private=private)


def usage(
    db: Db = None,
    days: Annotated[int, typer.Option(min=1, max=10_000, help="The number of days, including today (UTC).")] = 7,
    as_json: Json = False,
) -> None:
    """List the usage of models: tokens and cost for each day, process, tenant and model."""
    today = int(SystemClock().now() // DAY_SECONDS)

    async def look(reader: Reader) -> None:
        processes = sorted({definition.process for definition in await reader.definitions()})
        rows = [(process, row) for process in processes for row in await reader.usage_of_days(process, today - days + 1, today)]
        if as_json:
            print_json([{"process": process, **row._asdict(), "day": _day(row), "cost": f"{row.paid:f}"} for process, row in rows])
            return
        table = Table("day", "process", "tenant", "model", "answers", "input", "output", "cost", box=None)
        for process, row in rows:
            numbers = (str(row.answers), str(row.input_tokens), str(row.output_tokens), f"{row.paid:f}")
            table.add_row(*map(escape, (_day(row), process, row.tenant, row.model, *numbers)))
        console.print(table if rows else f"No model has answered in the last {format_count(days, 'day')}.")

    look_at(db, look)


def check(
    db: Db = None,
    app: App = None,
    strict: Annotated[bool, typer.Option("--strict", help="Also fail if a decision would change.")] = False,
    as_json: Json = False,
) -> None:
    """Try the present code on every open case: which cases would break, and which decisions would change?

    Exits with 1 if the code would break a case that is not broken already. --app can name a list of processes.
    """
    processes = or_exit(lambda: load_processes(app))
    clock = SystemClock()
    reports: list[Report] = []

    async def look(reader: Reader) -> None:
        begun = clock.monotonic()
        report = await check_cases(reader, processes)
        if as_json:
            print_json(report.as_json())
        else:
            _print_report(report, clock.monotonic() - begun)
        reports.append(report)

    look_at(db, look)
    if any(report.breaks or (strict and report.changes) for report in reports):
        raise SystemExit(1)


def export(
    case: CaseNumber,
    db: Db = None,
    blobs: Annotated[Path | None, typer.Option("--blobs", help="Write the blobs of the case to this folder.", show_default=False)] = None,
    private: Private = False,
) -> None:
    """Print everything stored about a case as JSON."""

    async def look(reader: Reader) -> None:
        exported = await export_case(reader, case)
        if blobs is not None:
            await write_blobs(reader, exported, blobs)
        print_json(exported.as_json())

    look_at(db, look, private=private)


def draw(app: App = None) -> None:
    """Draw the process as a Mermaid flowchart."""
    print(draw_process(or_exit(lambda: load_process(app))), end="")


def map_command(
    db: Db = None,
    app: App = None,
    cases: Annotated[int, typer.Option(min=1, max=PAGE_MAX, help="The number of cases, the newest ones.")] = 500,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write the map as a drawing to this file.", show_default=False)] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the map as a Mermaid flowchart.")] = False,
) -> None:
    """Show the ways that cases of the process really took: what followed what, how often, after which time, and what was done again."""
    process = or_exit(lambda: load_process(app))

    async def look(reader: Reader) -> None:
        found = await reader.find(CaseQuery(process=process.name, order=Order.NEWEST), limit=cases)
        drawn = map_of(process.name, ways_of(await reader.events_of([one.case.id for one in found.rows])).values())
        if svg is not None:
            svg.write_text(draw_svg(drawn, kinds_of(process, drawn)), encoding="utf-8")
        elif mermaid:
            print(draw_mermaid(drawn), end="")
        else:
            table = Table("from", "to", "times", "half within", "95 % within", "again", box=None)
            for one in drawn.passages:
                names = (label_of(one.move.source), label_of(one.move.target))
                times = (format_duration(one.times.median), format_duration(one.times.p95))
                table.add_row(*map(escape, (*names, str(one.times.number), *times, str(one.again or ""))))
            console.print(table if drawn.passages else f"No case of {process.name} has started yet.")

    look_at(db, look)


def _print_change(change: Change, options: str, fields: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json(change.as_json())
        return
    for line in change.lines():
        console.print(line, markup=False)
    if change.applies:
        sets = "".join(f" --set {shlex.quote(pair)}" for pair in fields)
        console.print(f"To make the change:\n  pointsman redrive {change.case} --why TEXT{sets}{options}", markup=False)


def _print_past(past: Past, *, as_json: bool) -> None:
    if as_json:
        print_json(past.as_json())
        return
    console.print(f"[bold]after revision {past.case.revision} of {past.newest}[/], {format_time(past.case.updated_at)}")
    _print_history(past.history(), past.erased, revisions=True)


def _print_history(history: History, erased: EventRow | None, *, revisions: bool = False) -> None:
    case = history.case
    console.print(f"[bold]case {case.id}[/] of {escape(case.process)} (version {case.version}): {escape(_stands(case))}")
    table = Table(*["revision"] * revisions, "time", "what", box=None)
    table.add_column(overflow="fold")  # a key in a command is printed whole
    for event in with_task_names(history.events):
        table.add_row(*[str(event.revision)] * revisions, format_time(event.at), event.kind, escape(event_text(event)))
    console.print(table)
    console.print("\n[bold]state[/]")
    if erased is not None:
        console.print(f"  erased {escape(event_text(erased))}")
    for field in history.fields:
        value = history.state[field.field]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        console.print(f"  {escape(field.field)} = {escape(text)}  [dim]{escape(f'by {field.writer}' if field.writer else 'input')}[/]")


def _print_report(report: Report, seconds: float) -> None:
    checked, *said = summary(report).items()
    counts = ", ".join(f"{count:,} {verdict}" for verdict, count in said)
    console.print(f"{format_count(checked[1], 'open case')} checked in {seconds:.1f} s: {counts}")
    for process, count in sorted(report.unregistered.items()):
        console.print(f"  not checked: {format_count(count, 'case')} of process {escape(repr(process))}; pass the process with --app")
    for kind, cases in sorted(report.found.items()):
        which = ", ".join(map(str, cases[:CASES_SHOWN])) + (", …" if len(cases) > CASES_SHOWN else "")
        what = f"{'still ' * kind.known}{kind.verdict}: {len(cases):,} of {kind.process} version {kind.version} ({which})"
        console.print(f"[bold]{escape(what)}[/]\n  {escape(kind.message)}")


def _print_event(row: EventRow, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**row._asdict(), "facts": json.loads(row.facts)}, ensure_ascii=False), flush=True)
    else:
        console.print(f"{row.cursor:>6} {format_time(row.at)} case {row.case:<5} {row.kind:16} {escape(event_text(row))}")


def _stands(row: CaseRow) -> str:
    more = (
        row.reason
        or row.outcome
        or (f"at {step_text(row.step, row.rule)}" + (f", by {chosen_by(row.rule)}" if row.rule else "") if row.step else "")
    )
    return f"{row.status}, {more}" if more else str(row.status)


def _day(row: UsageRow) -> str:
    return str(date(1970, 1, 1) + timedelta(days=row.day or 0))
