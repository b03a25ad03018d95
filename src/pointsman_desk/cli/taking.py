"""The commands that take in mails: run, ingest, mailboxes."""

import asyncio
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from pointsman import Status, SystemClock
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.lists import case_json, mailbox_json, print_mailboxes, print_run, print_survey, run_json
from pointsman_desk.cli.options import Config, Json
from pointsman_desk.cli.session import or_exit, with_desk
from pointsman_desk.cli.terminal import complain, errors, safe
from pointsman_desk.config import load_config
from pointsman_desk.errors import DeskError
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.sources.places import mails_at
from pointsman_desk.mail.survey import Survey, survey
from pointsman_desk.wiring import Desk

WATCH_SECONDS = 5.0  # how often a watched folder is looked at: soon enough for mail
HELD = {Status.WAITING, Status.PARKED, Status.READY}


def run(
    mailbox: Annotated[Path | None, typer.Option(help="A maildir or a folder of .eml files.", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take in the mails of the mailbox and answer what may be answered without a person."""
    settings = or_exit(lambda: load_config(config))
    if mailbox is not None:
        settings = settings.model_copy(update={"mailbox": mailbox.absolute(), "mailboxes": (), "http": None})
    arrivals = Arrivals()

    async def sweep(desk: Desk, stop: asyncio.Event) -> None:
        await _take_in(desk, stop, None, arrivals, as_json=as_json, watched=watch)

    with_desk(settings, sweep, again_seconds=WATCH_SECONDS if watch else None, arrivals=arrivals)


def mailboxes(config: Config = None, as_json: Json = False) -> None:
    """Show how the mailboxes on mail servers do: when they were looked into last, what is still to come, and what is wrong."""
    settings = or_exit(lambda: load_config(config))
    known = [(account, Bookmark.read(settings.bookmark_of(account), account.place)) for account in settings.mailboxes]
    now = SystemClock().now()
    if as_json:
        print(json.dumps([mailbox_json(account, bookmark, now) for account, bookmark in known], ensure_ascii=False, indent=1))
    elif not known:
        print("No mailbox on a mail server is configured; name one with [[mailboxes]] in desk.toml.")
    else:
        print_mailboxes(known, now)


def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Mails, mboxes, maildirs and folders; - for standard input.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read the mails and count what is odd about them; start no case.")
    ] = False,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; with --dry-run one line.")] = False,
) -> None:
    """Take in mails from anywhere, or only look what reading them gives."""
    settings = or_exit(lambda: load_config(config))
    mails = or_exit(lambda: mails_at(paths, sys.stdin.buffer))
    if not dry_run:
        with_desk(settings, lambda desk, stop: _take_in(desk, stop, mails, None, as_json=as_json, watched=False), patient=True)
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


async def _take_in(
    desk: Desk, stop: asyncio.Event, mails: Iterable[Found] | None, arrivals: Arrivals | None, *, as_json: bool, watched: bool
) -> None:
    """Take in `mails`, or the mailbox's and those of `arrivals`, and tell what became of them."""
    with errors.status("Looking into the mailbox") as status:
        done = await at_desk.work_off(desk, lambda name: status.update(f"Taking in {safe(name)}"), stop, mails, arrivals)
    rows = await desk.engine.reader.cases(limit=at_desk.CASES_MAX)
    if as_json:
        print(json.dumps(run_json(done, rows), ensure_ascii=False, indent=None if watched else 1))
    elif done.started or done.joined or not watched:
        told = {*done.started, *done.joined} | {row.id for row in rows if row.status in HELD}
        shown = [await case_json(desk.engine.reader, row) for row in rows if row.id in told]
        print_run(done, shown, rows, desk.config, ", then ".join(model.name for model in desk.models))
    if done.problems and not watched:
        raise DeskError("; ".join(done.problems))
    for problem in done.problems:
        complain(problem)
