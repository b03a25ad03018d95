"""The command doctor: look over the database, the engines and the cases, and say what to do."""

import asyncio
from pathlib import Path

from pointsman.cli.places import database, named_processes, open_reader, options_again
from pointsman.cli.terminal import App, Db, Json, console, escape, or_exit, print_json
from pointsman.definition.process import AnyProcess
from pointsman.errors import PointsmanError
from pointsman.operations.doctor import Finding, Level, of_cases, of_store, stand_of
from pointsman.runtime.clock import SystemClock
from pointsman.store.postgres import health_of_url
from pointsman.store.sqlite_health import health_of

NEED_CODE = {"check", "explain", "redeliver", "resume-intake", "worker"}  # the commands that take --app
COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def doctor(db: Db = None, app: App = None, as_json: Json = False) -> None:
    """Look over the database, the engines and the cases: what is well, what needs attention, and what to do. Changes nothing.

    Exits with 1 if something fails: then cases cannot go on.
    """
    processes, wrong = _code(app)
    place = or_exit(lambda: database(db))
    found = [*wrong, *or_exit(lambda: asyncio.run(_look(place, processes)))]
    if as_json:
        print_json([finding._asdict() for finding in found])
    else:
        _print(found, db, app)
    if any(finding.level is Level.FAIL for finding in found):
        raise SystemExit(1)


def _code(app: str | None) -> tuple[list[AnyProcess], list[Finding]]:
    """The processes that are named, and what is wrong with their code if it cannot be imported."""
    try:
        return named_processes(app), []
    except PointsmanError as error:
        return [], [Finding("code", Level.FAIL, "cannot be imported", str(error))]


async def _look(place: Path | str, processes: list[AnyProcess]) -> list[Finding]:
    clock, found = SystemClock(), list[Finding]()
    asked = clock.now()  # the database may answer, and tell its time, much later
    try:
        health = health_of(place) if isinstance(place, Path) else await health_of_url(place)
        now = clock.now() if health.times.now is None else max(asked, min(health.times.now, clock.now()))
        found += of_store(health, now)
        if (
            isinstance(place, Path) or health.tables.number == health.tables.newest
        ):  # elsewhere a reader refuses tables of an earlier release
            async with open_reader(place) as reader:
                stand = await stand_of(reader, now if health.times.now is None else health.times.highest)
            found += of_cases(stand, health, processes)
    except (PointsmanError, OSError) as error:
        found.append(
            Finding(*(("cases", Level.FAIL, "cannot be read") if found else ("database", Level.FAIL, "no engine can use it")), str(error))
        )
    return found


def _print(found: list[Finding], db: str | None, app: str | None) -> None:
    for finding in found:
        colour = COLOURS[finding.level]
        said = f"[{colour}]{finding.level:4}[/] [bold]{escape(finding.what)}[/]: {escape(finding.said)}"
        console.print(f"{said}{escape(f'; {finding.do}' if finding.do else '')}")
        if finding.command:
            options = options_again(db=db, app=app if finding.command.split()[1] in NEED_CODE else None)
            console.print(f"       {finding.command}{options}", markup=False)
