"""The engine: starts cases, takes answers, and drives everything that is due. Its methods are what a program calls."""

import asyncio
import random as chance
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, cast, overload

from pydantic import ValidationError

from pointsman.definition.checks import inputs_of
from pointsman.definition.process import AnyProcess, Process
from pointsman.definition.state import Blob, State
from pointsman.errors import EngineStopped, InputInvalid, ValueRefused
from pointsman.kernel.codec import check_text, codec_of, describe
from pointsman.kernel.evolve import advance
from pointsman.kernel.snapshot import AT_REST, Cell, Snapshot, Status
from pointsman.runtime.acceptance import Acceptance
from pointsman.runtime.answers import Answers, Pending
from pointsman.runtime.calls import Calls
from pointsman.runtime.cases import Cases, state_of
from pointsman.runtime.clock import Clock, StoreClock, SystemClock
from pointsman.runtime.commits import Commits, accepted_event
from pointsman.runtime.effects import Effects
from pointsman.runtime.hold import Hold, Outcome, row_of
from pointsman.runtime.lease import Lease
from pointsman.runtime.operating import Operating
from pointsman.runtime.ports import Ports
from pointsman.runtime.registry import Registry
from pointsman.runtime.resources import check_resources
from pointsman.runtime.runner import Runner
from pointsman.runtime.scheduler import Scheduler
from pointsman.runtime.schedules import Schedules
from pointsman.store.base import CaseRow, EventRow, NewCase, Points, Reader, Store, Transition, no_points
from pointsman.store.sqlite import open_sqlite

S = TypeVar("S", bound=State)

CONCURRENCY = 64  # cases in hand at once: enough to keep two cores and a slow model busy, few enough to hold in memory
THREADS = 16  # plain functions at once; they wait more than they work
GRACE_SECONDS = 10.0  # what a supervisor gives between SIGTERM and SIGKILL, usually


class Started(NamedTuple):
    """A start's answer: the case's number, and whether an earlier start with the same key had made it already."""

    case: int
    duplicate: bool


