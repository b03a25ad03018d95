"""The engine: starts cases, takes answers, and drives everything that is due. Its methods are what a program calls."""

import asyncio
import random as chance
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, cast

from pydantic import ValidationError

from pointsman.definition.checks import inputs_of
from pointsman.definition.effects import Effect
from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess, Process
from pointsman.definition.state import Blob, State
from pointsman.errors import (
    AlreadyAnswered,
    AnswerInvalid,
    Conflict,
    EngineStopped,
    InputInvalid,
    NotWaiting,
    PointsmanError,
    Refused,
    Stale,
    UnknownCase,
    UnknownProcess,
    ValueRefused,
)
from pointsman.kernel.codec import adapter_of, codec_of, describe, digest_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import Advance, advance
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.snapshot import AT_REST, Cell, Snapshot, Status
from pointsman.runtime.calls import Calls
from pointsman.runtime.clock import Clock, SystemClock
from pointsman.runtime.commits import Commits
from pointsman.runtime.effects import Effects
from pointsman.runtime.hold import Hold, Outcome, encode, hold_of, outcome_text, runnable
from pointsman.runtime.ports import Ports
from pointsman.runtime.resources import check_resources
from pointsman.runtime.runner import Runner
from pointsman.runtime.scheduler import Scheduler
from pointsman.store.base import (
    BranchWrite,
    CaseRow,
    EventRow,
    NewCase,
    PauseRow,
    Points,
    Reader,
    Settlement,
    Store,
    Transition,
    no_points,
)
from pointsman.store.sqlite import open_sqlite

S = TypeVar("S", bound=State)

CONCURRENCY = 64  # cases in hand at once: enough to keep two cores and a slow model busy, few enough to hold in memory
THREADS = 16  # plain functions at once; they wait more than they work
GRACE_SECONDS = 10.0  # what a supervisor gives between SIGTERM and SIGKILL, usually


class Started(NamedTuple):
    """A start's answer: the case's number, and whether an earlier start with the same key had made it already."""

    case: int
    duplicate: bool


class Pending(NamedTuple):
    """What a case waits for: answer it with `Engine.resume(token, ...)`.

    `shown` is what the answer decides on, `beside` what is shown with it; `digest` is that of `shown`.
    """

    case: int
    pause: str
    token: str
    digest: str
    shown: Mapping[str, Any]
    beside: Mapping[str, Any]
    answer: type
    since: float


