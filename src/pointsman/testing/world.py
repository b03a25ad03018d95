"""A simulated world for an author's process: virtual time, scripted people, and an engine that can be killed at any step.

    world = World(support, resources=lambda: {"shop": Shop()}, people={"approve": Approval(by="anna")})
    case = world.run(lambda: world.start(support, {"message": "hello"}))
    assert world.case(case).outcome == "sent"

Nothing waits in real time: when there is no work, time jumps to the next timer, so that a deadline of two days costs nothing.
Plain functions run in the caller's thread.
"""

import asyncio
import copy
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple, TypeVar

from pointsman.definition.durations import DAY_SECONDS, Duration, seconds_of
from pointsman.definition.effects import AnyEffect, Effect
from pointsman.definition.nodes import Context
from pointsman.definition.process import AnyProcess
from pointsman.errors import AnswerInvalid, Conflict, EngineStopped, Refused, StoreError
from pointsman.kernel.case import UNKNOWN
from pointsman.kernel.rows import CaseRow, EffectRow, EventRow, UsageRow
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.runtime.engine import Engine
from pointsman.runtime.threads import Call, Threads
from pointsman.store.memory import MemoryStore
from pointsman.testing.loop import Host, HostClock, SimulatedLoop

T = TypeVar("T")

PATIENCE_SECONDS = 60 * DAY_SECONDS  # of virtual time: longer than any usual ladder
STEPS_MAX = 200_000  # of a run: far more than a process needs, and soon enough to stop one that loops
LOOK_SECONDS = 1.0  # of virtual time, between two checks for pauses to answer
ASK_SECONDS = 0.001  # of virtual time, between two checks for the engine's reply
REBOOT_SECONDS = 1.0  # of virtual time, until a supervisor restarts the engine


class Later(NamedTuple):
    """A scripted answer that comes after a delay, in seconds."""

    seconds: float
    answer: object


def after(duration: Duration, answer: object) -> Later:
    """In `people`: give this answer when the pause has been open for `duration`."""
    return Later(seconds_of(duration), answer)


