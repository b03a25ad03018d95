"""The engine: it starts cases, takes answers and messages, and runs every case that is due. Programs call its methods."""

import asyncio
import random as chance
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar, overload

from pointsman.definition.nodes import Retry
from pointsman.definition.process import AnyProcess, Process
from pointsman.definition.state import Blob, State
from pointsman.errors import EngineStopped, LeaseLost, StoreAway, ValueRefused
from pointsman.kernel.answering import Pending
from pointsman.kernel.codec import check_name, check_text
from pointsman.kernel.happenings import Resolved
from pointsman.kernel.machine import Plan
from pointsman.kernel.rows import CaseRow, EventRow, MessageStatus, NewCase
from pointsman.kernel.snapshot import AT_REST, ENDED, Cell, Status
from pointsman.runtime.begun import Begun
from pointsman.runtime.calls import Calls
from pointsman.runtime.cases import Cases, state_of
from pointsman.runtime.clock import Clock, StoreClock, SystemClock
from pointsman.runtime.commits import Commits
from pointsman.runtime.decisions import Decisions
from pointsman.runtime.intake import Intakes
from pointsman.runtime.lease import Lease
from pointsman.runtime.limits import Limits
from pointsman.runtime.loading import Loader
from pointsman.runtime.operator_commands import OperatorCommands
from pointsman.runtime.persons import PersonErased, Persons
from pointsman.runtime.ports import Ports
from pointsman.runtime.recent import Recent
from pointsman.runtime.reconsidering import Reconsidering
from pointsman.runtime.registry import Registry
from pointsman.runtime.resources import check_resources, check_settings
from pointsman.runtime.retention import Retention, Vacuumed
from pointsman.runtime.runner import Runner
from pointsman.runtime.scheduler import Scheduler
from pointsman.runtime.schedules import Schedules
from pointsman.runtime.session import CaseSession, Rested
from pointsman.runtime.starts import Delivered, Started, Starts
from pointsman.runtime.subscribers import Subscriber, Subscription, check_subscribers, redeliver
from pointsman.runtime.tasks import TaskPage, task_page
from pointsman.runtime.threads import Threads
from pointsman.runtime.versions import VersionGate
from pointsman.runtime.watchdog import Watchdog
from pointsman.store import postgres
from pointsman.store.base import Failpoints, IntakePaused, Reader, Store, no_failpoints
from pointsman.store.checkpoints import CheckpointStore
from pointsman.store.query import CaseQuery, Order
from pointsman.store.sqlite import open_sqlite

S = TypeVar("S", bound=State)
T = TypeVar("T")

CONCURRENCY = 64  # cases that run at once: enough to keep two cores and a slow model busy, few enough to hold in memory
THREADS = 16  # plain functions that run at once; they wait more than they compute
IDLE_HORIZON_SECONDS = Retry().max_seconds  # the longest wait of a default retry policy
GRACE_SECONDS = 10.0  # the usual time that a supervisor leaves between SIGTERM and SIGKILL


