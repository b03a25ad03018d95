"""Open the desk for a command, and end every command with a sentence and a code instead of a traceback."""

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
from pointsman_desk.errors import DeskError, FileUnusable, IndexUnavailable, PolicyInvalid, ShopUnavailable, told
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.wiring import Desk, Needs, grace_of, mailboxes_of, open_desk, serving

LOCKED_SECONDS = 900.0  # longer than a mail server may think about a reply (RFC 5321, 4.5.3.2.6), which holds the desk up
TOLD_SECONDS = 1.0  # what nobody notices needs no word
RETRY_SECONDS = 0.2  # how soon the next try is worth it
WAY_SECONDS = 5.0  # how long a command that made way leaves the cases to those who wait: they try five times a second
MENDED_BY_OTHERS = (
    StoreError, EngineStopped, FileUnusable, IndexUnavailable, PolicyInvalid, ShopUnavailable, OSError, sqlite3.Error
)  # fmt: skip

T = TypeVar("T")
Work = Callable[[Desk, asyncio.Event], Awaitable[bool | None]]
"""What is done at the open desk until the event is set. True means that it made way for others and wants to go on after them."""


def with_desk(settings: DeskConfig, work: Work, *, needs: Needs = "everything", arrivals: Arrivals | None = None) -> None:
    """Open the desk, work, and close it in order; Ctrl-C, SIGTERM and SIGHUP end the work at a safe place.

    The cases have one program at a time: this one waits for its turn. `needs` is what `wiring.check` looks for, and `arrivals`
    gets the mails of mailboxes on servers, each fetched once.
    """

    async def body(stop: Stop) -> None:
        arrived = arrivals or Arrivals()
        async with arrived.of(mailboxes_of(settings, arrived.trouble) if arrivals is not None else [], follow=False):
            await _in_turn(settings, work, stop, needs=needs, until=asyncio.get_running_loop().time() + LOCKED_SECONDS)

    _run(settings, body)


def watch(settings: DeskConfig, sweep: Work, arrivals: Arrivals, *, again_seconds: float) -> None:
    """Work at the desk again and again, every `again_seconds` or when mails arrive, until Ctrl-C, SIGTERM or SIGHUP.

    In between the cases are free for others. What keeps the desk from working is told once, and so is that it has been mended.
    """

    async def body(stop: Stop) -> None:
        async with arrivals.of(mailboxes_of(settings, arrivals.trouble), follow=True), serving(settings, arrivals.hand_over):
            try:
                await _sweep_again(settings, sweep, arrivals, stop, again_seconds)
            finally:
                arrivals.close()

    _run(settings, body)


async def _sweep_again(settings: DeskConfig, sweep: Work, arrivals: Arrivals, stop: Stop, again_seconds: float) -> None:
    troubles = Troubles()
    while not stop.is_set():
        try:
            await _in_turn(settings, sweep, stop)
            troubles.over()
        except (StoreForeign, StoreNewer):
            raise  # no waiting mends that
        except MENDED_BY_OTHERS as error:
            troubles.tell(error)
        with errors.status("Watching the mailbox; Ctrl-C ends it"):
            # Where something is wrong, mails that have arrived are no reason to try again at once.
            news = [] if troubles.told else [arrivals.news.wait()]
            await at_desk.either(stop.wait(), asyncio.sleep(again_seconds), *news)


class Troubles:
    """What keeps a watching desk from working, told when it begins, when it becomes something else, and when it is over."""

    def __init__(self) -> None:
        self.told = ""

    def tell(self, error: Exception) -> None:
        """Say what is wrong, unless that was the last that was said."""
        problem = str(error)
        if problem != self.told:
            complain(f"{problem} The desk goes on when that is mended.")
        self.told = problem

    def over(self) -> None:
        """Say that it is mended, where something was wrong."""
        if self.told:
            complain("it is mended, and the desk goes on.")
        self.told = ""


async def _in_turn(settings: DeskConfig, work: Work, stop: Stop, *, needs: Needs = "everything", until: float = float("inf")) -> None:
    """Open the desk when it is free, work, and close it; again where the work made way. Raises StoreLocked after `until`."""
    turns = Turns(settings.home)
    while await _opened(settings, work, stop, turns, needs=needs, until=until) and not stop.is_set():
        await _let_others(turns, stop)


async def _opened(settings: DeskConfig, work: Work, stop: Stop, turns: Turns, *, needs: Needs, until: float) -> bool | None:
    loop = asyncio.get_running_loop()
    told_at = loop.time() + TOLD_SECONDS
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
                if loop.time() > told_at:
                    told_at = float("inf")
                    complain(f"waiting for the cases; Ctrl-C gives up: {told(locked)}")
            await at_desk.either(stop.wait(), asyncio.sleep(RETRY_SECONDS))
    return None


async def _let_others(turns: Turns, stop: Stop) -> None:
    """Leave the cases to those who wait, until nobody does any more, or for a while."""
    until = asyncio.get_running_loop().time() + WAY_SECONDS
    while turns.wanted() and asyncio.get_running_loop().time() < until:
        await at_desk.either(stop.wait(), asyncio.sleep(RETRY_SECONDS))


def _run(settings: DeskConfig, body: Callable[[Stop], Awaitable[None]]) -> None:
    async def main() -> signal.Signals | None:
        with stopping(grace_of(settings)) as stop:
            await body(stop)
        return stop.signal

    stopped = or_exit(lambda: asyncio.run(main()))
    if stopped is not None:
        complain("stopped; what was begun is kept and goes on with the next run.")
        raise SystemExit(128 + stopped)  # as a shell tells of a program that a signal ended


def who(by: str | None) -> str:
    """Who decides: `by`, or the login name. Raises DeskError."""
    try:
        return by or getpass.getuser()
    except (OSError, KeyError):
        raise DeskError("your login name is not known here; say who decides with --by NAME.") from None


def or_exit(body: Callable[[], T]) -> T:
    """Return what `body` does, or end with a sentence and the code 1."""
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
        exit_with(f"{error.filename}: {error.strerror}; mend it, and try again.")
    if isinstance(error, sqlite3.Error):
        exit_with(f"a database of the desk cannot be used now ({error}); `pointsman-desk doctor` looks at each of them.")
    if not isinstance(error, DeskError | PointsmanError):
        raise error
    exit_with(told(error))


def exit_with(message: str) -> NoReturn:
    """Tell what is wrong and end with the code 1."""
    complain(message)
    raise SystemExit(1)
