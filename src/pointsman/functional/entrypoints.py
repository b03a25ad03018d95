"""Entrypoints: bodies that are invoked by the id of a thread, and that wait, crash and go on like any case."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from pointsman.definition.children import Child
from pointsman.definition.process import AnyProcess
from pointsman.errors import DefinitionError, NotWaiting, PointsmanError
from pointsman.functional.asking import BUILT_IN, previous
from pointsman.functional.body import Call, Wanted, current_body, digest_of_arguments
from pointsman.functional.checkpointer import Checkpointer
from pointsman.functional.gathering import GATHER
from pointsman.functional.process import SLEEP, EntrypointProcess, Final, plain, tasks_of
from pointsman.functional.program import BodyProgram
from pointsman.functional.record import RESULT, RecordEntry, Returned, Thread
from pointsman.functional.tasks import Task, TaskGroup
from pointsman.kernel.answering import Pending
from pointsman.kernel.program import add_front
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import AT_REST, ENDED, Status
from pointsman.runtime.blocking import BlockingEngine
from pointsman.runtime.engine import Engine
from pointsman.runtime.session import Rested
from pointsman.store.query import CaseQuery

G = TypeVar("G")
R = TypeVar("R")

NOBODY = "the caller"
"""Who answers a pause if `Command` does not say."""

add_front(EntrypointProcess, BodyProgram)


class ThreadParked(PointsmanError):
    """An invocation cannot go on without an operator. `case` is its number: correct the cause, and redrive it."""

    def __init__(self, row: CaseRow) -> None:
        super().__init__(f"case {row.id} is {row.status}: {row.reason}")
        self.case = row.id
        self.reason = row.reason


class ThreadBusy(PointsmanError):
    """An earlier invocation of the thread waits, so this one is held. It is not lost: it begins when the earlier one, `case`, has ended."""

    def __init__(self, thread: str, row: CaseRow) -> None:
        super().__init__(
            f"thread {thread!r} is busy: case {row.id} is {row.status}. This invocation is held, and begins when that one has ended."
        )
        self.case = row.id


class ThreadCancelled(PointsmanError):
    """The invocation was cancelled."""

    def __init__(self, row: CaseRow) -> None:
        super().__init__(f"case {row.id} was cancelled: {row.reason}")
        self.case = row.id


@dataclass(frozen=True, slots=True)
class Command:
    """The answer to the open pause of a thread: `invoke(Command(resume=answer), thread=...)`.

    `by` is who answers. With `digest`, the answer counts only for what the person was shown (`Paused.digest`).
    """

    resume: Any
    by: str = NOBODY
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Paused:
    """What `invoke` returns when the body waits for a person: what is `shown`, under the `name` of the pause.

    `case` is the case's number, and `token` and `digest` are those of the pause, as in `Pending`.
    """

    shown: Any
    name: str
    case: int
    token: str
    digest: str

    @property
    def value(self) -> Any:
        """What is shown, by LangGraph's name."""
        return self.shown