class World:
    """One store, one engine on it, and scripted people. The run is determined by `seed`.

    `resources` is a mapping, or a function that creates one for each engine. `people` maps the name of a pause to its answer, to
    a function from `Pending` to the answer, or to `after(...)`; other pauses get no answer. The engine is killed before its
    `crash_before`-th step (0: never) and started again.
    """

    def __init__(
        self, *processes: AnyProcess, resources: Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None = None,
        people: Mapping[str, Any] | None = None, seed: int = 0, crash_before: int = 0,
    ) -> None:  # fmt: skip
        self.steps = 0
        self.crashes = 0
        self.calls: Counter[str] = Counter()
        self._processes = processes
        self._resources = resources if callable(resources) else lambda: resources or {}
        self._people = people or {}
        self._chance = Random(seed)  # noqa: S311 - of all engines: one that is started again must not repeat the tokens of the last
        self._crash_before = crash_before
        self._loop = SimulatedLoop(Random(seed))  # type: ignore[abstract] # noqa: S311 - it decides an order, and nothing secret
        self._store = MemoryStore(incarnation=f"world-{seed}")
        self._engine: Engine | None = None
        self._returned: dict[str, object] = {}
        self._starts = 0
        self._failure: BaseException | None = None

    def run(self, story: Callable[[], Awaitable[T]], *, horizon_seconds: float = PATIENCE_SECONDS) -> T:
        """Run until `story` has ended and every case has ended, is parked, or waits for a person who is not scripted.

        Raises what `story` or the opening of the engine raises, and AssertionError if the run does not end. Call it once for each world.
        """
        self._loop.before = self._count_step
        with self._counted():
            main = self._loop.outside.spawn(self._live(story, horizon_seconds))
            try:
                self._boot()
                self._loop.run(STEPS_MAX)
                if self._failure is not None:
                    raise self._failure
                assert main.done(), f"it does not end: {self._standing()}"
                result: T = main.result()
                return result
            finally:
                self._loop.close()

    # Methods for the story.

    async def start(self, process: AnyProcess, inputs: Any, **settings: Any) -> int:
        """Start a case and return its number. Start it again under its key if the engine dies before it answers."""
        self._starts += 1
        settings.setdefault("key", f"world-{self._starts}")
        started = await self._insist(lambda engine: engine.start(process, inputs, **settings))
        return int(started.case)

    async def send(self, process: AnyProcess, message: object, *, key: str | None = None, **settings: Any) -> Any:
        """Send a message and return `Delivered`. Send it again under its key if the engine dies before it answers."""
        self._starts += 1
        key = key or f"world-{self._starts}"
        return await self._insist(lambda engine: engine.send(process, message, key=key, **settings))

    async def wait_until_resting(self) -> None:
        """Wait until no case can move by itself, even by a timer, and no scripted person has anything to answer."""
        while True:
            if await self._play_people():
                continue
            if self._rests():
                return
            await asyncio.sleep(self._pause_seconds())

    async def sleep(self, duration: Duration) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds_of(duration))

    # Methods to look at the world, at any time.

    def cases(self) -> list[CaseRow]:
        """All cases."""
        rows: list[CaseRow] = _at_once(self._store.cases())
        return rows

    def case(self, number: int) -> CaseRow:
        """One case."""
        return next(row for row in self.cases() if row.id == number)

    def state(self, number: int) -> dict[str, Any]:
        """The fields of a case, as JSON values."""
        return {field.field: json.loads(field.text) for field in _at_once(self._store.fields(number))}

    def events(self, number: int) -> list[EventRow]:
        """The events of a case."""
        events: list[EventRow] = _at_once(self._store.events(case=number, limit=1_000_000))
        return events

    def effects(self, number: int) -> list[EffectRow]:
        """The ledger's entries of a case."""
        entries: list[EffectRow] = _at_once(self._store.effects(number))
        return entries

    def usage(self, number: int) -> list[UsageRow]:
        """The usage of a case, per model."""
        rows: list[UsageRow] = _at_once(self._store.usage_of_case(number))
        return rows

    # The engine.

    def _boot(self) -> None:
        host = self._loop.host("engine")
        task = host.spawn(self._serve(host))

        def ended(task: "asyncio.Task[None]") -> None:
            if host.alive and not task.cancelled() and task.exception() is not None:
                self._failure = task.exception()
                self._loop.stop()

        task.add_done_callback(ended)

    async def _serve(self, host: Host) -> None:
        store = self._store.beside()
        store.recover(now=HostClock(self._loop, host).now())
        opening = Engine.open(
            "", self._processes, resources=self._resources(), store=_Suspending(store), clock=HostClock(self._loop, host), random=self._chance,
            threads=_Inline(1, HostClock(self._loop, host)),
        )  # fmt: skip
        async with opening as engine:
            self._engine = engine
            await engine.serve()

    def _count_step(self, host: Host) -> None:
        if host is self._loop.outside:
            return
        self.steps += 1
        if self.steps == self._crash_before:
            self.crashes += 1
            self._engine = None
            host.crash()
            self._loop.call_on(None, REBOOT_SECONDS, self._boot)

    async def _insist(self, ask: Callable[[Engine], Awaitable[T]]) -> T:
        """Repeat the call on each new engine until one returns. Raises what the call raises, except for the end of an engine."""
        while True:
            engine, host = self._engine, self._loop.hosts[-1]
            if engine is None:
                await asyncio.sleep(REBOOT_SECONDS)
                continue
            asking = host.spawn(_ask(engine, ask))
            while not asking.done() and host.alive:  # noqa: ASYNC110 - a host that has crashed sets no event
                await asyncio.sleep(ASK_SECONDS)
            if asking.done():
                try:
                    result: T = asking.result()
                    return result  # noqa: TRY300
                except (EngineStopped, StoreError):
                    await asyncio.sleep(REBOOT_SECONDS)

    # People.

    async def _live(self, story: Callable[[], Awaitable[T]], horizon_seconds: float) -> T:
        try:
            async with asyncio.timeout(horizon_seconds):
                result = await story()
                await self.wait_until_resting()
                return result
        except TimeoutError:
            raise AssertionError(f"after {horizon_seconds / DAY_SECONDS:.0f} days: {self._standing()}") from None
        finally:
            self._loop.stop()

    def _rests(self) -> bool:
        return all(row.status not in {Status.READY, Status.RUNNING} and row.wake_at is None for row in self.cases())

    def _pause_seconds(self) -> float:
        """Seconds until people look again: no later than the next timer, but seldom enough that a long wait takes few steps."""
        now = HostClock(self._loop, self._loop.outside).wall()
        due = [row.wake_at - now for row in self.cases() if row.wake_at is not None and row.status is Status.WAITING]
        busy = any(row.status in {Status.READY, Status.RUNNING} for row in self.cases())
        return LOOK_SECONDS if busy or not due else max(LOOK_SECONDS, min(due) + LOOK_SECONDS)

    async def _play_people(self) -> bool:
        """Answer each pause that can be answered. Return whether there was one."""
        played = False
        for row in self.cases():
            if row.status is Status.PARKED:
                played |= await self._find_out(row)
            if row.status is not Status.WAITING or row.step is None or row.step not in self._people:
                continue
            pending = await self._insist(lambda engine, case=row.id: _unless_refused(engine.pending(case)))  # type: ignore[misc]
            if pending is None:
                continue
            answer = self._people[row.step]
            answer = answer(pending) if callable(answer) and not isinstance(answer, type) else answer
            if isinstance(answer, Later):
                open_seconds = HostClock(self._loop, self._loop.outside).wall() - pending.since
                await asyncio.sleep(max(0.0, answer.seconds - open_seconds))
                answer = answer.answer
            resume = lambda engine, token=pending.token, answer=answer: _unless_refused(engine.resume(token, answer, by="somebody"))  # noqa: E731
            await self._insist(resume)
            played = True
        return played

    async def _find_out(self, row: CaseRow) -> bool:
        """Resolve effects in doubt as an operator would: find out whether the call returned."""
        for entry in self.effects(row.id):
            if entry.status not in UNKNOWN:
                continue
            key, happened = entry.key, entry.key in self._returned
            found = {"happened": happened, "outcome": self._returned.get(key), "by": "somebody", "why": "looked"}
            await self._insist(lambda engine, key=key, found=found: _unless_refused(engine.resolve(key, **found)))  # type: ignore[misc]
            return True
        return False

    def _standing(self) -> str:
        rows = [row for row in self.cases() if row.status not in ENDED]
        return "; ".join(f"case {row.id} is {row.status} at {row.step!r} ({row.reason or row.rule})" for row in rows) or "no case is open"

    # Counting.

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Wrap the effects' functions, so that the world knows which calls returned even if the engine was killed before it did."""
        effects = [step for process in self._processes for step in process.steps.values() if isinstance(step, Effect)]
        declared = [(effect.function, effect.signature) for effect in effects]
        for effect in effects:
            object.__setattr__(effect, "function", self._telling(effect))
            object.__setattr__(effect, "signature", replace(effect.signature, uses={**effect.signature.uses, "ctx": Context}))
        try:
            yield
        finally:
            for effect, (function, signature) in zip(effects, declared, strict=True):
                object.__setattr__(effect, "function", function)
                object.__setattr__(effect, "signature", signature)

    def _telling(self, effect: AnyEffect) -> Callable[..., Any]:
        function, asks = effect.function, "ctx" in effect.signature.uses

        def recorded(result: object, reads: tuple[object, ...], ctx: Context) -> object:
            self.calls[f"{effect.name}{reads!r}"] += 1
            self._returned[ctx.key] = result
            return result

        async def call_async(*reads: Any, ctx: Context, **uses: Any) -> Any:
            return recorded(await function(*reads, **uses, **({"ctx": ctx} if asks else {})), reads, ctx)

        def call(*reads: Any, ctx: Context, **uses: Any) -> Any:
            return recorded(function(*reads, **uses, **({"ctx": ctx} if asks else {})), reads, ctx)

        return call_async if effect.asynchronous else call


