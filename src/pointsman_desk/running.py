"""The running desk: it holds the cases open, takes mails in as they come, and carries out the commands of other programs."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Request
from pydantic import ValidationError
from starlette.responses import Response

from pointsman import Busy, EngineStopped, StoreError, server
from pointsman.server import Scope, acting, permit, problem, tell_audit
from pointsman_desk import desk as at_desk
from pointsman_desk.carrying_out import carry_out
from pointsman_desk.commands import COMMANDS, Done
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import DeskError, DraftChanged, FileUnusable, message_of
from pointsman_desk.handing_over import HANDED_OVER, Mail, Taken, taken_in
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.maildir import read_file
from pointsman_desk.mail.sources.watched import Watched
from pointsman_desk.web import desk_pages
from pointsman_desk.wiring import Desk, check

LOOK_SECONDS = 1.0  # between two looks at the mailbox's folder, which cost microseconds: soon enough for mail
CHECK_SECONDS = 5.0  # between two checks of the shop, the policy and the desk's files, which cost a millisecond
TOLD_SECONDS = 10.0  # a run is told by then even if a case still moves
CONFLICT, PRECONDITION_FAILED, UNPROCESSABLE, UNAVAILABLE = 409, 412, 422, 503

router = APIRouter(prefix="/api/v1/desk")


@router.post("/commands/{name}")
async def command(name: str, request: Request, values: Annotated[dict[str, Any], Body()]) -> Done:
    """Carry out a command of the desk; its values are those of the classes in `commands`."""
    if name not in COMMANDS:
        raise DeskError(f"the desk has no command {name!r}; the running desk may be of another release: restart it.")
    kind = COMMANDS[name]
    await permit(request, Scope(kind.scope))
    asked = kind.model_validate({**values, "by": acting(request, values.get("by"))})
    tell_audit(request, asked.about())
    return await carry_out(request.app.state.desk, asked)


@router.post("/mails")
async def mail(request: Request, body: Mail) -> Taken:
    """Take in a mail that a command of this machine has put into the desk's folder."""
    await permit(request, Scope.START)
    run = at_desk.Run()
    found = await asyncio.to_thread(read_file, request.app.state.desk.config.home / HANDED_OVER / body.file, body.name)
    await request.app.state.reception.take(found, run)
    tell_audit(request, taken_in(run))
    return _taken(run)


@router.post("/look")
async def look(request: Request) -> Taken:
    """Take in what is in the mailbox now."""
    await permit(request, Scope.START)
    desk, run = request.app.state.desk, at_desk.Run()
    if await desk.may_read():
        await request.app.state.reception.take_all(desk.mails(), run, lambda _: None, asyncio.Event())
    await at_desk.resting(desk, *run.started, *run.joined)
    tell_audit(request, taken_in(run))
    return _taken(run)


def _taken(run: at_desk.Run) -> Taken:
    return Taken(started=run.started, joined=run.joined, known=run.known, problems=run.problems)


async def _refused(request: Request, error: Exception) -> Response:
    status = PRECONDITION_FAILED if isinstance(error, DraftChanged) else CONFLICT
    return problem(status, "Refused by the desk", _detail(request, error))


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)
    found = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    return problem(UNPROCESSABLE, "Invalid command", f"{found}; the running desk may be of another release: restart it.")


async def _unusable(request: Request, error: Exception) -> Response:
    what = f"a file of the desk cannot be used now ({error})"
    unusable = FileUnusable(
        f"{what}; run `pointsman-desk doctor` to see which one.", on_page=f"{what}; tell whoever runs the desk, then try again."
    )
    return problem(CONFLICT, "File unusable", _detail(request, unusable))


def _detail(request: Request, error: Exception) -> str:
    """Return an error in the words for whoever asked: a program shows it at a terminal, and a page names no command."""
    is_for_program = request.scope["path"].startswith("/api/")
    return error.on_page if isinstance(error, DeskError) and not is_for_program else message_of(error)


def add_desk(app: FastAPI, desk: Desk, reception: at_desk.Reception) -> None:
    """Add the routes for commands of other programs, and the answers to the desk's errors, which its pages show, too."""
    app.state.desk, app.state.reception = desk, reception
    app.include_router(router)
    for kind, handler in {DeskError: _refused, ValidationError: _invalid, OSError: _unusable, sqlite3.Error: _unusable}.items():
        app.add_exception_handler(kind, handler)