class Engine:
    """Runs processes on one store. Open it with `async with Engine.open(...)`."""

    def __init__(
        self,
        ports: Ports,
        registry: Registry,
        resources: Mapping[str, Any],
        concurrency: int,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._ports = ports
        self._store = ports.store
        commits = Commits(ports, self._committed)
        calls = Calls(ports, resources, threads)
        effects = Effects(ports, commits, calls)
        runner = Runner(ports, commits, calls, effects)
        self._scheduler = Scheduler(ports, commits, runner, registry, concurrency, self._fail, self._look_around)
        self._cases = Cases(ports.store, commits, effects, self._scheduler, registry)
        self._acceptance = Acceptance(ports, commits, registry)
        self._schedules = Schedules(ports, registry.newest, self._start_tick, self._fail)
        self._answers = Answers(self._cases)
        self._operating = Operating(self._cases, ports.clock, self._check_running)
        self._waiting: dict[int, list[asyncio.Future[CaseRow]]] = {}
        self._followers: set[asyncio.Event] = set()
        self._stoppers: set[asyncio.Event] = set()
        self._failure: Exception | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: str | Path,
        processes: Sequence[AnyProcess],
        *,
        resources: Mapping[str, Any] | None = None,
        concurrency: int = CONCURRENCY,
        threads: int = THREADS,
        grace_seconds: float = GRACE_SECONDS,
        clock: Clock | None = None,
        random: chance.Random | None = None,
        points: Points = no_points,
        store: Store | None = None,
    ) -> AsyncIterator[Self]:
        """Open the SQLite file at `path` (made where it is missing) and go on with every case that is due in it.

        Of several versions of one process, a start gets the highest, and a case its own or the lowest that accepts it; a
        case that none accepts is blocked. `resources` gives nodes and effects what they name after their `*`. At most
        `concurrency` cases are in hand and `threads` plain functions run at once. Leaving the block stops claiming, gives running steps `grace_seconds` to
        end, and gives the rest back. `clock`, `random`, `points` and `store` are the seams for tests. Raises StoreError
        where the file is not usable, DefinitionError where a resource is missing or does not fit.
        """
        registry = Registry(processes)
        check_resources(processes, resources or {})
        clock = clock or SystemClock()
        opened = store or await open_sqlite(path, now=clock.now(), points=points)
        if isinstance(clock, SystemClock):
            clock.not_before(opened.clock_high_water)
        if opened.lease_seconds is not None:
            clock = StoreClock(clock)
        lease = Lease(opened, clock)
        await lease.begin()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="pointsman-node")
        ports = Ports(opened, clock, random or chance.SystemRandom(), points, lease)
        engine = cls(ports, registry, resources or {}, concurrency, pool)
        try:
            await engine._acceptance.begin()
            engine._scheduler.begin()
            await engine._schedules.begin()
            yield engine
        finally:
            engine._fail(EngineStopped("the engine is closed; open it again."))
            try:
                await engine._schedules.stop()
                await engine._scheduler.stop(grace_seconds, engine._cases.all_committed)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                await opened.close()

    @property
    def reader(self) -> Reader:
        """The looking half of the store."""
        return self._store

    # Starting.

    async def start(self, process: Process[S] | str, state: S | Mapping[str, Any], *, key: str | None = None) -> Started:
        """Start a case with these inputs; the answer comes after the commit that holds it.

        `key` is the identity of what is started: the same key in the same process is the same case, whenever it comes
        again and whatever comes with it. Raises UnknownProcess, InputInvalid, ValueRefused, StoreError and EngineStopped.
        """
        self._check_running()
        registered = self._cases.process(process if isinstance(process, str) else process.name)
        check_text("key", key)
        cells = _input_cells(registered, state)
        known = await self._store.case_by_key(registered.name, key) if key is not None else None
        if known is not None:
            return Started(known.id, duplicate=True)
        accepted = accepted_event(registered, cells)
        hold = Hold(registered, Snapshot(self._store.reserve(), {}), 0, Status.READY)
        after = advance(registered, hold.snapshot, accepted)
        new = NewCase(registered.name, registered.version, key)
        number = await self._cases.go_on(hold, after, Outcome((accepted,)), new=new)
        return Started(number, duplicate=number != hold.snapshot.case)

    async def keep(self, content: bytes) -> Blob:
        """Store a large value and get the reference to put into a field; the same content is stored once."""
        self._check_running()
        return await self._store.keep(content, now=self._ports.clock.now())

    # Looking and waiting.

    async def case(self, case: int) -> CaseRow:
        """Where a case stands. Raises UnknownCase."""
        self._check_running()
        return await self._cases.row(case)

    @overload
    async def state(self, case: int) -> Any: ...
    @overload
    async def state(self, case: int, of: type[S]) -> S: ...

    async def state(self, case: int, of: type[State] = State) -> Any:
        """The state of a case, which is one `of` this type. Raises UnknownCase, NotAccepted, ValueRefused where it does not fit."""
        self._check_running()
        hold = await self._cases.read(await self._cases.row(case))
        state = state_of(hold.process, hold.snapshot.cells)
        if not isinstance(state, of):
            raise ValueRefused(f"case {case} is of process {hold.process.name!r}, whose state is no {of.__name__}.")
        return state

    async def settled(self, case: int) -> CaseRow:
        """Wait until the case waits for somebody, is parked, is blocked or has ended. Raises UnknownCase, EngineStopped."""
        self._check_running()
        waiter: asyncio.Future[CaseRow] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(case, []).append(waiter)
        try:
            row = None if self._scheduler.holds(case) else await self._cases.row(case)
            if row is None or row.status not in AT_REST:
                return await waiter
            return row
        finally:
            waiters = self._waiting.get(case, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._waiting.pop(case, None)

    async def idle(self, *, patience_seconds: float = float("inf")) -> None:
        """Wait until nothing is in hand and no case will become due by itself within `patience_seconds`.

        Raises EngineStopped.
        """
        await self._scheduler.idle(patience_seconds)
        self._check_running()

    async def serve(self) -> None:
        """Work until SIGTERM or SIGINT arrives, then return, so that the engine closes in order. Raises StoreError."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._stoppers.add(stop)
        try:
            await stop.wait()
            self._check_running()
        finally:
            self._stoppers.discard(stop)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def events(self, *, after: int = 0) -> AsyncIterator[EventRow]:
        """Every event from `after` on, and then each one as it is committed. A slow reader holds nobody up."""
        news = asyncio.Event()
        self._followers.add(news)
        try:
            while True:
                news.clear()
                self._check_running()
                rows = await self._store.events(after=after)
                for row in rows:
                    yield row
                    after = row.id
                if not rows:
                    await news.wait()
        finally:
            self._followers.discard(news)

    # Answering.

    async def pending(self, case: int) -> Pending:
        """What a case waits for now. Raises UnknownCase, NotWaiting."""
        self._check_running()
        return await self._answers.pending(case)

    async def resume(self, token: str, answer: object, *, by: str, edits: Mapping[str, object] | None = None) -> CaseRow:
        """Answer a pause: once, to what was shown, or not at all.

        `edits` rewrites shown fields that the pause lets the answer rewrite. Raises AnswerInvalid; AlreadyAnswered,
        Stale (with what is shown now) or NotWaiting where the answer came too early or too late; nothing is changed then.
        """
        self._check_running()
        return await self._answers.resume(token, answer, by=by, edits=edits or {})

    # Operating.

    async def cancel(self, case: int, *, by: str, why: str) -> CaseRow:
        """End a case from outside; a step that is running ends first, and what it did is kept. Raises Refused."""
        self._check_running()
        return await self._operating.cancel(case, by=by, why=why)

    async def redrive(self, case: int, *, by: str, why: str) -> CaseRow:
        """Put a parked case back into the line, with its attempts renewed. Raises Refused where it is not parked."""
        self._check_running()
        return await self._operating.redrive(case, by=by, why=why)

    async def resolve(self, key: str, *, happened: bool, by: str, why: str, outcome: object = None) -> CaseRow:
        """Say what became of an effect in doubt; the case goes on from there.

        If it `happened`, `outcome` is what the effect would have returned; if not, it is called again, also where the other
        side had rejected it. Raises Refused where the key is unknown, is recorded as done, or the outcome does not fit.
        """
        self._check_running()
        return await self._operating.resolve(key, happened=happened, by=by, why=why, outcome=outcome)

    # The inside.

    async def _start_tick(self, process: AnyProcess, inputs: Any, key: str) -> Started:
        return await self.start(process, inputs, key=key)

    def _committed(self, hold: Hold, transition: Transition) -> None:
        for news in self._followers:
            news.set()
        if transition.status is not Status.RUNNING:
            self._scheduler.let_go(transition.case)
        if transition.status is Status.READY and transition.wake_at is not None:
            self._scheduler.woken(transition.wake_at)
        elif transition.status in AT_REST and transition.case in self._waiting:
            self._tell(row_of(hold, transition))

    async def _look_around(self) -> None:
        """What other engines on the store did is news too: to whoever follows the events or waits for a case, or can go on with one."""
        for news in self._followers:
            news.set()
        for case in list(self._waiting):
            row = await self._store.case(case)
            if row is not None and row.status in AT_REST:
                self._tell(row)
        await self._acceptance.unblock()

    def _tell(self, row: CaseRow) -> None:
        for waiter in self._waiting.pop(row.id, ()):
            if not waiter.done():
                waiter.set_result(row)

    def _fail(self, error: Exception) -> None:
        """Stop working: what was committed stands, everything else is as if it had not been asked for."""
        if self._failure is not None:
            return
        self._failure = error
        self._scheduler.fail()
        for concerned in self._followers | self._stoppers:
            concerned.set()
        for waiter in [waiter for waiters in self._waiting.values() for waiter in waiters]:
            if not waiter.done():
                waiter.set_exception(error)
        self._waiting.clear()

    def _check_running(self) -> None:
        if self._failure is not None:
            raise self._failure


def _input_cells(process: AnyProcess, state: State | Mapping[str, Any]) -> dict[str, Cell]:
    """Check the inputs of a start and make the cells of them."""
    if not isinstance(cast("object", state), State | Mapping):
        raise InputInvalid(
            f"process {process.name!r} cannot start with a {type(state).__name__}; give it a {process.state.__name__}, or a mapping of its inputs."
        )
    given = dict(state)
    inputs = inputs_of(process.state)
    for name, value in given.items():
        if name in process.state.model_fields and name not in inputs and value is not None:
            told = f"process {process.name!r}: {name!r} is written by a step and cannot be given at the start; leave it out."
            raise InputInvalid(told)
    if not isinstance(state, process.state):
        try:
            state = process.state.model_validate(given)
        except ValidationError as error:
            raise InputInvalid(f"process {process.name!r} cannot start: {describe(error)}.") from None
    codec = codec_of(process.state)
    return {name: codec.encode(name, getattr(state, name), "") for name in process.state.model_fields if name in inputs}
