"""Keep the desk open until a signal, and open it again when something kept it from working."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence

from pointsman import EngineStopped, StoreError, StoreForeign, StoreNewer, Subscriber
from pointsman.client import find_running, when_free
from pointsman_desk import desk as at_desk
from pointsman_desk.cli.session import WAIT_MAX_SECONDS, report_wait, run_until_stopped, unless_stopped
from pointsman_desk.cli.stopping import Stop
from pointsman_desk.cli.terminal import complain, errors
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import DeskError, FileUnusable, IndexUnavailable, PolicyInvalid, ShopUnavailable
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.subscribing import subscribers_of
from pointsman_desk.wiring import Desk, mailboxes_of, open_desk, serving

AGAIN_SECONDS = 5.0  # between two tries to open a desk that something keeps from working
RECOVERABLE = (
    StoreError, EngineStopped, FileUnusable, IndexUnavailable, PolicyInvalid, ShopUnavailable, OSError, sqlite3.Error
)  # fmt: skip

Life = Callable[[Desk, asyncio.Event, "CurrentProblem"], Awaitable[None]]
"""What a running desk does with the open desk until the event is set."""


def keep_open(settings: DeskConfig, life: Life, arrivals: Arrivals) -> None:
    """Keep the desk open and call `life`, until Ctrl-C, SIGTERM or SIGHUP. What keeps it from working is reported once, and its end too."""

    async def body(stop: Stop) -> None:
        if (address := find_running(settings.cases_file)) is not None:
            raise DeskError(f"the desk is running already at {address.url}/ (process {address.pid}); stop it first.")
        subscribers = subscribers_of(settings)
        async with arrivals.of(mailboxes_of(settings, arrivals.report), follow=True), serving(settings, arrivals.hand_over):
            try:
                await _live(settings, life, stop, subscribers)
            finally:
                arrivals.close()

    run_until_stopped(settings, body)


async def _live(settings: DeskConfig, life: Life, stop: Stop, subscribers: Sequence[Subscriber]) -> None:
    problem = CurrentProblem()
    while not stop.is_set():
        opened = asyncio.Event()

        async def live(opened: asyncio.Event = opened) -> None:
            async with when_free(
                lambda: open_desk(settings, subscribers=subscribers), notice=report_wait, wait_max_seconds=WAIT_MAX_SECONDS
            ) as desk:
                opened.set()
                await at_desk.either(life(desk, stop, problem), desk.engine.serve(asyncio.Event()))  # the engine raises if it fails

        try:
            await unless_stopped(live(), opened, stop)
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