class _Suspending:
    """A store that suspends before and after each call, so that the engine can be killed there."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.incarnation, self.lease_seconds, self.clock_high_water = store.incarnation, store.lease_seconds, store.clock_high_water
        self.closing, self.notifications = store.closing, store.notifications

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def asked(*args: Any, **settings: Any) -> Any:
            await asyncio.sleep(0)
            result = await method(*args, **settings)
            await asyncio.sleep(0)
            return result

        return asked


class _Inline(Threads):
    """Run plain functions at once, in the caller's thread: a simulation has no threads."""

    def keep(self) -> Call:
        """Reserve a thread; there is always one."""
        call = Call(_nobody)
        call.begun.set_result(None)
        return call

    def give(self, call: Call, function: Callable[[], Any]) -> Call:  # noqa: ARG002 - there is no thread to run it in
        """Run the function here and now."""
        return self.submit(function)

    def submit(self, function: Callable[[], Any], counted: Callable[[], None] | None = None) -> Call:  # noqa: ARG002 - none waits
        """Run the function here and now."""
        call = Call(function)
        call.set_running_or_notify_cancel()
        try:
            call.set_result(function())
        except Exception as error:
            call.set_exception(error)
        return call


def _nobody() -> None:
    """The function of a reserved thread that is not needed."""


async def _ask(engine: Engine, ask: Callable[[Engine], Awaitable[T]]) -> T:
    return await ask(engine)


async def _unless_refused(call: Awaitable[T]) -> T | None:
    try:
        return await call
    except AnswerInvalid:  # the script is wrong, and would be wrong again
        raise
    except (Refused, Conflict):
        return None


def _at_once(work: Any) -> Any:
    """Run a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as ended:
        return copy.copy(ended.value)
    raise AssertionError("a call of the in-memory store was suspended")