@dataclass(eq=False)
class Entrypoint(Generic[G, R]):
    """A body that can be invoked. `process` is its process, for `Engine.open`, `pointsman serve` and the other commands."""

    process: EntrypointProcess
    checkpointer: Checkpointer | None

    @property
    def name(self) -> str:
        """The name of its process."""
        return self.process.name

    def __call__(self, given: G = None) -> Call[R]:  # type: ignore[assignment]
        """In a body: ask for an invocation as a case of its own, and return its future. Raises RuntimeError outside a body."""
        body = current_body()
        if body is None:
            raise RuntimeError(f"entrypoint {self.name!r} was called outside a body; use invoke().")
        if self.name not in body.steps:
            raise DefinitionError(f"entrypoint {self.name!r} is not known to the entrypoint that calls it; name it in tasks=.")
        process = self.process
        arguments = plain(process.takes, given, f"the input of entrypoint {self.name!r}")
        call: Call[R] = body.ask(Wanted(self.name, "child", process.returns, arguments, digest_of_arguments(arguments)))
        return call

    def invoke(
        self, given: G | Command = None, config: Mapping[str, Any] | None = None, *, thread: str | None = None, key: str | None = None,  # type: ignore[assignment]
        timeout: float | None = None,
    ) -> R | Paused:  # fmt: skip
        """Run the body with this input, or answer its open pause with a `Command`; return its result, or `Paused`.

        `thread` is the id of the thread, or `config` has it as LangGraph does (`{"configurable": {"thread_id": ...}}`); without one, the invocation has a
        thread of its own. The second invocation with the same `key` returns the result of the first. After `timeout` seconds TimeoutError is raised, and
        the case goes on. Raises ThreadParked, ThreadBusy, ThreadCancelled, NotWaiting, ValueRefused, and what `Engine.send` and `Engine.resume` raise.
        """
        future: Future[R | Paused] = self._engine().begin(self._invoked(given, thread_of(config, thread), key))
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    async def ainvoke(
        self, given: G | Command = None, config: Mapping[str, Any] | None = None, *, thread: str | None = None, key: str | None = None,  # type: ignore[assignment]
    ) -> R | Paused:  # fmt: skip
        """As `invoke`, without blocking the caller's event loop."""
        return await self._engine().carry_out(self._invoked(given, thread_of(config, thread), key))

    def stream(
        self, given: G | Command = None, config: Mapping[str, Any] | None = None, *, thread: str | None = None, key: str | None = None,  # type: ignore[assignment]
    ) -> Iterator[dict[str, Any]]:  # fmt: skip
        """As `invoke`, but yield `{task: result}` when a call is recorded, and at the end `{entrypoint: result}` or `{"__interrupt__": paused}`."""
        engine = self._engine()
        updates: AsyncIterator[dict[str, Any]] | None = None

        async def following(engine: Engine) -> dict[str, Any] | None:
            nonlocal updates
            if updates is None:
                updates = self._updates(engine, given, thread_of(config, thread), key)
            return await anext(updates, None)

        while (update := engine.run(following)) is not None:
            yield update

    async def astream(
        self, given: G | Command = None, config: Mapping[str, Any] | None = None, *, thread: str | None = None, key: str | None = None,  # type: ignore[assignment]
    ) -> AsyncIterator[dict[str, Any]]:  # fmt: skip
        """As `stream`, without blocking the caller's event loop."""
        updates = self.stream(given, config, thread=thread, key=key)
        while (update := await asyncio.to_thread(next, updates, None)) is not None:
            yield update

    def _engine(self) -> BlockingEngine:
        if current_body() is not None:
            raise RuntimeError(f"entrypoint {self.name!r} was invoked in a body; call {self.name}(...).result() there.")
        if self.checkpointer is None:
            raise DefinitionError(f"entrypoint {self.name!r} has no checkpointer; give it one, or open an engine with its process.")
        return self.checkpointer.engine

    def _invoked(self, given: Any, thread: str | None, key: str | None) -> Callable[[Engine], Coroutine[Any, Any, R | Paused]]:
        async def call(engine: Engine) -> R | Paused:
            case = await begin(engine, self.process, given, thread, key)
            end: R | Paused = await outcome(engine, self.process, case)
            return end

        return call

    async def _updates(self, engine: Engine, given: Any, thread: str | None, key: str | None) -> AsyncIterator[dict[str, Any]]:
        changed, seen = engine.changed, 0
        if isinstance(given, Command):
            open_case = await open_case_of(engine, self.process, thread)
            seen = len(recorded(await engine.state(open_case.id, Thread)))
        case = await begin(engine, self.process, given, thread, key)
        changes = engine.changes(since=changed)
        async for _ in changes:
            row = await engine.case(case)
            state = await engine.state(case, Thread)
            entries = recorded(state)
            for entry in entries[seen:]:
                name, result = entry["call"].partition("[")[0], result_of(state, entry)
                if result is not None and name not in NOT_STREAMED:
                    yield {name: result.value}
            seen = len(entries)
            if row.status in AT_REST and not goes_on(self.process, case, await _resting(engine, case)):
                break
        await changes.aclose()
        end = await outcome(engine, self.process, case)
        yield {"__interrupt__": end} if isinstance(end, Paused) else {self.name: end}


