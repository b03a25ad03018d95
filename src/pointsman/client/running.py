"""The running program of a database: where it listens, and how to do something through it, or alone if there is none."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from pointsman.client.http import AsyncClient
from pointsman.client.problems import CallRefused, Unreachable
from pointsman.errors import EngineStopped, PointsmanError, StoreLocked
from pointsman.store.sqlite_file import beside, engine_process, has_engine

WAIT_MAX_SECONDS = 10.0  # as long as a stopping engine waits for its running steps (runtime.engine.GRACE_SECONDS)
NOTICE_SECONDS = 1.0  # a person wonders about a longer wait
RETRY_SECONDS = 0.02  # a program opens its file in some tens of milliseconds
UNAUTHORIZED = 401

T = TypeVar("T")
U = TypeVar("U")


class Address(NamedTuple):
    """Where a running program listens, the token that its own machine's commands send, and its process."""

    url: str
    token: str
    pid: int


def address_file(database: Path) -> Path:
    """Return the file that says where the program that has `database` open listens. Only its owner can read it."""
    return beside(database, ".server")


def find_running(database: Path) -> Address | None:
    """Return where the program that has the database open listens; None if there is none, or it does not listen.

    The file that a dead program left behind is ignored, because the lock of the database names another process, or nobody has it.
    """
    try:
        found = json.loads(address_file(database).read_text(encoding="utf-8"))
        address = Address(str(found["url"]), str(found["token"]), int(found["pid"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return address if has_engine(database) and engine_process(database) == address.pid else None


async def reach(
    database: Path,
    through: Callable[[AsyncClient, bool], Awaitable[T]],
    opening: Callable[[], AbstractAsyncContextManager[U]],
    alone: Callable[[U, bool], Awaitable[T]],
    *,
    notice: Callable[[PointsmanError], None] = lambda _: None,
    wait_max_seconds: float = WAIT_MAX_SECONDS,
) -> T:
    """Do something `through` the running program, or `alone` with what `opening` opens if no program has the database open.

    While a program starts, stops or restarts, this waits for it, up to `wait_max_seconds`; `notice` gets the problem if the wait is long. If the
    program ends during the call, the call is made again: the second argument of `through` and `alone` is then True, because an earlier call may
    have happened. Raises StoreLocked if another program keeps the database open and does not listen, Unreachable if the answer of the last call
    is unknown, and what `through`, `opening` and `alone` raise.
    """
    wait, again = _Wait(notice, wait_max_seconds), False
    while True:
        problem: PointsmanError
        if (address := find_running(database)) is not None:
            try:
                async with AsyncClient(address.url, token=address.token) as client:
                    return await through(client, again)
            except Unreachable as error:
                problem, again = error, again or error.unknown
            except EngineStopped as error:
                problem, again = error, True
            except CallRefused as error:
                if error.status != UNAUTHORIZED:
                    raise
                problem = error  # another program listens there now
        else:
            async with AsyncExitStack() as stack:
                try:
                    opened = await stack.enter_async_context(opening())
                except StoreLocked as error:
                    problem = error
                else:
                    return await alone(opened, again)
        if not await wait.again(problem):
            raise _gave_up(problem, again)


@asynccontextmanager
async def when_free(
    opening: Callable[[], AbstractAsyncContextManager[U]],
    *,
    notice: Callable[[PointsmanError], None] = lambda _: None,
    wait_max_seconds: float = WAIT_MAX_SECONDS,
) -> AsyncIterator[U]:
    """Open what `opening` opens, once no other program has the database open. Raises StoreLocked after `wait_max_seconds`."""
    wait = _Wait(notice, wait_max_seconds)
    async with AsyncExitStack() as stack:
        while True:
            try:
                opened = await stack.enter_async_context(opening())
            except StoreLocked as locked:
                if not await wait.again(locked):
                    raise
            else:
                yield opened
                return


class _Wait:
    """A wait for another program, with a notice if it is long."""

    def __init__(self, notice: Callable[[PointsmanError], None], wait_max_seconds: float) -> None:
        self._notice: Callable[[PointsmanError], None] | None = notice
        self._wait_max_seconds = wait_max_seconds
        self._begun = asyncio.get_running_loop().time()

    async def again(self, problem: PointsmanError) -> bool:
        """Wait a moment before another try. Returns False if this has taken too long."""
        waited = asyncio.get_running_loop().time() - self._begun
        if waited >= self._wait_max_seconds:
            return False
        if waited >= NOTICE_SECONDS and self._notice is not None:
            self._notice(problem)
            self._notice = None
        await asyncio.sleep(RETRY_SECONDS)
        return True


def _gave_up(problem: PointsmanError, again: bool) -> PointsmanError:
    if not again:
        return problem
    return Unreachable(f"nobody answers whether the command was carried out ({problem}); look before you repeat it.", unknown=True)