class Engine:
    """Runs processes on one store. Open it with `async with Engine.open(...)`."""

    def __init__(
        self,
        ports: Ports,
        processes: Mapping[str, AnyProcess],
        resources: Mapping[str, Any],
        concurrency: int,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._ports = ports
        self._store: Store = ports.store
        self._processes = processes
        self._commits = Commits(ports, self._committed)
        calls = Calls(ports, resources, threads)
        self._effects = Effects(ports, self._commits, calls)
        runner = Runner(ports, self._commits, calls, self._effects)
        self._scheduler = Scheduler(ports, self._commits, runner, processes, concurrency, self._fail)
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._news = asyncio.Event()
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

        `resources` gives nodes and effects what they name after their `*`. At most `concurrency` cases are in hand and
        `threads` plain functions run at once. Leaving the block stops claiming, gives running steps `grace_seconds` to
        end, and gives the rest back. `clock`, `random`, `points` and `store` are the seams for tests. Raises StoreError
        where the file is not usable, DefinitionError where a resource is missing or does not fit.
        """
        check_resources(processes, resources or {})
        clock = clock or SystemClock()
        opened = store or await open_sqlite(path, now=clock.now(), points=points)
        if isinstance(clock, SystemClock):
            clock.not_before(getattr(opened, "clock_high_water", 0.0))
        pool = ThreadPoolExecutor(threads, thread_name_prefix="pointsman-node")
        ports = Ports(opened, clock, random or chance.SystemRandom(), points)
        engine = cls(ports, {process.name: process for process in processes}, resources or {}, concurrency, pool)
        engine._scheduler.begin()
        try:
            yield engine
        finally:
            await engine._scheduler.stop(grace_seconds)
            pool.shutdown(wait=False, cancel_futures=True)
            await opened.close()
            engine._fail(EngineStopped("the engine is closed; open it again."))

    @property
    def reader(self) -> Reader:
        """The looking half of the store."""
        return self._store

    def process(self, name: str) -> AnyProcess:
        """A registered process. Raises UnknownProcess."""
        if name not in self._processes:
            known = ", ".join(sorted(self._processes)) or "none"
            raise UnknownProcess(
                f"process {name!r} is not registered with this engine, which has {known}; pass it to Engine.open."
            )
        return self._processes[name]

    # Starting.

    async def start(
        self, process: Process[S] | str, state: S | Mapping[str, Any], *, key: str | None = None
    ) -> Started:
        """Start a case with these inputs; the answer comes after the commit that holds it.

        `key` is the identity of what is started: the same key in the same process is the same case, whenever it comes
        again and whatever comes with it. Raises InputInvalid, ValueRefused and StoreError.
        """
        self._check_running()
        registered = self.process(process if isinstance(process, str) else process.name)
        cells = _input_cells(registered, state)
        known = await self._store.case_by_key(registered.name, key) if key is not None else None
        if known is not None:
            return Started(known.id, duplicate=True)
        accepted = Event(Kind.ACCEPTED, facts={"fields": list(cells)}, writes=cells)
        hold = Hold(registered, Snapshot(self._store.reserve(), {}), 0, Status.READY)
        after = advance(registered, hold.snapshot, accepted)
        # An effect's intent needs the ledger, which a claim consults; it does not begin in the start itself.
        going_on = self._scheduler.free > 0 and runnable(after.decision) and not isinstance(after.decision.step, Effect)
        new = NewCase(registered.name, registered.version, key)
        number = await self._commits.land(
            hold, after, Outcome((accepted,)), going_on=going_on, claims=going_on, new=new
        )
        if number != hold.snapshot.case:
            return Started(number, duplicate=True)
        if going_on:
            self._scheduler.take(hold, after.decision)
        return Started(number, duplicate=False)

    async def keep(self, content: bytes) -> Blob:
        """Store a large value and get the reference to put into a field; the same content is stored once."""
        self._check_running()
        return await self._store.keep(content, now=self._ports.clock.now())

    # Looking and waiting.

    async def case(self, case: int) -> CaseRow:
        """Where a case stands. Raises UnknownCase."""
        row = await self._store.case(case)
        if row is None:
            raise UnknownCase(f"there is no case {case}; list the cases with `pointsman ps`.")
        return row

    async def state(self, case: int) -> State:
        """The state of a case. Raises UnknownCase, ValueRefused where it does not fit the present code."""
        hold = await self._hold(await self.case(case))
        return state_of(hold.process, hold.snapshot.cells)

    async def settled(self, case: int) -> CaseRow:
        """Wait until the case waits for somebody, is parked or has ended. Raises UnknownCase, EngineStopped."""
        self._check_running()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(case, []).append(waiter)
        if not self._scheduler.holds(case):
            row = await self.case(case)
            if row.status in AT_REST:
                self._waiting.pop(case, None)
                return row
        await waiter
        return await self.case(case)

    async def idle(self) -> None:
        """Wait until nothing is in hand and no case will become due by itself. Raises EngineStopped."""
        await self._scheduler.idle()
        self._check_running()

    async def serve(self) -> None:
        """Work until SIGTERM or SIGINT arrives (or the store fails), then return, so that the engine closes in order."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            while not stop.is_set():
                await self._ports.clock.wait(stop, None)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def events(self, *, after: int = 0) -> AsyncIterator[EventRow]:
        """Every event from `after` on, and then each one as it is committed. A slow reader holds nobody up."""
        while True:
            self._news.clear()
            rows = await self._store.events(after=after)
            for row in rows:
                yield row
                after = row.id
            if not rows:
                self._check_running()
                await self._news.wait()

    # Answering.

    async def pending(self, case: int) -> Pending:
        """What a case waits for now. Raises UnknownCase, NotWaiting."""
        row = await self.case(case)
        pause = await self._store.pause(case)
        if row.status is not Status.WAITING or pause is None or pause.closed is not None:
            raise NotWaiting(f"case {case} is not waiting for an answer: {standing(row)}.")
        return self._pending(await self._hold(row), pause)

    async def resume(
        self, token: str, answer: object, *, by: str, edits: Mapping[str, object] | None = None
    ) -> CaseRow:
        """Answer a pause: once, to what was shown, or not at all.

        `edits` rewrites shown fields that the pause lets the answer rewrite. Raises AnswerInvalid; AlreadyAnswered,
        Stale (with what is shown now) or NotWaiting where the answer came too late; nothing is changed then.
        """
        self._check_running()
        while True:
            pause = await self._open_pause(token)
            hold = await self._hold(await self.case(pause.case))
            if hold.status is not Status.WAITING:
                continue  # the case moved between the two reads: look again
            declared = self._declared(hold, pause)
            if declared is None or digest_of(hold.snapshot.cells, declared.shows) != pause.digest:
                await self._show_afresh(hold)
                continue
            cells = _answer_cells(hold, declared, answer, edits or {})
            event = Event(Kind.RESUMED, declared.name, facts={"by": by, "fields": list(cells)}, writes=cells)
            with suppress(Conflict):
                return await self._go_on(
                    hold, advance(hold.process, hold.snapshot, event), Outcome((event,)), answered_by=by
                )

    # Operating.

    async def cancel(self, case: int, *, by: str, why: str) -> CaseRow:
        """End a case from outside; a step that is running ends first, and what it did is kept. Raises Refused."""
        self._check_running()
        event = Event(Kind.CANCELLED, facts={"by": by, "why": why})
        while (row := await self.case(case)).status not in {Status.DONE, Status.CANCELLED}:
            if self._scheduler.holds(case):
                self._scheduler.cancel(case, event)
                row = await self.settled(case)
            elif row.status is not Status.RUNNING:
                with suppress(Conflict):
                    await self._commits.stay(
                        self._bare(row),
                        Status.CANCELLED,
                        Outcome((event,)),
                        reason=why,
                        leaves_pause=row.status is Status.WAITING,
                    )
            else:
                await asyncio.sleep(0)
        if row.status is Status.DONE:
            raise Refused(f"case {case} was not cancelled: {standing(row)}.")
        return row

    async def redrive(self, case: int, *, by: str, why: str) -> CaseRow:
        """Put a parked case back into the line, with its attempts renewed. Raises Refused where it is not parked."""
        self._check_running()
        row = await self.case(case)
        if row.status is not Status.PARKED:
            raise Refused(f"case {case} is not parked: {standing(row)}.")
        hold = self._bare(row)
        hold.attempt = 0
        renewed = tuple(
            BranchWrite(b.name, 0, None, None) for b in await self._store.branches(case) if b.outcome is None
        )
        event = Event(Kind.REDRIVEN, facts={"by": by, "why": why})
        await self._commits.stay(
            hold, Status.READY, Outcome((event,), wake_at=self._ports.clock.now(), branches=renewed)
        )
        return await self.case(case)

    async def resolve(self, key: str, *, happened: bool, by: str, why: str, outcome: object = None) -> CaseRow:
        """Say what became of an effect in doubt; the case goes on from there.

        If it `happened`, `outcome` is what the effect would have returned. Raises Refused where the key is unknown, its
        outcome is recorded already, or the outcome does not fit.
        """
        self._check_running()
        entry = await self._store.effect(key)
        if entry is None:
            raise Refused(f"no effect has the key {key}; `pointsman show CASE` lists a case's keys.")
        row = await self.case(entry.case)
        if (entry.status is EffectStatus.DONE and entry.outcome is not None) or row.status not in {
            Status.PARKED,
            Status.READY,
        }:
            raise Refused(
                f"effect {entry.effect!r} of case {row.id} is {entry.status}, and the case is {standing(row)}; there is nothing to resolve."
            )
        hold = self._bare(row)
        text = _resolved_outcome(hold, entry.effect, outcome) if happened else None
        settlement = Settlement(key, EffectStatus.DONE if happened else EffectStatus.NOT_SENT, text, None)
        facts = {
            "key": key,
            "how": f"resolved: {'it happened' if happened else 'it did not happen'}",
            "fields": [],
            "by": by,
            "why": why,
        }
        hold.attempt = 0
        outcome_of = Outcome(
            (Event(Kind.EFFECT_SETTLED, entry.effect, 0, facts),),
            wake_at=self._ports.clock.now(),
            settlement=settlement,
        )
        await self._commits.stay(hold, Status.READY, outcome_of)
        return await self.case(row.id)

    # The inside.

    def _committed(self, transition: Transition) -> None:
        self._news.set()
        if transition.status is Status.READY and transition.wake_at is not None:
            self._scheduler.woken(transition.wake_at)
        elif transition.status in AT_REST and transition.case in self._waiting:
            for waiter in self._waiting.pop(transition.case):
                if not waiter.done():
                    waiter.set_result(None)

    def _fail(self, error: Exception) -> None:
        """Stop working: what was committed stands, everything else is as if it had not been asked for."""
        if self._failure is not None:
            return
        self._failure = error
        self._scheduler.fail()
        self._news.set()
        for waiter in [waiter for waiters in self._waiting.values() for waiter in waiters]:
            if not waiter.done():
                waiter.set_exception(error)
        self._waiting.clear()

    def _check_running(self) -> None:
        if isinstance(self._failure, PointsmanError):
            raise self._failure
        if self._failure is not None:
            raise EngineStopped(f"the engine has stopped: {self._failure}") from self._failure

    async def _hold(self, row: CaseRow) -> Hold:
        return hold_of(self.process(row.process), row, await self._store.fields(row.id))

    def _bare(self, row: CaseRow) -> Hold:
        """A hold for a transition that does not look at the fields."""
        return Hold(
            self.process(row.process),
            Snapshot(row.id, {}, row.revision, row.steps),
            row.fence,
            row.status,
            row.attempts,
            row.step,
            row.rule,
        )

    async def _go_on(self, hold: Hold, after: Advance, outcome: Outcome, *, answered_by: str | None = None) -> CaseRow:
        """Commit a transition that came from outside, and drive the case if there is room."""
        going_on = self._scheduler.free > 0 and runnable(after.decision)
        step = after.decision.step
        intent = (
            await self._effects.intend(hold, after.snapshot, step) if going_on and isinstance(step, Effect) else None
        )
        await self._commits.land(
            hold, after, outcome, going_on=going_on, claims=going_on, intent=intent, answered_by=answered_by
        )
        if going_on:
            self._scheduler.take(hold, after.decision)
        return await self.case(hold.snapshot.case)

    async def _open_pause(self, token: str) -> PauseRow:
        pause = await self._store.pause_by_token(token)
        if pause is None:
            raise NotWaiting("no pause has this token; look at the case again and answer with the token that it shows.")
        if pause.closed is None:
            return pause
        row = await self.case(pause.case)
        told = f"was answered by {pause.closed_by}" if pause.closed == "answered" else "has been rewritten"
        if row.status is Status.WAITING:
            message = f"what case {row.id} showed {told} since, and it shows something new; look at it again."
            raise Stale(message, current=await self.pending(row.id))
        if pause.closed == "answered":
            told = f"case {row.id} was already answered by {pause.closed_by}; nothing was changed."
            raise AlreadyAnswered(told, by=str(pause.closed_by))
        raise NotWaiting(f"case {row.id} is no longer waiting for an answer: {standing(row)}.")

    def _declared(self, hold: Hold, pause: PauseRow) -> Pause | None:
        declared = hold.process.steps.get(pause.name)
        return declared if isinstance(declared, Pause) else None

    async def _show_afresh(self, hold: Hold) -> None:
        """The code has changed what the pause shows, or that there is one: decide anew, so that nobody answers the old one."""
        after = advance(hold.process, hold.snapshot, None)
        with suppress(Conflict):
            await self._go_on(hold, after, Outcome(()))

    def _pending(self, hold: Hold, pause: PauseRow) -> Pending:
        declared = self._declared(hold, pause)
        if declared is None:
            raise NotWaiting(
                f"case {pause.case} waits at {pause.name!r}, which the process no longer has; redrive or cancel the case."
            )
        state = state_of(hold.process, hold.snapshot.cells)
        shown = {name: getattr(state, name) for name in declared.shows}
        beside = {name: getattr(state, name) for name in declared.beside}
        return Pending(
            pause.case, pause.name, pause.token, pause.digest, shown, beside, declared.answer, pause.opened_at
        )


def state_of(process: AnyProcess, cells: Mapping[str, Cell]) -> State:
    """The state that the cells make; it is not validated again."""
    return cast("State", process.state.model_construct(**{name: cell.value for name, cell in cells.items()}))


def standing(row: CaseRow) -> str:
    """Where a case stands, in words."""
    more = {
        Status.DONE: f" ({row.outcome})",
        Status.PARKED: f" ({row.reason})",
        Status.CANCELLED: f" ({row.reason})",
        Status.WAITING: f" at {row.step!r}",
    }
    return f"it is {row.status}{more.get(row.status, f', at step {row.step!r}')}"


def _input_cells(process: AnyProcess, state: State | Mapping[str, Any]) -> dict[str, Cell]:
    """Check the inputs of a start and make the cells of them."""
    given = dict(state)
    inputs = inputs_of(process.state)
    for name, value in given.items():
        if name in process.state.model_fields and name not in inputs and value is not None:
            raise InputInvalid(
                f"process {process.name!r}: {name!r} is written by a step and cannot be given at the start; leave it out."
            )
    if not isinstance(state, process.state):
        try:
            state = process.state.model_validate(given)
        except ValidationError as error:
            raise InputInvalid(f"process {process.name!r} cannot start: {describe(error)}.") from None
    codec = codec_of(process.state)
    return {name: codec.encode(name, getattr(state, name), "") for name in process.state.model_fields if name in inputs}


def _answer_cells(hold: Hold, pause: Pause, answer: object, edits: Mapping[str, object]) -> dict[str, Cell]:
    codec = codec_of(hold.process.state)
    not_editable = sorted(set(edits) - set(pause.edits))
    if not_editable:
        raise AnswerInvalid(
            f"pause {pause.name!r} does not let an answer rewrite {not_editable[0]!r}; it lets it rewrite {', '.join(pause.edits) or 'nothing'}."
        )
    try:
        checked = adapter_of(pause.answer).validate_python(answer)
        return {
            pause.writes[0]: codec.encode(pause.writes[0], checked, pause.name),
            **{n: codec.encode(n, v, pause.name) for n, v in edits.items()},
        }
    except ValidationError as error:
        raise AnswerInvalid(f"the answer is no {pause.answer.__name__}: {describe(error)}.") from None
    except ValueRefused as error:
        raise AnswerInvalid(f"the answer was refused: {error}") from None


def _resolved_outcome(hold: Hold, name: str, outcome: object) -> str:
    effect = hold.process.steps.get(name)
    if not isinstance(effect, Effect):
        raise Refused(
            f"effect {name!r} is no longer declared on process {hold.process.name!r}; register the code that has it."
        )
    try:
        return outcome_text(encode(hold, effect, effect.split(outcome)))
    except (ValueRefused, TypeError) as error:
        raise Refused(f"the outcome does not fit what {name!r} writes: {error}") from None
