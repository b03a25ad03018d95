"""Do something at the desk: through the running desk, or with the cases opened here if none runs. Errors are one sentence and an exit code."""

import asyncio
import getpass
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pydantic import TypeAdapter

from pointsman import PointsmanError, last_event
from pointsman.client import AsyncClient, Call, CallRefused, reach
from pointsman_desk.cli.stopping import Stop, stopping
from pointsman_desk.cli.terminal import complain, unwritable
from pointsman_desk.commands import Command, Done, Needs, OnCase
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import DeskError, DraftChanged, message_of
from pointsman_desk.folder import reader_of

if TYPE_CHECKING:  # they import much, and only a command that opens the desk needs them
    from pointsman import Subscriber
    from pointsman_desk.mail.sources.arrivals import Arrivals
    from pointsman_desk.wiring import Desk

WAIT_MAX_SECONDS = 900.0  # longer than a mail server may take to answer (RFC 5321, 4.5.3.2.6) while another command waits for it
REFUSED = 409  # RFC 9110, 15.5.10
DRAFT_CHANGED = 412  # RFC 9110, 15.5.13: what the caller saw is no longer there
T = TypeVar("T")
DONE = TypeAdapter(Done)


def carry_out(settings: DeskConfig, command: Command) -> Done:
    """Carry out a command through the running desk, or here. One whose answer was lost is carried out again as the same one.

    Raises DraftChanged; other errors end the program.
    """
    after = or_exit(lambda: asyncio.run(_last_event(settings, command))) if isinstance(command, OnCase) else None

    def once_more(again: bool) -> Command:
        return command.model_copy(update={"after": after}) if again and after is not None else command

    async def through(client: AsyncClient, again: bool) -> Done | DraftChanged:
        try:
            return await client.call(Call("POST", f"/desk/commands/{command.name}", DONE, once_more(again)))
        except CallRefused as refused:
            if refused.status != DRAFT_CHANGED:
                raise
            return DraftChanged(str(refused))

    async def alone(desk: "Desk", again: bool, _: asyncio.Event) -> Done | DraftChanged:
        from pointsman_desk import carrying_out  # noqa: PLC0415 - as below

        asked = once_more(again)
        try:
            done: Done | DraftChanged = await carrying_out.carry_out(desk, asked)
        except DraftChanged as changed:
            record(desk, asked.about(), DRAFT_CHANGED, by=asked.by)
            return changed
        except (DeskError, PointsmanError):
            record(desk, asked.about(), REFUSED, by=asked.by)
            raise
        record(desk, asked.about(), by=asked.by)
        return done

    done = through_or_alone(settings, through, alone, needs=command.needs)
    if isinstance(done, DraftChanged):
        raise done
    return done


def record(desk: "Desk", about: dict[str, Any], status: int = 200, *, by: str | None = None) -> None:
    """Record in the audit log what a command did alone, as the running desk would; `status` is what its answer would have. Raises AccountsError."""
    from pointsman import server  # noqa: PLC0415 - it imports much

    me = login()
    named = {} if by in {None, me} else {"by": by}
    action = about.pop("operation")
    server.record(desk.config.cases, me, action, {"status": status, **about, **named}, desk.clock.now())


async def _last_event(settings: DeskConfig, command: OnCase) -> str:
    async with reader_of(settings) as reader:
        return await last_event(reader, command.case)


