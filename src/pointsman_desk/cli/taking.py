"""The commands that take in mails and report on it: run, ingest, mailboxes, doctor."""

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from pointsman import CaseRow, Status, SystemClock
from pointsman.client import AsyncClient, Call, find_running
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.keeping import CurrentProblem, keep_open
from pointsman_desk.cli.lists import listed
from pointsman_desk.cli.options import Config, Json
from pointsman_desk.cli.reports import mailbox_json, print_findings, print_mailboxes, print_run, print_survey, run_json
from pointsman_desk.cli.session import exit_with, or_exit, record, through_or_alone
from pointsman_desk.cli.terminal import complain, errors, safe
from pointsman_desk.config import DeskConfig, load_config
from pointsman_desk.desk import Run
from pointsman_desk.folder import reader_of
from pointsman_desk.handing_over import HANDED_OVER, Mail, Taken, taken_in
from pointsman_desk.health import findings
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.sources.places import mails_at
from pointsman_desk.mail.survey import Survey, survey
from pointsman_desk.places import bookmark_of, tables_for
from pointsman_desk.standing import CASES_MAX
from pointsman_desk.steps import SUPPORT_MAIL
from pointsman_desk.wiring import Desk, after_restore, models_named, source_of

HOST, PORT = "127.0.0.1", 8480  # where the running desk listens
TAKEN = TypeAdapter(Taken)
HELD = {Status.WAITING, Status.PARKED, Status.READY}


def run(
    mailbox: Annotated[Path | None, typer.Option(help="A maildir or a folder of .eml files.", show_default=False)] = None,
    restored: Annotated[
        bool, typer.Option("--after-restore", help="Continue after the cases were lost or restored from a backup.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take in the mails of the mailbox, answer what needs no approval, and draft the rest."""
    settings = or_exit(lambda: load_config(config))
    if restored and find_running(settings.cases_file) is not None:
        exit_with("the desk is running; stop it before you continue after a loss.")
    if restored:
        or_exit(lambda: after_restore(settings))
    if mailbox is not None:
        settings = settings.model_copy(update={"mailbox": mailbox.absolute(), "mailboxes": (), "http": None})
    arrivals, here = Arrivals(), _WorksOff(settings)

    async def through(client: AsyncClient, _: bool) -> Run:
        if mailbox is not None:
            return await _handed_over(client, settings, source_of(settings.mailbox or mailbox).mails())
        return (await client.call(Call("POST", "/desk/look", TAKEN, safe=True))).as_run()

    async def alone(desk: Desk, _: bool, stop: asyncio.Event) -> Run:
        if restored:
            await _settle(desk)
        return await here.work(desk, stop, None, arrivals)

    done = through_or_alone(settings, through, alone, arrivals=arrivals)
    _tell(settings, done, as_json=as_json)


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 is any free one.")] = PORT,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Keep the desk open until Ctrl-C: take mails in as they come, and serve the pages and the other commands."""
    settings = or_exit(lambda: load_config(config))
    from pointsman_desk.running import Round, served  # noqa: PLC0415 - it imports much, and does so before the cases are opened

    arrivals, told = Arrivals(), _Told(settings, as_json=as_json)

    async def life(desk: Desk, stop: asyncio.Event, problem: CurrentProblem) -> None:
        reception = at_desk.Reception(desk)
        async with served(desk, reception, host, port) as url:
            told.ready(url)
            await Round(
                desk, reception, arrivals, told.tell, lambda error: problem.over() if error is None else problem.report(error)
            ).work(stop)

    keep_open(settings, life, arrivals)


async def _settle(desk: Desk) -> None:
    for case in await at_desk.settle_restored(desk):
        complain(f"case {case} is cancelled: its reply had been sent before the cases were restored.")


class _WorksOff:
    """Takes mails in with the desk opened here, and serves other commands meanwhile, which on a database serve themselves."""

    def __init__(self, settings: DeskConfig) -> None:
        if settings.database is None and find_running(settings.cases_file) is None:
            from pointsman_desk import running  # noqa: F401, PLC0415 - it imports much, and does so before the cases are opened

    async def work(self, desk: Desk, stop: asyncio.Event, mails: Iterable[Found] | None, arrivals: Arrivals) -> Run:
        """Take in `mails`, or those of the mailbox, and those of the mail servers."""
        reception = at_desk.Reception(desk)
        async with self._serving(desk, reception):
            with errors.status("Checking the mailbox") as status:
                done = await at_desk.work_off(
                    desk, lambda name: status.update(f"Taking in {safe(name)}"), stop, mails, arrivals, reception=reception
                )
        record(desk, taken_in(done))
        return done

    def _serving(self, desk: Desk, reception: at_desk.Reception) -> AbstractAsyncContextManager[object]:
        if desk.config.database is not None:
            return nullcontext()
        from pointsman_desk.running import served  # noqa: PLC0415

        return served(desk, reception, HOST, 0)


async def _handed_over(client: AsyncClient, settings: DeskConfig, mails: Iterable[Found]) -> Run:
    """Hand mails to the running desk, one after another: each lies in a file of the desk's folder meanwhile."""
    folder, run = settings.home / HANDED_OVER, Run()
    folder.mkdir(mode=0o700, exist_ok=True)
    for found in mails:
        if found.raw is None:
            run.problems.append(found.problem or f"{found.name} cannot be read")
            continue
        file = folder / hashlib.sha256(found.raw).hexdigest()
        try:
            file.write_bytes(found.raw)
            call = Call("POST", "/desk/mails", TAKEN, Mail(file=file.name, name=found.name), safe=True)  # a second time it is known
            taken = (await client.call(call)).as_run()
        finally:
            file.unlink(missing_ok=True)
        run = Run(run.started + taken.started, run.joined + taken.joined, run.known + taken.known, run.problems + taken.problems)
    return run


def mailboxes(config: Config = None, as_json: Json = False) -> None:
    """Show the mailboxes on mail servers: when each was checked last, how many mails remain, and what is wrong."""
    settings = or_exit(lambda: load_config(config))

    def look() -> list[tuple[Account, Bookmark]]:
        with tables_for(settings, create=False) as tables:
            return [(account, bookmark_of(settings, tables, account)) for account in settings.mailboxes]

    known = or_exit(look)
    now = SystemClock().now()
    if as_json:
        print(json.dumps([mailbox_json(account, bookmark, now) for account, bookmark in known], ensure_ascii=False, indent=1))
    elif not known:
        print("No mailbox on a mail server is configured; add one with [[mailboxes]] in desk.toml.")
    else:
        print_mailboxes(known, now)


def doctor(config: Config = None, as_json: Json = False) -> None:
    """Check what the desk needs: files, shop, policy, models, mailboxes. Changes nothing."""
    settings = or_exit(lambda: load_config(config))
    found = or_exit(lambda: list(findings(settings, SystemClock().now())))
    if as_json:
        print(json.dumps([{**finding._asdict(), "level": finding.level} for finding in found], ensure_ascii=False, indent=1))
    else:
        print_findings(found)
    if any(finding.problem for finding in found):
        raise SystemExit(1)


def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Mails, mboxes, maildirs and folders; - is standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read the mails and count their peculiarities; start no cases.")] = False,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (with --dry-run, one line).")] = False,
) -> None:
    """Take in mails from files, or only read them and report on them."""
    settings = or_exit(lambda: load_config(config))
    mails = or_exit(lambda: mails_at(paths, sys.stdin.buffer))
    if not dry_run:
        here = _WorksOff(settings)
        done = through_or_alone(
            settings,
            lambda client, _: _handed_over(client, settings, mails),
            lambda desk, _, stop: here.work(desk, stop, mails, Arrivals()),
        )
        _tell(settings, done, as_json=as_json)
        return

    def look() -> Survey:
        with errors.status("Reading") as status:
            return survey(mails, time.perf_counter, lambda name: status.update(f"Reading {safe(name)}"))

    found = or_exit(look)
    for problem in found.problems:
        complain(problem)
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        print_survey(found)


