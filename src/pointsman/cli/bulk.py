"""The commands that change many cases: what they would do is shown first, and each case is changed by itself."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pointsman.cli.filters import Filters, filtered, found
from pointsman.cli.given import assigned, parsed
from pointsman.cli.listing import print_cases
from pointsman.cli.operating import At, Why, caller, on_database, reached
from pointsman.cli.places import open_reader
from pointsman.cli.terminal import console, escape, exit_with, or_exit, print_json
from pointsman.definition.counts import format_count
from pointsman.errors import Refused, UnknownCase
from pointsman.kernel.case import UNKNOWN
from pointsman.kernel.events import Kind
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.operations.decided import decided_since, last_event
from pointsman.operations.history import steps_of
from pointsman.store.base import Reader

if TYPE_CHECKING:
    from pointsman.client import AsyncClient

CASES = 1_000  # changed in seconds, and still few enough to look through
SHOWN = 10
OPEN = frozenset(Status) - ENDED

Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
Most = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="The maximum number of cases.")]

bulk = typer.Typer(
    help="Change all cases that fit some filters, each by itself. Without --yes it shows them and asks, or changes nothing if nobody can be asked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Item(NamedTuple):
    """A case to change, and the key of its effect in doubt where that is resolved."""

    case: int
    key: str | None = None


Call = Callable[["AsyncClient", Item, str], Awaitable[object]]
Choose = Callable[[Reader, Sequence[CaseRow]], Awaitable[dict[int, list[str | None]]]]


@dataclass
class Work:
    """What a command does to its cases: its verb, the statuses of the cases for which it is, and the call on each."""

    verb: str
    fits: frozenset[Status]
    call: Call
    choose: Choose
    changed: dict[int, None] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)


async def _each(_: Reader, rows: Sequence[CaseRow]) -> dict[int, list[str | None]]:
    return {row.id: [None] for row in rows}


async def _not_erased(reader: Reader, rows: Sequence[CaseRow]) -> dict[int, list[str | None]]:
    events = await reader.events_of([row.id for row in rows])
    erased = {event.case for event in events if event.kind == Kind.ERASED}
    return {row.id: [None] for row in rows if row.id not in erased}


@bulk.command()
@on_database
@filtered
def redrive(
    filters: Filters,
    at: At,
    why: Why,
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Correct a field first, with JSON or a plain word; null takes an answer back."),
    ] = None,
    yes: Yes = False,
    most: Most = CASES,
) -> None:
    """Return parked cases to the backlog, with the same corrections if --set gives some."""
    corrected = or_exit(lambda: assigned(fields))
    asked = filters.query.statuses and corrected  # cases that wait can be corrected, too, if they are asked for
    work = Work(
        "redrive",
        frozenset({Status.PARKED, Status.WAITING}) if asked else frozenset({Status.PARKED}),
        lambda client, item, who: client.redrive(item.case, why=why, fields=corrected, by=who),
        _each,
    )
    _run(at, filters, work, most, yes=yes)


@bulk.command()
@on_database
@filtered
def cancel(filters: Filters, at: At, why: Why, yes: Yes = False, most: Most = CASES) -> None:
    """Cancel open cases. A running step ends first, and its result is kept."""
    _run(at, filters, Work("cancel", OPEN, lambda client, item, who: client.cancel(item.case, why=why, by=who), _each), most, yes=yes)


@bulk.command()
@on_database
@filtered
def erase(filters: Filters, at: At, why: Why, yes: Yes = False, most: Most = CASES) -> None:
    """Delete the content of cases. Steps, names and times stay."""
    work = Work(
        "erase",
        ENDED | {Status.PARKED, Status.BLOCKED},
        lambda client, item, who: client.erase(item.case, why=why, by=who),
        _not_erased,
    )
    _run(at, filters, work, most, yes=yes)


@bulk.command()
@on_database
@filtered
def resolve(
    filters: Filters,
    at: At,
    why: Why,
    happened: Annotated[bool, typer.Option("--happened/--call-again", help="Whether they happened, or must be called again.")],
    outcome: Annotated[str, typer.Option(help="What each effect would have returned, as JSON.")] = "null",
    yes: Yes = False,
    most: Most = CASES,
) -> None:
    """Say whether the effects in doubt of parked cases happened, if the same is true of all of them."""
    value = or_exit(lambda: parsed("--outcome", outcome))

    async def doubts(reader: Reader, rows: Sequence[CaseRow]) -> dict[int, list[str | None]]:
        keys: dict[int, list[str | None]] = {}
        for entry in await reader.effects_of([row.id for row in rows]):
            if entry.status in UNKNOWN:
                keys.setdefault(entry.case, []).append(entry.key)
        return keys

    def call(client: "AsyncClient", item: Item, who: str) -> Awaitable[object]:
        return client.resolve(str(item.key), happened=happened, why=why, outcome=value, by=who)

    _run(at, filters, Work("resolve", frozenset({Status.PARKED}), call, doubts), most, yes=yes)


def _run(at: At, filters: Filters, work: Work, most: int, *, yes: bool) -> None:
    if filters.any_will_do:
        exit_with("each case fits; say which ones with a filter, such as --process NAME or --status parked.")
    who = or_exit(lambda: caller(at.by))
    rows, items, more = or_exit(lambda: asyncio.run(_selected(at, filters, work, most)))
    if not items and not at.as_json:
        return  # the list has said so
    does = bool(items) and (yes or (not at.as_json and _confirmed(work, len(rows), more)))
    if does:
        _do(at, work, items, who)
    if at.as_json:
        result = {"operation": work.verb, "dry_run": not does, "cases": [row.id for row in rows], "more": more}
        print_json({**result, "changed": [*work.changed], "refused": {str(case): why for case, why in work.refused.items()}})
    elif does:
        _print_done(work, more)
    if work.refused:
        raise SystemExit(1)


async def _selected(at: At, filters: Filters, work: Work, most: int) -> tuple[list[CaseRow], list[Item], bool]:
    """The cases that fit and for which the command is, what to do to each, and whether there may be more."""
    statuses = work.fits & set(filters.query.statuses or Status)
    if not statuses:
        return [], [], False
    filters = replace(filters, query=replace(filters.query, status=tuple(sorted(statuses))))
    async with open_reader(at.place) as reader:
        rows, more = await found(reader, filters, 0, most)
        chosen = await work.choose(reader, rows)
        rows = [row for row in rows if row.id in chosen]
        if not at.as_json:
            print_cases(rows[:SHOWN], await steps_of(reader, rows[:SHOWN]))
            if len(rows) > SHOWN:
                console.print(f"… and {format_count(len(rows) - SHOWN, 'case')} more")
    return rows, [Item(row.id, key) for row in rows for key in chosen[row.id]], more


def asks() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty()


def _confirmed(work: Work, number: int, more: bool) -> bool:
    """Ask whether to do it: the person types how many cases it is. Nothing is done where nobody can be asked."""
    note = " (these are the first ones; the command can be repeated)" if more else ""
    if not asks():
        print(f"This would {work.verb} {format_count(number, 'case')}{note}; nothing was changed. Repeat it with --yes to do it.")
        return False
    said = input(f"This will {work.verb} {format_count(number, 'case')}{note}. Type {number} to do it: ")
    if said.strip() != str(number):
        print("Nothing was changed.")
        return False
    return True


def _do(at: At, work: Work, items: Sequence[Item], who: str) -> None:
    """Change each case by itself. If the program ends meanwhile, go on where it ended; if the database fails, say how far this came."""
    left = [*items]
    before: list[str] = []  # the cursor of the last event before the call whose answer is missing

    async def call(client: "AsyncClient", again: bool) -> None:
        async with open_reader(at.place) as reader:
            while left:
                item = left[0]
                if not (again and before and await decided_since(reader, item.case, who, before[0])):
                    before[:] = [await last_event(reader, item.case)]
                    try:
                        await work.call(client, item, who)
                    except (Refused, UnknownCase) as error:
                        work.refused[item.case] = str(error)
                if item.case not in work.refused:
                    work.changed[item.case] = None
                left.pop(0)
                before.clear()

    try:
        reached(at, call)
    finally:
        if left:
            print(f"pointsman: {_counted(work)} before that; {len(left):,} left. The command can be repeated.", file=sys.stderr)


def _counted(work: Work) -> str:
    return f"{format_count(len(work.changed), 'case')} changed, {len(work.refused):,} refused"


def _print_done(work: Work, more: bool) -> None:
    for case, why in work.refused.items():
        console.print(f"case {case} is refused: {escape(why)}")
    print(f"{_counted(work)}.{' There may be more; the command can be repeated.' if more else ''}")
