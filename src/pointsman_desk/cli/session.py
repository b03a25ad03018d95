"""Open the desk for a command, and end every command with a sentence and a code instead of a traceback."""

import asyncio
import getpass
import signal
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

from pointsman import PointsmanError, StoreLocked
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.terminal import complain, errors
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import DeskError
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.wiring import Desk, mailboxes_of, open_desk, serving

LOCKED_SECONDS = 10.0  # what a person waits for another one's decision to be written down
RETRY_SECONDS = 0.2  # how soon the next try is worth it

T = TypeVar("T")


def with_desk(
    settings: DeskConfig,
    work: Callable[[Desk, asyncio.Event], Awaitable[None]],
    *,
    patient: bool = False,
    again_seconds: float | None = None,
    arrivals: Arrivals | None = None,
) -> None:
    """Open the desk, work, and close it in order; Ctrl-C and SIGTERM end the work at a safe place.

    The database has one writer at a time: `patient` waits a while for another one to be done, and `again_seconds` works
    again after that time, with the desk open to others in between, or as soon as a mailbox hands something over to `arrivals`.
    """
    arrived = arrivals or Arrivals()

    async def body() -> bool:
        mailboxes = mailboxes_of(settings, arrived.trouble) if arrivals is not None else []
        if again_seconds is None:
            async with arrived.of(mailboxes, follow=False):
                return await in_turn()
        async with arrived.of(mailboxes, follow=True), serving(settings, arrived.hand_over):
            return await in_turn()

    async def in_turn() -> bool:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        until = loop.time() + (LOCKED_SECONDS if patient or again_seconds is not None else 0.0)
        while True:
            try:
                async with open_desk(settings) as desk:
                    await work(desk, stop)
            except StoreLocked:
                if loop.time() > until or stop.is_set():
                    raise
                await at_desk.either(stop.wait(), asyncio.sleep(RETRY_SECONDS))
                continue
            if again_seconds is None or stop.is_set():
                return stop.is_set()
            with errors.status("Watching the mailbox; Ctrl-C ends it"):
                await at_desk.either(stop.wait(), asyncio.sleep(again_seconds), arrived.news.wait())
            if stop.is_set():
                return True
            until = loop.time() + LOCKED_SECONDS

    if or_exit(lambda: asyncio.run(body())):
        errors.print("pointsman-desk: stopped; what was begun is kept and goes on with the next run.")
        raise SystemExit(130)


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
    except (DeskError, PointsmanError) as error:
        exit_with(str(error))
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if not isinstance(first, DeskError | PointsmanError):
            raise
        exit_with(str(first))
    except BrokenPipeError:
        raise SystemExit(0) from None
    except OSError as error:
        exit_with(f"the output cannot be written ({error.strerror}).")


def exit_with(message: str) -> NoReturn:
    """Tell what is wrong and end with the code 1."""
    complain(message)
    raise SystemExit(1)