def _tell(settings: DeskConfig, done: Run, *, as_json: bool) -> None:
    """Print what a run did and what waits; exit with its problems."""

    async def look() -> tuple[list[CaseRow], list[dict[str, Any]]]:
        async with reader_of(settings) as reader:
            rows = await reader.cases(process=SUPPORT_MAIL, limit=CASES_MAX)
            numbers = {*done.started, *done.joined} | {row.id for row in rows if row.status in HELD}
            return rows, [] if as_json else await listed(reader, [row for row in rows if row.id in numbers], settings)

    rows, shown = or_exit(lambda: asyncio.run(look()))
    if as_json:
        print(json.dumps(run_json(done, rows), ensure_ascii=False, indent=1), flush=True)
    else:
        print_run(done, shown, rows, settings, models_named(settings), now=SystemClock().now(), watched=False)
    if done.problems:
        exit_with("; ".join(done.problems))


class _Told:
    """What a running desk prints: once what `run` prints, and then what is new."""

    def __init__(self, settings: DeskConfig, *, as_json: bool) -> None:
        self._settings = settings
        self._as_json = as_json
        self._url = ""
        self._first = True
        self._problems: set[str] = set()

    def ready(self, url: str) -> None:
        """Print the address once it answers; a supervisor waits for the line."""
        if url != self._url:
            self._url = url
            print(json.dumps({"ready": url}) if self._as_json else f"READY {url}", flush=True)

    async def tell(self, desk: Desk, done: Run) -> None:
        """Print what was done. Only the first time all cases are read, by another thread."""
        if self._as_json:
            rows = await asyncio.gather(*(desk.engine.case(case) for case in {*done.started, *done.joined}))
            print(json.dumps(run_json(done, rows), ensure_ascii=False), flush=True)
        elif self._first:
            await asyncio.to_thread(self._everything, done)
        elif done.started or done.joined:
            rows = await asyncio.gather(*(desk.engine.case(case) for case in {*done.started, *done.joined}))
            shown = await listed(desk.engine.reader, rows, self._settings)
            print_run(done, shown, rows, self._settings, models_named(self._settings), now=desk.clock.now(), watched=True)
        for problem in dict.fromkeys(done.problems):
            if problem not in self._problems:
                complain(problem)
        self._problems, self._first = set(done.problems), False

    def _everything(self, done: Run) -> None:
        with suppress(SystemExit):  # problems are told by `tell`
            _tell(self._settings, Run(done.started, done.joined, done.known, elsewhere=done.elsewhere), as_json=False)
        errors.print(f"pointsman-desk: running at {self._url}/; press Ctrl-C to stop.")
