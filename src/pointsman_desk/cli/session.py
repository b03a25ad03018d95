"""Open the desk for a command, and turn errors into one sentence and an exit code."""

import asyncio
import getpass
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import NoReturn, TypeVar

from pointsman import EngineStopped, PointsmanError, StoreError, StoreForeign, StoreLocked, StoreNewer
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.stopping import Stop, stopping
from pointsman_desk.cli.terminal import complain, errors, unwritable
from pointsman_desk.cli.turns import Turns
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import DeskError, FileUnusable, IndexUnavailable, PolicyInvalid, ShopUnavailable, message_of
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.wiring import Desk, Needs, grace_of, mailboxes_of, open_desk, serving

LOCKED_SECONDS = 900.0  # longer than a mail server may take to answer (RFC 5321, 4.5.3.2.6) while the desk waits for it
NOTICE_SECONDS = 1.0  # a shorter wait needs no message
RETRY_SECONDS = 0.2  # the wait between two tries to open the cases
YIELD_SECONDS = 5.0  # how long a command that yielded leaves the cases to others, which try five times a second
RECOVERABLE = (
    StoreError, EngineStopped, FileUnusable, IndexUnavailable, PolicyInvalid, ShopUnavailable, OSError, sqlite3.Error
)  # fmt: skip

T = TypeVar("T")
Work = Callable[[Desk, asyncio.Event], Awaitable[bool | None]]
"""What a command does with the open desk until the event is set. It returns True if it yielded the cases and wants to continue."""


def with_desk(settings: DeskConfig, work: Work, *, needs: Needs = "everything", arrivals: Arrivals | None = None) -> None:
    """Open the desk, call `work`, and close the desk. Ctrl-C, SIGTERM and SIGHUP stop the work at a safe point.

    One program at a time uses the cases, so the command waits for its turn. `needs` is passed to `wiring.check`; `arrivals` receives
    the mails from mail servers.
    """

    async def body(stop: Stop) -> None:
        arrived = arrivals or Arrivals()
        async with arrived.of(mailboxes_of(settings, arrived.report) if arrivals is not None else [], follow=False):
            await _in_turn(settings, work, stop, needs=needs, until=asyncio.get_running_loop().time() + LOCKED_SECONDS)

    _run(settings, body)


def watch(settings: DeskConfig, sweep: Work, arrivals: Arrivals, *, again_seconds: float) -> None:
    """Call `sweep` every `again_seconds`, or when mails arrive, until Ctrl-C, SIGTERM or SIGHUP.

    Between sweeps other commands can use the cases. Each problem is reported once, and its end too.
    """

    async def body(stop: Stop) -> None:
        async with arrivals.of(mailboxes_of(settings, arrivals.report), follow=True), serving(settings, arrivals.hand_over):
            try:
                await _sweep_again(settings, sweep, arrivals, stop, again_seconds)
            finally:
                arrivals.close()

    _run(settings, body)


async def _sweep_again(settings: DeskConfig, sweep: Work, arrivals: Arrivals, stop: Stop, again_seconds: float) -> None:
    problem = CurrentProblem()
    while not stop.is_set():
        try:
            await _in_turn(settings, sweep, stop)
            problem.over()
        except (StoreForeign, StoreNewer):
            raise  # waiting does not help
        except RECOVERABLE as error:
            problem.report(error)
        with errors.status("Watching the mailbox; press Ctrl-C to stop"):
            # If something is wrong, new mails are no reason to retry at once.
            news = [] if problem.reported else [arrivals.news.wait()]
            await at_desk.either(stop.wait(), asyncio.sleep(again_seconds), *news)


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


async def _in_turn(settings: DeskConfig, work: Work, stop: Stop, *, needs: Needs = "everything", until: float = float("inf")) -> None:
    """Open the desk when it is free, work, and close it; repeat if the work yielded. Raises StoreLocked after `until`."""
    turns = Turns(settings.home)
    while await _opened(settings, work, stop, turns, needs=needs, until=until) and not stop.is_set():
        await _yield_turn(turns, stop)


async def _opened(settings: DeskConfig, work: Work, stop: Stop, turns: Turns, *, needs: Needs, until: float) -> bool | None:
    loop = asyncio.get_running_loop()
    notice_at = loop.time() + NOTICE_SECONDS
    with ExitStack() as line:
        while not stop.is_set():
            opened = False
            try:
                async with open_desk(settings, needs=needs) as desk:
                    opened = True
                    line.close()
                    return await work(desk, stop)
            except StoreLocked as locked:
                if opened or loop.time() > until:
                    raise
                line.close()
                line.enter_context(turns.waiting())
                if loop.time() > notice_at:
                    notice_at = float("inf")
                    complain(f"waiting for the cases; press Ctrl-C to give up: {message_of(locked)}")
            await at_desk.either(stop.wait(), asyncio.sleep(RETRY_SECONDS))
    return None


async def _yield_turn(turns: Turns, stop: Stop) -> None:
    """Leave the cases to waiting commands, until none waits or WAY_SECONDS have passed."""
    until = asyncio.get_running_loop().time() + YIELD_SECONDS
    while turns.wanted() and asyncio.get_running_loop().time() < until:
        await at_desk.either(stop.wait(), asyncio.sleep(RETRY_SECONDS))


def _run(settings: DeskConfig, body: Callable[[Stop], Awaitable[None]]) -> None:
    async def main() -> signal.Signals | None:
        with stopping(grace_of(settings)) as stop:
            await body(stop)
        return stop.signal

    stopped = or_exit(lambda: asyncio.run(main()))
    if stopped is not None:
        complain("stopped; the next run continues unfinished cases.")
        raise SystemExit(128 + stopped)  # the exit code that shells use for a signal


def who(by: str | None) -> str:
    """Return who decides: `by`, or the login name. Raises DeskError."""
    try:
        return by or getpass.getuser()
    except (OSError, KeyError):
        raise DeskError("your login name is unknown; say who decides with --by NAME.") from None


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