class Engine:
    """Runs processes on one store. Open it with `async with Engine.open(...)`."""

    def __init__(self, ports: Ports, registry: Registry, resources: Mapping[str, Any], concurrency: int, threads: Threads) -> None:
        self._ports = ports
        self._store = ports.store
        self._processes = tuple(registry)
        self._threads = threads
        recent = Recent()
        commits = Commits(ports, recent, threads, self._committed, self._appended)
        loader = Loader(ports.store, recent)
        self._watchdog = Watchdog(ports.clock, registry)
        calls = Calls(ports, resources, threads, Begun(ports.store), self._watchdog)
        self._limits = Limits(ports, registry)
        runner = Runner(ports, commits, calls, self._limits, loader, self._start_child)
        self._scheduler = Scheduler(ports, loader, runner, registry, self._limits, concurrency, self._fail)
        self._limits.opens = self._scheduler.opens
        self._scheduler.rests = self._tell
        self._cases = Cases(ports, commits, loader, self._scheduler, self._limits, registry)
        self._versions = VersionGate(ports, self._cases, registry, runs=concurrency > 0)
        self._reconsidering = Reconsidering(ports, self._cases, self._versions, self._fail)
        self._intakes = Intakes(ports.store, ports.clock)
        self._starts = Starts(ports.store, self._cases, self._intakes, ports.clock)
        self._schedules = Schedules(ports, registry.newest, self._starts, self._fail)
        self._decisions = Decisions(ports.store, self._cases, ports.clock, self.wait_until_resting, runner.confirm)
        self._operators = OperatorCommands(ports, self._cases, self._check_running)
        self._persons = Persons(ports, self._processes, self._operators)
        self._retention = Retention(ports, registry.newest, self._appended, self._fail)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._waiting: dict[int, list[asyncio.Future[Rested]]] = {}
        self._followers: set[asyncio.Event] = set()
        self._subscriptions: tuple[Subscription, ...] = ()
        self._changes = 0
        self._stoppers: set[asyncio.Event] = set()
        self._failure: Exception | None = None
        accepts = [accept for process in registry.newest for accept in process.accepts_messages.values()]
        self._takes_messages = bool(accepts)
        self._releases = False
        self._holds_messages = any(accept.while_open == "hold" for accept in accepts)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: str | Path,
        processes: Sequence[AnyProcess],
        *,
        resources: Mapping[str, Any] | None = None,
        concurrency: int = CONCURRENCY,
        threads: int | Threads = THREADS,
        grace_seconds: float = GRACE_SECONDS,
        lease_seconds: float = postgres.LEASE_SECONDS,
        subscribers: Sequence[Subscriber] = (),
        clock: Clock | None = None,
        random: chance.Random | None = None,
        failpoints: Failpoints = no_failpoints,
        store: Store | None = None,
    ) -> AsyncIterator[Self]:
        """Open the SQLite file at `path`, creating it if it is missing, and run every case in it that is due.

        A `path` like `postgresql://user@host/database` names a PostgreSQL database, in which any number of engines share the cases. The extra
        `pointsman[postgres]` is needed, and the parameter `schema` of the URL names a schema other than `pointsman`.

        If several versions of a process are given, a start uses the highest. A case uses its own version, or else the lowest that accepts it;
        a case that no version accepts is blocked. `resources` maps the names after the `*` of nodes and effects to objects. At most
        `concurrency` cases and `threads` plain functions run at once. With a `concurrency` of 0 the engine needs no resources: it takes starts,
        answers, messages and commands, and leaves the cases, the schedules and the retention to other engines. When the block is left, the engine
        claims no more cases, waits up to `grace_seconds` for running steps, and gives the other cases back to the store. On PostgreSQL, the cases
        of an engine that has crashed wait at most `lease_seconds` (1 to 3,600) for another engine, and an engine that has not reached the database
        for two thirds of that time begins no effect; a file has no lease. Each of the `subscribers` gets every event in order, at least once.
        `clock`, `random`, `failpoints` and `store` let tests replace the outside world. Raises StoreError if the file cannot be used, and
        DefinitionError if a resource is missing or
        has another type, or a number is out of its range.
        """
        registry = Registry(processes)
        check_subscribers(subscribers)
        check_settings(concurrency, THREADS if isinstance(threads, Threads) else threads, grace_seconds, lease_seconds)
        if concurrency:
            check_resources(processes, resources or {})
        clock = clock or SystemClock()
        opened = store or await _open(path, clock, failpoints, lease_seconds)
        if isinstance(clock, SystemClock):
            clock.not_before(opened.clock_high_water)
        if opened.lease_seconds is not None:
            clock = StoreClock(clock)
        lease = Lease(opened, clock)
        try:
            await lease.begin()
        except BaseException:
            await opened.close()
            raise
        pool = Threads(threads, clock) if isinstance(threads, int) else threads
        ports = Ports(opened, clock, random or chance.SystemRandom(), failpoints, lease)
        engine = cls(ports, registry, resources or {}, concurrency, pool)
        try:
            await engine._limits.look()
            await engine._intakes.look()
            await engine._versions.begin()
            engine._scheduler.begin()
            lease.keep(engine._look_around, engine._notified, engine._fail)
            engine._release_held()
            engine._reconsidering.begin()
            if concurrency:
                await engine._schedules.begin()
                engine._retention.begin()
            await engine._subscribe(subscribers)
            yield engine
        finally:
            engine._fail(EngineStopped("the engine is closed; open it again."))
            opened.closing()
            try:
                await engine._close(grace_seconds)
            finally:
                engine._watchdog.close()
                pool.close()
                await opened.close()

    @property
    def reader(self) -> Reader:
        """The read-only part of the store. On a file, each read has its own connection and thread."""
        return self._store.reader

    @property
    def checkpoints(self) -> CheckpointStore:
        """The part of the store that keeps the checkpoints of LangGraph threads, for pointsman.integrations.langgraph."""
        return self._store.checkpoints

    @property
    def processes(self) -> Sequence[AnyProcess]:
        """The processes that the engine was opened with, every version."""
        return self._processes

    @property
    def clock(self) -> Clock:
        """The clock that the engine reads."""
        return self._ports.clock

    @property
    def shared(self) -> bool:
        """Whether other engines can have the store open, too."""
        return self._ports.lease.shared

    @property
    def abandoned_calls(self) -> int:
        """The number of plain functions that still run although their call timed out or their case was cancelled."""
        return self._threads.abandoned

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """How the subscribers fare that the engine was opened with."""
        return self._subscriptions

    @property
    def event_loop_stalls(self) -> int:
        """The number of times that an async function has blocked the event loop for 5 seconds. The log names each one in a warning."""
        return self._watchdog.blocked

    # For other threads.

    def begin(self, call: Callable[["Engine"], Coroutine[Any, Any, T]]) -> Future[T]:
        """Run a coroutine of the engine in the engine's event loop, called from any thread. Raises EngineStopped."""
        self._check_running()
        return asyncio.run_coroutine_threadsafe(call(self), self._loop)

    async def carry_out(self, call: Callable[["Engine"], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine of the engine in its event loop, and return its result in the caller's. Raises EngineStopped."""
        return await asyncio.wrap_future(self.begin(call))

    def run(self, call: Callable[["Engine"], Coroutine[Any, Any, T]]) -> T:
        """The same as `begin`, and wait for the result. Raises RuntimeError in the engine's event loop, which would wait for itself."""
        if threading.get_ident() == self._thread:
            raise RuntimeError("the engine was waited for in its own event loop; await it there, or make the function that calls it async")
        return self.begin(call).result()

    # Starting.

    async def start(
        self, process: Process[S] | str, state: S | Mapping[str, Any], *, key: str | None = None, correlation: str | None = None,
        tenant: str = "", priority: int = 0,
    ) -> Started:  # fmt: skip
        """Start a case with these inputs. Returns after the commit that stores it.

        A second start with the same `key`, process and `tenant` returns the existing case, whatever its inputs. While the case is open, it
        receives the tenant's messages with its `correlation` key. Cases with a higher `priority` run first; within one priority the tenants take
        turns. Raises Busy if the intake is full (a known key is a duplicate even then), UnknownProcess, InputInvalid, ValueRefused, StoreError
        and EngineStopped.
        """
        self._check_running()
        registered = self._cases.process(process if isinstance(process, str) else process.name)
        new = NewCase(registered.name, registered.version, key, tenant, priority, correlation)
        return await self._starts.start(registered, new, state, bounded=True)

    async def send(
        self, process: AnyProcess | str, message: object, *, name: str | None = None, key: str | None = None, tenant: str = "", priority: int = 0
    ) -> Delivered:  # fmt: skip
        """Deliver a message to its tenant's open case with its correlation key, or start a case with it. Returns after the commit that stores it.

        `name` says which message of the process it is; it is needed only if the type does not tell. `key` identifies the message and replaces the
        key that `accept` computes. Each `tenant` has its own keys and correlation keys. Raises Busy if the message would start a case and the
        intake is full, UnknownProcess, InputInvalid, ValueRefused, StoreError and EngineStopped.
        """
        self._check_running()
        registered = process if isinstance(process, str) else process.name
        return await self._starts.send(registered, message, name=name, key=key, tenant=tenant, priority=priority)

    def new_key(self) -> str:
        """Return a random key that nothing else has (128 bits)."""
        return f"{self._ports.random.getrandbits(128):032x}"

    async def store_blob(self, content: bytes) -> Blob:
        """Store a large value and return the reference to put into a field. The same content is stored once."""
        self._check_running()
        return await self._store.keep(content, now=self._ports.clock.now())

    # Looking and waiting.

    async def case(self, case: int) -> CaseRow:
        """Return the row of a case: its status, step and times. Raises UnknownCase."""
        self._check_running()
        return await self._cases.row(case)

    @overload
    async def state(self, case: int) -> Any: ...
    @overload
    async def state(self, case: int, of: type[S]) -> S: ...

    async def state(self, case: int, of: type[State] = State) -> Any:
        """Return the state of a case, as an object `of` this type.

        Raises UnknownCase, VersionNotAccepted, and ValueRefused if the state has another type, a stored value does not fit its field, or a
        required input is missing.
        """
        self._check_running()
        session = await self._cases.read(await self._cases.row(case))
        state = state_of(session.process, session.case.snapshot.cells)
        if not isinstance(state, of):
            raise ValueRefused(f"case {case} is of process {session.process.name!r}, whose state is not a {of.__name__}.")
        return state

    async def wait_until_resting(self, case: int) -> CaseRow:
        """Wait until the case is waiting, parked, blocked or has ended. Raises UnknownCase, EngineStopped."""
        return (await self.rested(case)).row

    async def rested(self, case: int) -> "Rested":
        """The same, with the fields of the case if this engine has moved it there meanwhile."""
        self._check_running()
        waiter: asyncio.Future[Rested] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(case, []).append(waiter)
        try:
            row = None if self._scheduler.holds(case) else await self._cases.row(case)
            if row is None or row.status not in AT_REST:
                return await waiter
            return Rested(row)
        finally:
            waiters = self._waiting.get(case, [])
            if waiter in waiters:
                waiters.remove(waiter)
            if not waiters:
                self._waiting.pop(case, None)
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # the engine may have failed while the row was read: the caller gets the error of that read

    async def idle(self, *, horizon_seconds: float = IDLE_HORIZON_SECONDS) -> None:
        """Wait until no case is running and no timer fires within `horizon_seconds`.

        The default waits for retries, but not for a deadline in two days. `math.inf` waits for every timer. Raises EngineStopped.
        """
        await self._scheduler.idle(horizon_seconds)
        while self._cases.committing:
            await self._cases.all_committed()
            await self._scheduler.idle(horizon_seconds)
        self._check_running()

    async def serve(self, stop: asyncio.Event | None = None) -> None:
        """Run until `stop` is set, or until SIGTERM or SIGINT arrives if there is no `stop`. Raises StoreError, EngineStopped."""
        loop, signals = asyncio.get_running_loop(), () if stop is not None else (signal.SIGTERM, signal.SIGINT)
        stop = stop or asyncio.Event()
        for number in signals:
            loop.add_signal_handler(number, stop.set)
        self._stoppers.add(stop)
        try:
            await stop.wait()
            self._check_running()
        finally:
            self._stoppers.discard(stop)
            for number in signals:
                loop.remove_signal_handler(number)

    async def events(self, *, after: str = "") -> AsyncGenerator[EventRow, None]:
        """Yield every event after the cursor `after`, then each new event when it is committed. A slow reader delays nobody.

        Without `after`, begins with the first event. Raises ValueRefused for an invalid cursor, StoreError and EngineStopped.
        """
        changed = asyncio.Event()
        self._followers.add(changed)
        try:
            while True:
                changed.clear()
                self._check_running()
                rows = await self._store.reader.events(after=after)
                for row in rows:
                    yield row
                    after = row.cursor
                if not rows:
                    await changed.wait()
        finally:
            self._followers.discard(changed)

    async def check_ready(self) -> None:
        """Return if the engine runs, holds its lease, and can read its store. Raises StoreError, EngineStopped."""
        self._check_running()
        if not self._ports.lease.held():
            raise StoreAway("the lease of this engine was not renewed in time; it begins nothing until the database confirms it again.")
        await self._store.counts()

    @property
    def changed(self) -> int:
        """How often something was committed since the engine was opened."""
        return self._changes

    async def changes(self, *, since: int | None = None) -> AsyncGenerator[None, None]:
        """Yield after each commit, without reading it. Commits that come while the caller is busy are one. Raises EngineStopped.

        `since` is what `changed` was when the caller looked last; if it is another number by now, the first yield comes at once.
        """
        changed = asyncio.Event()
        if since is not None and since != self._changes:
            changed.set()
        self._followers.add(changed)
        try:
            while True:
                await changed.wait()
                changed.clear()
                self._check_running()
                yield
        finally:
            self._followers.discard(changed)

    # Answering.

    async def pending(self, case: int) -> Pending:
        """Return the pause at which a case waits, with the fields that it shows. Raises UnknownCase, NotWaiting."""
        self._check_running()
        return await self._decisions.pending(case)

    async def tasks(
        self, *, process: str | None = None, pause: str | None = None, assignee: str | None = None, tenant: str | None = None,
        after: str = "", limit: int = 100,
    ) -> TaskPage:  # fmt: skip
        """Return a page of the work list: up to `limit` pauses that wait for an answer, the one that has waited longest first.

        `assignee=""` finds those that nobody is assigned to. `after` is the cursor of the page before. Raises ValueRefused for a cursor of
        something else, and StoreError.
        """
        self._check_running()
        asked = CaseQuery(process=process, pause=pause, assignee=assignee, tenant=tenant, tasks_only=True, order=Order.WAITING)
        return task_page(await self._store.reader.find(asked, after=after, limit=limit))

    async def resume(self, token: str, answer: object, *, by: str, edits: Mapping[str, object] | None = None) -> CaseRow:
        """Answer the pause that `token` identifies. A pause takes one answer, and only while it shows what the answer refers to.

        `edits` gives new values to shown fields that the pause lets an answer rewrite. Raises AnswerInvalid, AlreadyAnswered, Stale (with what
        is shown now) and NotWaiting; an answer that is refused changes nothing.
        """
        self._check_running()
        return await self._decisions.resume(token, answer, by=by, edits=edits or {})

    async def assign(self, case: int, to: str, *, by: str, note: str = "") -> CaseRow:
        """Ask somebody else to answer the pause at which a case waits: `to`, or nobody in particular if that is "".

        What is shown, the token and the ladder stay as they are, so an answer that somebody has begun is still taken. The events keep who assigned
        it and the `note`. Raises UnknownCase, and NotWaiting if the case waits for nobody.
        """
        self._check_running()
        return await self._decisions.assign(case, to, by=by, note=note)

    # Operating.

    async def cancel(self, case: int, *, by: str, why: str) -> CaseRow:
        """Cancel a case. A running step ends first, and its result is kept. Raises UnknownCase, and Refused if the case is done."""
        self._check_running()
        return await self._operators.cancel(case, by=by, why=why)

    async def redrive(self, case: int, *, by: str, why: str, fields: Mapping[str, object] | None = None) -> CaseRow:
        """Return a parked case to the backlog with new attempts.

        `fields` corrects its state first: fields computed from the corrected ones are cleared and computed again, and what people answered when
        they were shown them is asked again. None withdraws an answer. In the case of an entrypoint, an answer has the name of its pause or of its
        call. A case that waits can be corrected, too. Raises Refused if the case is not parked, and does not wait or nothing is corrected, if a
        value does not fit, or if a field is what a person answers at a pause.
        """
        self._check_running()
        return await self._operators.redrive(case, by=by, why=why, fields=fields or {})

    async def redrive_all(
        self, *, by: str, why: str, fields: Mapping[str, object] | None = None, process: str | None = None, reason: str = ""
    ) -> list[CaseRow]:
        """Redrive every parked case whose reason contains `reason`, of one `process` or of all. Returns the cases."""
        self._check_running()
        return await self._operators.redrive_all(by=by, why=why, fields=fields or {}, process=process, reason=reason)

    async def resolve(
        self, key: str, *, happened: bool, by: str, why: str, outcome: object = None, expected_attempts: int | None = None
    ) -> CaseRow:
        """Record whether an effect in doubt happened; the case continues from there.

        If it `happened`, `outcome` is the value that the effect would have returned. If not, the effect is called again, even if the other side
        had rejected it. `expected_attempts` is the number of calls (`attempts` in the ledger) at the time when you checked; after another call,
        the resolution is refused. Raises Refused for that, and if the key is unknown, the effect is recorded as done, or the outcome does not fit.
        """
        self._check_running()
        return await self._operators.resolve(Resolved(key, happened, by, why, outcome, expected_attempts))

    async def erase(self, case: int, *, by: str, why: str) -> CaseRow:
        """Delete the content of a case from its state, events, ledger and messages. Steps, names and times stay.

        Its start key and its messages' keys are kept as digests, so that a repeated delivery is still a duplicate. A parked or blocked case is
        cancelled first. Raises UnknownCase, and Refused if the case is still open, has an effect in doubt, or has a parent that is still open.
        """
        self._check_running()
        return await self._operators.erase(case, by=by, why=why)

    async def erase_person(self, person: str, *, by: str, why: str, dry_run: bool = False) -> PersonErased:
        """Erase each case of this engine's processes that a searchable field finds by exactly this value, such as a mail address.

        Each case is erased as by `erase`, in a commit of its own; one that cannot be erased now is reported with the reason. Blobs that nothing
        refers to any more, and that are older than a day, are deleted, too. To repeat it is safe. A `dry_run` only says what it would do.
        Raises ValueRefused for a value that finds nothing.
        """
        self._check_running()
        return await self._persons.erase(person, by=by, why=why, dry_run=dry_run)

    async def pause_intake(self, *, by: str, why: str) -> None:
        """Refuse starts until `resume_intake`, also after a restart. Returns after the commit. Raises ValueRefused, StoreError.

        A start, and a message that would start a case, raise Busy, which says who paused the intake and why. Messages to open cases, known keys,
        children and scheduled cases are still taken. If the intake is paused already, the later pause replaces the earlier one.
        """
        self._check_running()
        check_name("by", by)
        check_text("why", why)
        await self._intakes.pause(IntakePaused(by, why, self._ports.clock.now()))

    async def resume_intake(self) -> None:
        """Take starts again. Does nothing if the intake is not paused. Raises StoreError."""
        self._check_running()
        await self._intakes.pause(None)

    async def redeliver(self, subscriber: str, *, forget: bool = False) -> int:
        """Call a subscriber again with what it has given up; `forget` that instead. Returns the number of messages. Raises Refused, StoreError.

        The engine that calls the subscriber does so when it has no newer events for it.
        """
        self._check_running()
        number = await redeliver(self._store, subscriber, forget=forget)
        self._appended()
        return number

    async def vacuum(self) -> Vacuumed:
        """Delete at once every case whose retention has passed, and compact the file. Raises StoreError.

        It works in small batches, and other writes come in between.
        """
        self._check_running()
        return await self._retention.vacuum()

    async def _start_child(self, parent: CaseSession, process: str, inputs: Mapping[str, Any], key: str) -> int:
        return await self._starts.child(parent, process, inputs, key)

    def _release_held(self) -> None:
        """Deliver, in the background, the held messages whose cases have ended. Cases that end together are one look."""
        if self._takes_messages and self._failure is None and not self._releases:
            self._releases = True
            self._cases.detach(self._released)

    async def _released(self) -> None:
        self._releases = False  # what ends from here on may be missed by this look
        await self._starts.release_held()

    async def _close(self, grace_seconds: float) -> None:
        """Stop what runs: the schedules first, the subscribers last, so that they hear of every commit."""
        await self._reconsidering.stop()
        await self._schedules.stop()
        await self._retention.stop()
        if isinstance(self._failure, LeaseLost):  # then no step's result could be committed
            grace_seconds = 0.0
        await self._scheduler.stop(grace_seconds, self._cases.all_committed)
        await asyncio.gather(*(one.stop(grace_seconds) for one in self._subscriptions))
        await self._ports.lease.stop()
        await self._limits.close()

    async def _subscribe(self, subscribers: Sequence[Subscriber]) -> None:
        tells = not any(process.private for process in self._processes)
        self._subscriptions = tuple(Subscription(self._ports, one, self._check_running, tells_errors=tells) for one in subscribers)
        self._followers.update(one.changed for one in self._subscriptions)
        for one in self._subscriptions:
            await one.begin()

    def _appended(self) -> None:
        self._changes += 1
        for changed in self._followers:
            changed.set()

    def _committed(self, session: CaseSession, plan: Plan) -> None:
        transition = plan.transition
        assert transition is not None
        self._changes += 1
        for changed in self._followers:
            changed.set()
        if transition.posts:
            self._scheduler.woken(transition.at)
        self._limits.moved(transition.case, session.process.steps.get(transition.step or ""))
        if transition.status is Status.RUNNING:
            return
        if transition.status in ENDED and (self._holds_messages or any(status is MessageStatus.HELD for _, status in transition.takes)):
            self._release_held()
        self._scheduler.let_go(transition.case)
        if transition.wake_at is not None:
            self._queued(transition.needs, transition.wake_at)
        if transition.status in AT_REST and transition.case in self._waiting:
            self._tell(plan.case.row, plan.case.snapshot.cells if plan.case.whole else None)

    def _queued(self, needs: str | None, wake_at: float) -> None:
        """Wake the scheduler when a case in the backlog can be claimed: at its time, or when its limit has room."""
        now = self._ports.clock.now()
        if needs is None or wake_at > now or self._limits.joined(needs):
            self._scheduler.woken(wake_at)
        elif (opens_at := self._limits.opens_at()) is not None:
            self._scheduler.woken(opens_at)

    async def _notified(self) -> None:
        """Find what another engine has just committed: cases that are due or resting, events, permits given back."""
        await self._scheduler.look_around()
        self._appended()
        elsewhere = [case for case in self._waiting if not self._scheduler.holds(case)]
        for row in await self._store.cases_of(elsewhere) if elsewhere else ():
            if row.status in AT_REST:
                self._tell(row)
        await self._limits.look()
        await self._intakes.look()

    async def _look_around(self) -> None:
        """Find what other engines have done without a notification. Runs at each renewal of the lease."""
        await self._notified()
        self._release_held()  # an engine may have died after the end of a case, before it delivered the held messages
        await self._versions.look()

    def _tell(self, row: CaseRow, cells: Mapping[str, Cell] | None = None) -> None:
        for waiter in self._waiting.pop(row.id, ()):
            if not waiter.done():
                waiter.set_result(Rested(row, cells))

    def _fail(self, error: Exception) -> None:
        """Stop the engine. What was committed stays; every call that waits gets the error."""
        if self._failure is not None:
            return
        self._failure = error
        self._scheduler.fail()
        for waiting in self._followers | self._stoppers:
            waiting.set()
        for waiter in [waiter for waiters in self._waiting.values() for waiter in waiters]:
            if not waiter.done():
                waiter.set_exception(error)
        self._waiting.clear()

    def _check_running(self) -> None:
        if self._failure is not None:
            raise self._failure


async def _open(path: str | Path, clock: Clock, failpoints: Failpoints, lease_seconds: float) -> Store:
    if isinstance(path, str) and postgres.is_url(path):
        return await postgres.open_url(path, failpoints=failpoints, lease_seconds=lease_seconds)
    return await open_sqlite(path, now=clock.now(), failpoints=failpoints)