NOT_STREAMED = frozenset({*(task.name for task in BUILT_IN), GATHER})
"""The calls whose results `stream` does not yield."""


async def begin(engine: Engine, process: EntrypointProcess, given: Any, thread: str | None, key: str | None) -> int:
    """Start an invocation, or answer the open pause of the thread. Return the number of its case."""
    if isinstance(given, Command):
        row = await open_case_of(engine, process, thread)
        pending = await _pending(engine, row.id)
        if given.digest is not None and given.digest != pending.digest:
            raise NotWaiting(f"case {row.id} shows something else by now; look at it again.")
        await engine.resume(pending.token, given.resume, by=given.by)
        return row.id
    identity = key or engine.new_key()
    name = thread if thread is not None else identity
    invocation = process.invoked(given, name, identity)
    while True:
        delivered = await engine.send(process, invocation, key=identity)
        if delivered.how == "started" and delivered.case is not None:
            return delivered.case
        row = await engine.case(delivered.case or 0)
        state = await engine.state(row.id, Thread)
        if state.invocation.id == identity:
            return row.id
        row = await engine.wait_until_resting(row.id)
        if row.status not in ENDED:
            raise ThreadBusy(name, row)


async def _pending(engine: Engine, case: int) -> Pending:
    """The pause that a thread waits at. After a deploy, the body is run over what is recorded first, and may come to another one."""
    while True:
        row = await _resting(engine, case)
        if row.status in {Status.PARKED, Status.BLOCKED}:
            raise ThreadParked(row)
        try:
            return await engine.pending(row.id)
        except NotWaiting:
            if not await _has_gone_on(engine, case, row):
                raise


async def _has_gone_on(engine: Engine, case: int, row: CaseRow) -> bool:
    """Whether a thread that rested at `row` rests elsewhere by now."""
    now = await _resting(engine, case)
    return (now.id, now.revision) != (row.id, row.revision)


async def _resting(engine: Engine, case: int) -> CaseRow:
    """The case that a thread rests at: its own, or that of an entrypoint that its body has called and that has not ended."""
    return (await _rested(engine, case)).row


async def _rested(engine: Engine, case: int) -> Rested:
    """The same, with its fields if they are at hand."""
    rested = await engine.rested(case)
    while (row := rested.row).status is Status.WAITING and row.step not in {None, SLEEP}:
        child = next((child for child in await engine.reader.children(row.id) if child.status not in ENDED), None)
        if child is None:
            break
        rested = await engine.rested(child.id)
    return rested


async def open_case_of(engine: Engine, process: AnyProcess, thread: str | None) -> CaseRow:
    """The open case of a thread. Raises NotWaiting if there is none."""
    if thread is None:
        raise NotWaiting("name the thread whose pause is answered, with thread= or in the config.")
    open_ones = tuple(status for status in Status if status not in ENDED)
    page = await engine.reader.find(CaseQuery(process=process.name, correlation=thread, status=open_ones), limit=1)
    if not page.rows:
        raise NotWaiting(f"thread {thread!r} of entrypoint {process.name!r} is not waiting for an answer: it has no open case.")
    return page.rows[0].case


async def outcome(engine: Engine, process: EntrypointProcess, case: int) -> Any:
    """Wait until a case has ended or waits for somebody, and return its result, or the pause."""
    changed = engine.changed
    row, cells = await _rested(engine, case)
    while goes_on(process, case, row):
        async for _ in engine.changes(since=changed):
            changed = engine.changed
            break
        row, cells = await _rested(engine, case)
    if row.status is Status.WAITING:
        try:
            return paused(await engine.pending(row.id))
        except NotWaiting:  # after a deploy, the look lets the body run over its record first
            if not await _has_gone_on(engine, case, row):
                raise
            return await outcome(engine, process, case)
    if row.status is Status.DONE:
        if cells is not None and RESULT in cells:
            text: str | None = cells[RESULT].text
        else:
            text = next((row.text for row in await engine.reader.fields(case) if row.field == RESULT), None)
        return process.result(None if text is None else json.loads(text)["value"])
    if row.status is Status.CANCELLED:
        raise ThreadCancelled(row)
    raise ThreadParked(row)