@asynccontextmanager
async def served(desk: Desk, reception: at_desk.Reception, host: str, port: int) -> AsyncIterator[str]:
    """Serve the desk's pages, the API and the commands of other programs while the block runs. Yields the address.

    Raises CannotListen, SignInNeeded, AccountsError.
    """
    open_desk = replace(desk, stays_open=True)

    sign_in = desk.config.sign_in
    serving = server.Serving(host, port, sign_in.proxy, sign_in.oidc, sign_in.oidc_secret)
    async with server.served(
        desk.engine, desk.config.cases, desk_pages(open_desk), serving, lambda app: add_desk(app, open_desk, reception)
    ) as url:
        yield url


class Round:
    """Takes mails in as they come, and tells what became of them."""

    def __init__(
        self, desk: Desk, reception: at_desk.Reception, arrivals: Arrivals, tell: Callable[[Desk, at_desk.Run], Awaitable[None]],
        report: Callable[[Exception | None], None],
    ) -> None:  # fmt: skip
        """`tell` gets what was done once its cases rest; `report` gets a problem, and None when there is none any more."""
        self._desk = desk
        self._reception = reception
        self._arrivals = arrivals
        self._tell = tell
        self._report = report
        self._watched = Watched(desk.config.mailbox, desk.clock.now) if desk.config.mailbox is not None else None
        self._files = _identities(desk.config)
        self._check_at = 0.0
        self._run, self._since, self._told = at_desk.Run(), 0.0, False

    async def work(self, stop: asyncio.Event) -> None:
        """Work until `stop`. Raises StoreError, EngineStopped and FileUnusable if the desk must be opened again."""
        while not stop.is_set():
            try:
                await self._take_in(stop)
            except (StoreError, EngineStopped, FileUnusable):
                raise
            except (DeskError, Busy, OSError, sqlite3.Error) as error:
                self._report(error)
                await at_desk.either(stop.wait(), self._desk.clock.wait(stop, CHECK_SECONDS))
            else:
                self._report(None)
                await self._pause(stop)

    async def _take_in(self, stop: asyncio.Event) -> None:
        now = self._desk.clock.monotonic()
        if now >= self._check_at:
            if _identities(self._desk.config) != self._files:
                raise FileUnusable("a file of the desk was replaced while the desk had it open; the desk opens its files again.")
            await asyncio.to_thread(check, self._desk.config)
            self._check_at = now + CHECK_SECONDS
        if self._watched is not None and self._watched.changed() and await self._may_read():
            await self._reception.take_all(self._watched.mails(), self._run, lambda _: None, stop)
            if not stop.is_set():
                self._watched.taken()
        await self._arrivals.take_in(self._take, stop)
        self._run.problems += self._arrivals.take_problems()

    async def _may_read(self) -> bool:
        may = await self._desk.may_read()
        self._run.elsewhere = not may
        return may

    async def _take(self, found: Found) -> Any:
        return await self._reception.take(found, self._run)

    async def _pause(self, stop: asyncio.Event) -> None:
        """Wait for the next mail. Once the cases of the last ones rest, tell about them."""
        clock, run = self._desk.clock, self._run
        waits = [stop.wait(), self._arrivals.news.wait(), clock.wait(stop, LOOK_SECONDS)]
        if self._told and not (run.started or run.joined or run.problems):
            await self._begin_summary()
            await at_desk.either(*waits)
            return
        self._since = self._since or clock.monotonic()
        quiet = asyncio.Event()
        await at_desk.either(*waits, self._quiet(quiet))
        if quiet.is_set() or clock.monotonic() - self._since >= TOLD_SECONDS:
            self._run, self._since, self._told = at_desk.Run(), 0.0, True
            await self._tell(self._desk, run)
            await self._begin_summary()

    async def _begin_summary(self) -> None:
        """Start today's summary when it is due: it counts what waits, so the mails are read first."""
        if self._desk.summaries is not None:
            await self._desk.summaries.begin()

    async def _quiet(self, quiet: asyncio.Event) -> None:
        await self._desk.engine.idle(horizon_seconds=LOOK_SECONDS)
        quiet.set()


def _identities(config: DeskConfig) -> list[tuple[int, int] | None]:
    """Which files the desk's own ones are: one that is replaced while it is open would be written in vain."""
    if config.database is not None:
        return []
    return [_identity(file) for file in (config.cases_file, config.sent_file, config.threads_file, config.guesses_file, config.secret_file)]


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
