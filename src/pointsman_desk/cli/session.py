"""Do something at the desk: through the running desk, or with the cases opened here if none runs. Errors are one sentence and an exit code."""

import asyncio
import getpass
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn, TypeVar

from pydantic import TypeAdapter

from pointsman import EngineStopped, PointsmanError, StoreError, StoreForeign, StoreNewer, last_event
from pointsman.client import AsyncClient, Call, CallRefused, find_running, reach, when_free
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.stopping import Stop, stopping
from pointsman_desk.cli.terminal import complain, errors, unwritable
from pointsman_desk.commands import Command, Done, OnCase
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import DeskError, FileUnusable, IndexUnavailable, PolicyInvalid, ShopUnavailable, message_of
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.wiring import Desk, Needs, grace_of, mailboxes_of, open_desk, reader_of, serving

WAIT_MAX_SECONDS = 900.0  # longer than a mail server may take to answer (RFC 5321, 4.5.3.2.6) while another command waits for it
AGAIN_SECONDS = 5.0  # between two tries to open a desk that something keeps from working
REFUSED = 409  # RFC 9110, 15.5.10
DRAFT_CHANGED = 412  # RFC 9110, 15.5.13: what the caller saw is no longer there
RECOVERABLE = (
    StoreError, EngineStopped, FileUnusable, IndexUnavailable, PolicyInvalid, ShopUnavailable, OSError, sqlite3.Error
)  # fmt: skip

T = TypeVar("T")
DONE = TypeAdapter(Done)


def carry_out(settings: DeskConfig, command: Command) -> Done:
    """Carry out a command through the running desk, or here. One whose answer was lost is carried out again as the same one.

    Raises DraftChanged; other errors end the program.
    """
    after = or_exit(lambda: asyncio.run(_last_event(settings, command))) if isinstance(command, OnCase) else None

    def once_more(again: bool) -> Command:
        return command.model_copy(update={"after": after}) if again and after is not None else command

    async def through(client: AsyncClient, again: bool) -> Done | at_desk.DraftChanged:
        try:
            return await client.call(Call("POST", f"/desk/commands/{command.name}", DONE, once_more(again)))
        except CallRefused as refused:
            if refused.status != DRAFT_CHANGED:
                raise
            return at_desk.DraftChanged(str(refused))

    async def alone(desk: Desk, again: bool, _: asyncio.Event) -> Done | at_desk.DraftChanged:
        asked = once_more(again)
        try:
            done: Done | at_desk.DraftChanged = await asked.carry_out(desk)
        except at_desk.DraftChanged as changed:
            record(desk, asked.about(), DRAFT_CHANGED, by=asked.by)
            return changed
        except (DeskError, PointsmanError):
            record(desk, asked.about(), REFUSED, by=asked.by)
            raise
        record(desk, asked.about(), by=asked.by)
        return done

    done = through_or_alone(settings, through, alone, needs=command.needs)
    if isinstance(done, at_desk.DraftChanged):
        raise done
    return done


def record(desk: Desk, about: dict[str, Any], status: int = 200, *, by: str | None = None) -> None:
    """Record in the audit log what a command did alone, as the running desk would; `status` is what its answer would have. Raises AccountsError."""
    from pointsman import server  # noqa: PLC0415 - it imports much

    me = login()
    named = {} if by in {None, me} else {"by": by}
    action = about.pop("operation")
    server.record(desk.config.database, me, action, {"status": status, **about, **named}, desk.clock.now())


async def _last_event(settings: DeskConfig, command: OnCase) -> str:
    with reader_of(settings) as reader:
        return await last_event(reader, command.case)


def through_or_alone(
    settings: DeskConfig,
    through: Callable[[AsyncClient, bool], Awaitable[T]],
    alone: Callable[[Desk, bool, asyncio.Event], Awaitable[T]],
    *,
    needs: Needs = "everything",
    arrivals: Arrivals | None = None,
) -> T:
    """Do something `through` the running desk, or `alone` with the desk opened here; see `pointsman.client.reach`.

    Ctrl-C, SIGTERM and SIGHUP stop a wait at once, and what is done here at a safe point. `needs` is passed to `wiring.check`; `arrivals` receives
    the mails from mail servers.
    """

    async def body(stop: Stop) -> T:
        opened = asyncio.Event()

        @asynccontextmanager
        async def opening() -> AsyncIterator[Desk]:
            async with open_desk(settings, needs=needs) as desk:
                opened.set()
                async with arrived.of(mailboxes_of(settings, arrived.report) if arrivals is not None else [], follow=False):
                    yield desk

        arrived = arrivals or Arrivals()
        work = reach(
            settings.database,
            through,
            opening,
            lambda desk, again: alone(desk, again, stop),
            notice=_waits,
            wait_max_seconds=WAIT_MAX_SECONDS,
        )
        return await _unless_stopped(work, opened, stop)

    return _run(settings, body)


async def _unless_stopped(work: Coroutine[Any, Any, T], opened: asyncio.Event, stop: Stop) -> T:
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


def _waits(problem: PointsmanError) -> None:
    complain(f"waiting for the cases; press Ctrl-C to give up: {message_of(problem)}")


Life = Callable[[Desk, asyncio.Event, "CurrentProblem"], Awaitable[None]]
"""What a running desk does with the open desk until the event is set."""


def keep_open(settings: DeskConfig, life: Life, arrivals: Arrivals) -> None:
    """Keep the desk open and call `life`, until Ctrl-C, SIGTERM or SIGHUP. What keeps it from working is reported once, and its end too."""

    async def body(stop: Stop) -> None:
        if (address := find_running(settings.database)) is not None:
            raise DeskError(f"the desk is running already at {address.url}/ (process {address.pid}); stop it first.")
        async with arrivals.of(mailboxes_of(settings, arrivals.report), follow=True), serving(settings, arrivals.hand_over):
            try:
                await _live(settings, life, stop)
            finally:
                arrivals.close()

    _run(settings, body)


async def _live(settings: DeskConfig, life: Life, stop: Stop) -> None:
    problem = CurrentProblem()
    while not stop.is_set():
        opened = asyncio.Event()

        async def live(opened: asyncio.Event = opened) -> None:
            async with when_free(lambda: open_desk(settings), notice=_waits, wait_max_seconds=WAIT_MAX_SECONDS) as desk:
                opened.set()
                await at_desk.either(life(desk, stop, problem), desk.engine.serve(asyncio.Event()))  # the engine raises if it fails

        try:
            await _unless_stopped(live(), opened, stop)
        except (StoreForeign, StoreNewer):
            raise  # waiting does not help
        except RECOVERABLE as error:
            problem.report(error)
            with errors.status("Waiting; press Ctrl-C to stop"):
                await at_desk.either(stop.wait(), asyncio.sleep(AGAIN_SECONDS))


class CurrentProblem:
    """The current problem of a watching desk, reported when it begins, changes and ends."""

    def __init__(self) -> None:
        self.reported = ""

    def report(self, error: Exception) -> None:
        """Report the problem, unless it was the last one reported."""
        problem = str(error)
        if problem != self.reported:
            complain(f"{problem} The desk continues when this is fixed.")
        self.reported = problem

    def over(self) -> None:
        """Report the end of the problem, if there was one."""
        if self.reported:
            complain("the problem is fixed; the desk continues.")
        self.reported = ""


def _run(settings: DeskConfig, body: Callable[[Stop], Awaitable[T]]) -> T:
    async def main() -> tuple[signal.Signals | None, list[T]]:
        with stopping(grace_of(settings)) as stop:
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
