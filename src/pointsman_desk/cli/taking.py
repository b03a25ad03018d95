"""The commands that take in mails and report on it: run, ingest, mailboxes, doctor."""

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from pointsman import Status, SystemClock
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.lists import listed, mailbox_json, print_findings, print_mailboxes, print_run, print_survey, run_json
from pointsman_desk.cli.options import Config, Json
from pointsman_desk.cli.session import or_exit, with_desk
from pointsman_desk.cli.session import watch as watching
from pointsman_desk.cli.terminal import complain, errors, safe
from pointsman_desk.cli.turns import Turns
from pointsman_desk.config import DeskConfig, load_config
from pointsman_desk.errors import DeskError
from pointsman_desk.health import Finding, findings
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.sources.places import mails_at
from pointsman_desk.mail.survey import Survey, survey
from pointsman_desk.wiring import Desk, after_restore

WATCH_SECONDS = 5.0  # how often a watched folder is checked: soon enough for mail
HELD = {Status.WAITING, Status.PARKED, Status.READY}


def run(
    mailbox: Annotated[Path | None, typer.Option(help="A maildir or a folder of .eml files.", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep running until Ctrl-C.")] = False,
    restored: Annotated[
        bool, typer.Option("--after-restore", help="Continue after the cases were lost or restored from a backup.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take in the mails of the mailbox, answer what needs no approval, and draft the rest."""
    settings = or_exit(lambda: load_config(config))
    if mailbox is not None:
        settings = settings.model_copy(update={"mailbox": mailbox.absolute(), "mailboxes": (), "http": None})
    arrivals = Arrivals()
    if restored:
        or_exit(lambda: after_restore(settings))
    sweep = _Sweep(settings, None, arrivals, as_json=as_json, watched=watch, restored=restored)
    if watch:
        watching(settings, sweep.go_on, arrivals, again_seconds=WATCH_SECONDS)
    else:
        with_desk(settings, sweep.go_on, arrivals=arrivals)


def mailboxes(config: Config = None, as_json: Json = False) -> None:
    """Show the mailboxes on mail servers: when each was checked last, how many mails remain, and what is wrong."""
    settings = or_exit(lambda: load_config(config))
    known = [(account, Bookmark.read(settings.bookmark_of(account), account.place)) for account in settings.mailboxes]
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
    if Turns(settings.home).wanted():
        found.append(Finding("turn", "a command waits for the cases, which another program uses; wait for that program or stop it."))
    if as_json:
        print(json.dumps([finding._asdict() for finding in found], ensure_ascii=False, indent=1))
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
        with_desk(settings, _Sweep(settings, mails, Arrivals(), as_json=as_json, watched=False).go_on)
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


class _Sweep:
    """Take in `mails`, or those of the mailbox and of `arrivals`; report on them; yield the cases to waiting commands in between."""

    def __init__(self, settings: DeskConfig, mails: Iterable[Found] | None, arrivals: Arrivals, *, as_json: bool, watched: bool, restored: bool = False
    ) -> None:  # fmt: skip
        self._wanted = Turns(settings.home).wanted
        self._mails = mails
        self._arrivals = arrivals
        self._as_json = as_json
        self._watched = watched
        self._restored = restored
        self._left: Iterator[Found] | None = None
        self._run = at_desk.Run()
        self._problems: set[str] = set()

    async def go_on(self, desk: Desk, stop: asyncio.Event) -> bool:
        """Start a sweep, or continue one that yielded. Returns True if it yielded again."""
        if self._restored:
            for case in await at_desk.settle_restored(desk):
                complain(f"case {case} is cancelled: its reply had been sent before the cases were restored.")
            self._restored = False
        if self._left is None:
            self._left, self._run = iter(desk.mails() if self._mails is None else self._mails), at_desk.Run()
        with errors.status("Checking the mailbox") as status:
            await at_desk.work_off(
                desk, lambda name: status.update(f"Taking in {safe(name)}"), stop, self._left, self._arrivals, wanted=self._wanted, run=self._run,
                again_seconds=WATCH_SECONDS if self._watched else None,
            )  # fmt: skip
        if self._run.yielded and not stop.is_set():
            return True
        self._left = None
        await self._tell(desk)
        return False

    async def _tell(self, desk: Desk) -> None:
        done = self._run
        rows = await desk.engine.reader.cases(limit=at_desk.CASES_MAX)
        if self._as_json:
            print(json.dumps(run_json(done, rows), ensure_ascii=False, indent=None if self._watched else 1), flush=True)
        elif done.started or done.joined or not self._watched:
            numbers = {*done.started, *done.joined} | {row.id for row in rows if row.status in HELD and not self._watched}
            shown = await listed(desk.engine.reader, [row for row in rows if row.id in numbers], desk.config)
            models = ", then ".join(model.name for model in desk.models)
            print_run(done, shown, rows, desk.config, models, now=desk.clock.now(), watched=self._watched)
        if done.problems and not self._watched:
            raise DeskError("; ".join(done.problems))
        for problem in dict.fromkeys(done.problems):
            if problem not in self._problems:
                complain(problem)
        self._problems = set(done.problems)