def goes_on(process: EntrypointProcess, case: int, row: CaseRow) -> bool:
    """Whether a thread that rests at `row` waits for nobody: for a time, or for an entrypoint that has ended just now."""
    if row.id != case and row.status in ENDED:
        return True
    return row.status is Status.WAITING and (row.step == SLEEP or isinstance(process.steps.get(row.step or ""), Child))


def paused(pending: Pending) -> Paused:
    """The open pause of a case."""
    return Paused(pending.shown["shown"], pending.pause, pending.case, pending.token, pending.digest)


def result_of(state: Thread, entry: RecordEntry) -> Returned | None:
    """What a recorded call returned; None if it failed, or is no call of a function."""
    if "value" in entry:
        return Returned(value=entry["value"])
    outcome = (state.outcomes or [])[entry["outcome"]] if "outcome" in entry else None
    return outcome if isinstance(outcome, Returned) else None


def recorded(state: Thread) -> list[RecordEntry]:
    """The entries of the record, in their order, each with its value."""
    return [entry for item in state.record or () for entry in item]


def thread_of(config: Mapping[str, Any] | None, thread: str | None) -> str | None:
    """The id of the thread, from the parameter or from a config as LangGraph has it."""
    return thread if thread is not None or config is None else config.get("configurable", {}).get("thread_id")


class _Decorator:
    """What `@entrypoint(...)` returns."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    @overload
    def __call__(self, function: Callable[[G], Coroutine[Any, Any, R]], /) -> Entrypoint[G, R]: ...
    @overload
    def __call__(self, function: Callable[[G], R], /) -> Entrypoint[G, R]: ...
    @overload
    def __call__(self, function: Callable[..., Any], /) -> Entrypoint[Any, Any]: ...

    def __call__(self, function: Callable[..., Any], /) -> Entrypoint[Any, Any]:
        """Make an entrypoint of a body."""
        return _entrypoint(function, **self._settings)


class _EntrypointDecorator:
    """The decorator `entrypoint`. A body whose thread keeps something else than the caller gets returns `entrypoint.final(value=..., save=...)`."""

    final = Final

    def __call__(
        self, *, checkpointer: Checkpointer | None = None, name: str | None = None, version: int = 1, tasks: tuple[Task[..., Any], ...] = (),
        leaves: tuple[str, ...] = (), concurrency: int | None = None,
    ) -> _Decorator:  # fmt: skip
        """Declare the body of an entrypoint: a plain or async function that takes one input, and `previous` if it wants what the thread has kept.

        The body calls tasks, pauses and sleeps, and does nothing else that reaches outside: it is run again over the recorded outcomes after a crash
        or a restart. Calls are found by name, arguments (of a pause: what it shows) and occurrence, so calls can be added, removed and moved while
        cases wait. A body that leaves out a recorded call parks its case, except for the tasks in `leaves`. `tasks` names the tasks that the engine
        cannot find by reading the body, such as those in a dict. At most `concurrency` of its tasks run at once; the default is 16. `version` is stored
        with each case, and each version takes up the cases of the earlier ones. Raises DefinitionError.
        """
        return _Decorator(
            {"checkpointer": checkpointer, "name": name, "version": version, "tasks": tasks, "leaves": leaves, "concurrency": concurrency}
        )


entrypoint = _EntrypointDecorator()


def _entrypoint(
    function: Callable[..., Any], *, checkpointer: Checkpointer | None, name: str | None, version: int, tasks: tuple[Task[..., Any], ...],
    leaves: tuple[str, ...], concurrency: int | None,
) -> Entrypoint[Any, Any]:  # fmt: skip
    every = dict.fromkeys(BUILT_IN)
    for one in (*tasks_of(function, lambda value: isinstance(value, Task | Entrypoint | TaskGroup)), *tasks):
        every |= dict.fromkeys(one.tasks if isinstance(one, TaskGroup) else (one,))
    process = EntrypointProcess(
        function, name or function.__name__, every, version=version, leaves=leaves, concurrency=concurrency, previous=previous
    )
    if checkpointer is not None:
        checkpointer.add(process)
    return Entrypoint(process, checkpointer)