def through_or_alone(
    settings: DeskConfig,
    through: Callable[[AsyncClient, bool], Awaitable[T]],
    alone: Callable[["Desk", bool, asyncio.Event], Awaitable[T]],
    *,
    needs: Needs = "everything",
    arrivals: "Arrivals | None" = None,
) -> T:
    """Do something `through` the running desk, or `alone` with the desk opened here; see `pointsman.client.reach`.

    On a database that desks share, it is always done `alone`.

    Ctrl-C, SIGTERM and SIGHUP stop a wait at once, and what is done here at a safe point. `needs` is passed to `wiring.check`; `arrivals` receives
    the mails from mail servers.
    """

    async def body(stop: Stop) -> T:
        opened = asyncio.Event()
        subscribers: list[Subscriber] = []

        @asynccontextmanager
        async def opening() -> AsyncIterator["Desk"]:
            from pointsman_desk.subscribing import subscribers_of  # noqa: PLC0415 - as below
            from pointsman_desk.wiring import mailboxes_of, open_desk  # noqa: PLC0415 - it imports the engine, which a running desk has

            if needs == "everything" and not subscribers:  # what others do meanwhile, the next run tells
                subscribers.extend(subscribers_of(settings))
            async with open_desk(settings, needs=needs, subscribers=subscribers) as desk:
                opened.set()
                async with nullcontext() if arrivals is None else arrivals.of(mailboxes_of(settings, arrivals.report), follow=False):
                    yield desk

        async def here() -> T:
            async with opening() as desk:
                return await alone(desk, False, stop)

        if settings.database is not None:  # other desks may run anywhere, and see in the database what is done here
            return await unless_stopped(here(), opened, stop)
        work = reach(
            settings.cases_file,
            through,
            opening,
            lambda desk, again: alone(desk, again, stop),
            notice=report_wait,
            wait_max_seconds=WAIT_MAX_SECONDS,
        )
        return await unless_stopped(work, opened, stop)

    return run_until_stopped(settings, body)


async def unless_stopped(work: Coroutine[Any, Any, T], opened: asyncio.Event, stop: Stop) -> T:
    """Do `work`. A signal before it has `opened` the desk cancels it; later it must end by itself. Raises _Stopped."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not opened.is_set():
        task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        raise _Stopped from None


class _Stopped(Exception):
    """A signal came before anything was done."""


def report_wait(problem: PointsmanError) -> None:
    """Say once that the command waits, and for what."""
    complain(f"waiting for the cases; press Ctrl-C to give up: {message_of(problem)}")


def run_until_stopped(settings: DeskConfig, body: Callable[[Stop], Awaitable[T]]) -> T:
    """Return what `body` returns. A signal or an error ends the program."""

    async def main() -> tuple[signal.Signals | None, list[T]]:
        with stopping(settings.send_seconds) as stop:
            done: list[T] = []
            with suppress(_Stopped):
                done.append(await body(stop))
            return stop.signal, done

    stopped, done = or_exit(lambda: asyncio.run(main()))
    if stopped is not None:
        complain("stopped; the next run continues unfinished cases.")
        raise SystemExit(128 + stopped)  # the exit code that shells use for a signal
    return done[0]


def who(by: str | None) -> str:
    """Return who decides: `by`, or the login name. Raises DeskError."""
    if not (name := by or login()):
        raise DeskError("your login name is unknown; say who decides with --by NAME.")
    return name


def login() -> str:
    """Return the login name, or "" if it is unknown."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def or_exit(body: Callable[[], T]) -> T:
    """Return what `body` returns, or exit with a message and code 1."""
    try:
        return body()
    except (DeskError, PointsmanError, OSError, sqlite3.Error, BaseExceptionGroup) as error:
        _end_for(error)


def _end_for(error: BaseException) -> NoReturn:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BrokenPipeError):
        raise SystemExit(0) from None
    if isinstance(error, OSError) and error.filename is None:
        unwritable(error)
    if isinstance(error, OSError):
        exit_with(f"{error.filename}: {error.strerror}; fix this, then try again.")
    if isinstance(error, sqlite3.Error):
        exit_with(f"a database of the desk cannot be used now ({error}); run `pointsman-desk doctor` to see which one.")
    if not isinstance(error, DeskError | PointsmanError):
        raise error
    exit_with(message_of(error))


def exit_with(message: str) -> NoReturn:
    """Print an error and exit with code 1."""
    complain(message)
    raise SystemExit(1)
