"""Find and load cases for the engine's methods, and commit what happens to them from outside."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from pointsman.definition.process import AnyProcess
from pointsman.definition.state import State
from pointsman.errors import Conflict, EngineStopped, Refused, StoreError, UnknownCase, ValueRefused, VersionNotAccepted
from pointsman.kernel.case import Case, new_case
from pointsman.kernel.codec import check_whole, codec_of
from pointsman.kernel.happenings import Happening, NotAcceptedHere, StartAsked
from pointsman.kernel.machine import Plan, Refusal
from pointsman.kernel.moment import Offer
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import CaseRow, Post
from pointsman.kernel.snapshot import Cell, Status
from pointsman.runtime.commits import Commits
from pointsman.runtime.limits import Limits
from pointsman.runtime.loading import Loader
from pointsman.runtime.ports import Ports
from pointsman.runtime.registry import Registry
from pointsman.runtime.scheduler import Scheduler, case_name
from pointsman.runtime.session import CaseSession
from pointsman.store.base import CaseStore, MessageStore, Posted, SharedStore

T = TypeVar("T")

BLOCK_NUMBERS = 100  # case numbers reserved at once: one request for a hundred starts, and a small gap when the engine closes


class _Numbers:
    """The numbers of new cases, reserved in blocks."""

    def __init__(self, store: CaseStore) -> None:
        self._store = store
        self._reserved: Iterator[int] = iter(())
        self._reserving = asyncio.Lock()

    async def next(self) -> int:
        """Return a number that no other case has. Raises StoreError."""
        while (number := next(self._reserved, None)) is None:
            async with self._reserving:
                number = next(self._reserved, None)
                if number is not None:
                    break
                self._reserved = iter(await self._store.reserve(BLOCK_NUMBERS))
        return number


class Cases:
    """What the engine's methods for starts, answers and operators share."""

    def __init__(self, ports: Ports, commits: Commits, loader: Loader, scheduler: Scheduler, limits: Limits, registry: Registry) -> None:
        self._store: CaseStore = ports.store
        self._messages: MessageStore = ports.store
        self._shared: SharedStore = ports.store
        self._numbers = _Numbers(ports.store)
        self.scheduler = scheduler
        self._ports = ports
        self._commits = commits
        self._loader = loader
        self._limits = limits
        self._registry = registry
        self._underway: dict[asyncio.Task[Any], asyncio.Future[int] | None] = {}
        self._none_underway = asyncio.Event()

    def process(self, name: str) -> AnyProcess:
        """Return a registered process in its newest version. Raises UnknownProcess."""
        return self._registry.for_start(name)

    async def row(self, case: int) -> CaseRow:
        """Return the row of a case. Raises UnknownCase."""
        if not isinstance(cast("object", case), int):
            check_whole("case", case)
        row = await self._store.case(case)
        if row is None:
            raise UnknownCase(case)
        return row

    async def session(self, row: CaseRow, *, corrected: Collection[str] = ()) -> CaseSession:
        """Load a case in order to change it. Raises ValueRefused if its fields do not fit the present code.

        Fields that are about to be `corrected` need not fit. If no registered version can run the case, raise VersionNotAccepted, and block the
        case unless another engine can run it.
        """
        try:
            return await self.read(row, corrected=corrected)
        except VersionNotAccepted as error:
            if await self.accepted_elsewhere(row.process, row.version):
                raise VersionNotAccepted(f"case {row.id} cannot go on here: {error}, or ask an engine that has it.") from None
            if row.status is Status.WAITING:
                with suppress(Conflict):
                    await self.apply(self.bare(row), NotAcceptedHere(str(error)))
            raise VersionNotAccepted(f"case {row.id} cannot go on: {error}.") from None

    async def accepted_elsewhere(self, name: str, version: int) -> bool:
        """Return whether another engine accepts the cases of this version, and this one does not. Raises StoreError."""
        if not self._ports.lease.shared or self._registry.accepting(name, version) is not None:
            return False
        return (name, version) in await self._shared.announced()

    async def read(self, row: CaseRow, *, corrected: Collection[str] = ()) -> CaseSession:
        """Load a case in order to read it only. Raises ValueRefused and VersionNotAccepted."""
        process = self._registry.for_case(row.process, row.version)
        try:
            return CaseSession(program_of(process), await self._loader.load(process, row, corrected=corrected))
        except ValueRefused as error:
            raise ValueRefused(f"case {row.id}: {error}.") from None

    def bare(self, row: CaseRow) -> CaseSession:
        """Return a session for a transition that does not read the case's fields."""
        return self.scheduler.bare(row)

    async def completed(self, session: CaseSession) -> CaseSession:
        """Return the session with its case's ledger, pause, messages and children."""
        session.case = await self._loader.complete(session.process, session.case)
        return session

    async def read_messages(self, session: CaseSession) -> None:
        """Read the case's inbox again."""
        session.case = await self._loader.with_messages(session.case)

    async def with_branches(self, session: CaseSession) -> CaseSession:
        """Return the session with the branches of its case's step."""
        branches = {row.name: row for row in await self._store.branches(session.case.row.id)}
        session.case = replace(session.case, branches=branches)
        return session

    async def apply(self, session: CaseSession, happening: Happening, *, drives: bool = False) -> int:
        """Commit what follows from a happening outside. Returns the case's number.

        With `drives`, this engine runs the case next if it has a free place. Cancelling the caller does not stop the commit, because a case that
        was committed as running must be driven. Raises Refused if the happening does not fit the case, Conflict and StoreError.
        """

        async def commit(plan: Plan) -> int:
            assert plan.transition is not None
            number = await self._store.commit(plan.transition)
            if number == plan.case.row.id:
                self._commits.committed(session, plan)
            return number

        return await self._placed(session, happening, commit, drives=drives)

    async def deliver(self, post: Post, released: int | None) -> Posted | None:
        """Deliver a message that starts no case. Await it in a task of its own."""
        posted = await self._messages.post(post, released=released)
        self.scheduler.woken(self._ports.clock.now())
        return posted

    async def post(
        self, session: CaseSession, started: StartAsked, post: Post, released: int | None, *, full: bool
    ) -> Posted | None:  # fmt: skip
        """Deliver a message, or start a case with it if none is open, and run that case if there is a free place.

        Returns None if the message would start a case and the intake is `full`.
        """
        posted: list[Posted | None] = []

        async def commit(plan: Plan) -> int:
            assert plan.transition is not None
            posted.append(await self._messages.post(post, plan.transition, released=released, full=full))
            [one] = posted
            if one is None:
                return 0
            if not one.started:
                self.scheduler.woken(self._ports.clock.now())
                return 0
            self._commits.committed(session, plan)
            return plan.case.row.id

        await self._placed(session, started, commit, drives=True)
        return posted[0]

    async def started(self, process: AnyProcess, came: StartAsked) -> CaseSession:
        """Return a session for a case that is about to start."""
        case: Case = new_case(await self._numbers.next(), came.new, self._ports.clock.now(), self._store.incarnation)
        return CaseSession(program_of(process), case)

    async def _placed(self, session: CaseSession, happening: Happening, commit: Callable[[Plan], Awaitable[int]], *, drives: bool) -> int:
        """Reserve a place if there is one, ask the machine, commit, and drive the case if it runs. Returns its number after the commit.

        All this happens in one task, which outlives a cancelled caller.
        """
        committed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._begin(self._go_on(session, happening, commit, committed, drives=drives), case_name(session), committed)
        return await committed

    async def _go_on(
        self, session: CaseSession, happening: Happening, commit: Callable[[Plan], Awaitable[int]], committed: asyncio.Future[int], *,
        drives: bool,
    ) -> None:  # fmt: skip
        """Resolve `committed` when the commit has succeeded or failed, and drive the case afterwards."""
        task = asyncio.current_task()
        assert task is not None
        place = drives and self.scheduler.enter()
        runs = taken = False
        try:
            offer = Offer(place, partial(self._limits.shut, session.case.row.id))
            plan = session.advance(self._ports, happening, offer)
            if isinstance(plan, Refusal):
                if not committed.done():
                    committed.set_exception(Refused(plan.reason))
                return
            assert plan.transition is not None
            runs = plan.transition.status is Status.RUNNING
            number = await commit(plan)
            if runs and number == plan.case.row.id:
                self.scheduler.occupy(session, task)
                taken = True
        except asyncio.CancelledError:
            committed.cancel()
            raise
        except BaseException as error:
            if isinstance(error, StoreError):
                self.scheduler.look_again()  # the commit may have succeeded anyway and made its case ready
                if runs:
                    # The commit may have made the case running, and nobody would ever drive it.
                    self.scheduler.give_up(error)
            if not committed.done():
                committed.set_exception(error)
            if isinstance(error, Exception):
                return
            raise
        finally:
            if place and not taken:
                self.scheduler.leave()
            self._no_longer_underway(task)
        if not committed.done():  # the caller was not cancelled
            committed.set_result(number)
        if taken:
            await self.scheduler.drive(session, plan.commands)

    # Work that outlives its caller.

    async def apart(self, commit: Coroutine[Any, Any, T]) -> T:
        """Commit in a separate task, so that cancelling the caller does not lose what follows from the commit."""
        return await asyncio.shield(self._begin(commit))

    def detach(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run work in the background. The next engine does what this one leaves undone."""

        async def quietly() -> None:
            try:
                with suppress(EngineStopped):
                    await work()
            except StoreError as error:
                self.scheduler.give_up(error)

        self._begin(quietly())

    def _begin(
        self, work: Coroutine[Any, Any, T], name: str | None = None, committed: asyncio.Future[int] | None = None
    ) -> asyncio.Task[T]:
        task = asyncio.create_task(work, name=name)
        self._underway[task] = committed
        self._none_underway.clear()
        task.add_done_callback(self._ended)
        return task

    def _no_longer_underway(self, task: asyncio.Task[Any]) -> asyncio.Future[int] | None:
        committed = self._underway.pop(task, None)
        if not self._underway:
            self._none_underway.set()
        return committed

    @property
    def committing(self) -> bool:
        """Whether a caller's commit is under way."""
        return bool(self._underway)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        committed = self._no_longer_underway(task)
        if committed is not None:  # the task was cancelled before it began
            committed.cancel()
        if not task.cancelled() and isinstance(task.exception(), StoreError):
            self.scheduler.look_again()  # the commit may have succeeded anyway and made its case ready

    async def all_committed(self) -> None:
        """Wait until no caller's commit is under way."""
        while self._underway:
            await self._none_underway.wait()


def state_of(process: AnyProcess, cells: Mapping[str, Cell]) -> State:
    """Return the state made of these cells. Each cell was checked against the type of its field when it was read."""
    codec = codec_of(process.state)
    return cast("State", process.state.model_construct(**{name: codec.fresh(cells, name) for name in process.state.model_fields}))
