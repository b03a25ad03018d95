"""The blocking engine has the methods of the engine, and each waits for its result."""

import asyncio
import gc
import inspect
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import pytest

from pointsman import AtMostOnce, Engine, Process, Reader, Retry, State, Status, finish, open_blocking, otherwise, when
from pointsman.errors import EngineStopped
from pointsman.runtime.blocking import BlockingEngine, BlockingReader

T = TypeVar("T")
GIVEN_UP_SECONDS = 120.0  # a slow machine has answered by then


class Question(State):
    text: str
    number: int | None = None
    answer: str | None = None


def asking(*, deadline: str = "30d") -> Process[Question]:
    process = Process("asking", Question)

    @process.node(writes="number")
    def count(text: str) -> int:
        return len(text)

    answer = process.pause(writes="answer", answer=str, shows=("text", "number"), deadline=deadline)
    process.rules(
        when("not counted", lambda q: q.number is None, count),
        when("not answered", lambda q: q.answer is None, answer),
        otherwise(finish("answered")),
    )
    return process


def answered(work: Callable[[], T]) -> T:
    """What `work` returns. Where it waits for ever, this test fails, and no other one is held up."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # AssertionErrors, too, are the test's
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result.result(GIVEN_UP_SECONDS)


def public(kind: type) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("asynchronous", "blocking"), [(Engine, BlockingEngine), (Reader, BlockingReader)])
def test_each_call_of_the_engine_has_one_that_waits(asynchronous: type, blocking: type) -> None:
    names = {name for name in [*public(asynchronous), *getattr(asynchronous, "__annotations__", {})] if not name.startswith("_")} - {"open"}

    missing = names - public(blocking).keys()

    assert not missing, f"{blocking.__name__} has no {', '.join(sorted(missing))}; add it to runtime/blocking.py"


@pytest.mark.parametrize(("asynchronous", "blocking"), [(Engine, BlockingEngine), (Reader, BlockingReader)])
def test_each_call_that_waits_takes_the_same_parameters(asynchronous: type, blocking: type) -> None:
    there = public(asynchronous)
    for name, method in public(blocking).items():
        if not callable(method) or name == "serve":  # which ends by a signal here, and by an event of asyncio there
            continue
        here, wanted = (inspect.signature(one, follow_wrapped=True).parameters.values() for one in (method, there[name]))
        assert [(one.name, one.default, one.kind) for one in here] == [(one.name, one.default, one.kind) for one in wanted]


def test_idle_does_not_wait_for_what_is_due_after_the_horizon(tmp_path: Path) -> None:
    def idles() -> Status:
        with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
            case = engine.start("asking", {"text": "why?"}).case
            engine.idle()
            return engine.case(case).status

    assert answered(idles) is Status.WAITING


def test_the_reader_and_the_events_can_be_looked_at(tmp_path: Path) -> None:
    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
        case = engine.start("asking", {"text": "why?"}).case
        engine.wait_until_resting(case)

        kinds = []
        for event in engine.events():
            kinds.append(event.kind)
            if event.kind == "paused":
                break

        assert kinds[0] == "accepted"
        assert [row.id for row in engine.reader.cases(status=Status.WAITING)] == [case]
        assert engine.redrive_all(by="anna", why="none is parked") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("thread", ["main", "another"])
def test_an_engine_serves_until_a_signal_stops_it_whichever_thread_gets_the_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thread: str, number: signal.Signals
) -> None:
    before, serve, given_up = signal.getsignal(number), Engine.serve, threading.Event()
    receiver = threading.main_thread().ident if thread == "main" else None

    async def stopped(self: Engine, stop: asyncio.Event | None = None) -> None:
        await self.start("asking", {"text": "why?"})
        signal.pthread_kill(receiver or threading.get_ident(), number)  # by now, the signal is handled
        await serve(self, stop)

    monkeypatch.setattr(Engine, "serve", stopped)
    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:

        def give_up() -> None:
            given_up.set()
            engine._loop._loop.call_soon_threadsafe(engine._inner._fail, EngineStopped("it waits for ever"))

        too_late = threading.Timer(GIVEN_UP_SECONDS, give_up)
        too_late.start()
        engine.serve()
        too_late.cancel()

        assert [row.process for row in engine.reader.cases()] == ["asking"]
    assert not given_up.is_set()
    assert signal.getsignal(number) is before


def test_an_engine_that_is_closed_says_so(tmp_path: Path) -> None:
    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
        reader = engine.reader

    for ask in (lambda: engine.case(1), reader.counts, lambda: next(engine.events()), engine.idle):
        with pytest.raises(EngineStopped, match="the engine is closed; open it again"):
            ask()


@pytest.mark.parametrize("given_up", ["closed", "dropped"])
def test_an_unread_stream_of_events_ends_quietly_after_the_engine_has_closed(
    tmp_path: Path, given_up: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)

    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
        engine.start("asking", {"text": "why?"})
        events: Any = engine.events()
        assert next(events).kind == "accepted"
    if given_up == "closed":
        events.close()
    del events
    gc.collect()

    assert unraisable == []


@pytest.mark.parametrize("where", ["node", "condition"])
def test_a_blocking_call_in_the_loop_of_the_engine_is_refused(tmp_path: Path, where: str) -> None:
    process = Process("asking", Question)
    engines: list[BlockingEngine] = []

    @process.node(writes=("number", "answer"), retry=Retry(attempts_max=1))
    async def count(text: str) -> tuple[int, str]:
        return engines[0].case(1).id, text

    def uncounted(question: Question) -> bool:
        return question.number is None and (where == "node" or engines[0].case(1).id == 1)

    process.rules(when("not counted", uncounted, count), otherwise(finish("counted")))

    def asks() -> str:
        with open_blocking(tmp_path / "cases.db", [process]) as engine:
            engines.append(engine)
            return str(engine.wait_until_resting(engine.start("asking", {"text": "why?"}).case).reason)

    assert "a blocking engine was called by code that runs in its event loop" in answered(asks)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit], ids=lambda error: error.__name__)
@pytest.mark.parametrize("where", ["node", "thread", "effect", "condition"])
def test_an_exception_that_would_end_the_program_fails_its_call(tmp_path: Path, where: str, raised: type[BaseException]) -> None:
    class Counted(State):
        text: str
        number: int | None = None

    process = Process("asking", Counted)

    def deadly(text: str) -> None:
        if text == "bad":
            raise raised("enough")

    async def count(text: str) -> int:
        deadly(text if where in {"node", "effect"} else "good")
        return len(text)

    def count_in_a_thread(text: str) -> int:
        deadly(text)
        return len(text)

    def uncounted(question: Counted) -> bool:
        deadly(question.text if where == "condition" and "armed" in armed else "good")
        return question.number is None

    armed: list[str] = []
    step: Any = {
        "effect": lambda: process.effect(count, writes="number", safety=AtMostOnce()),
        "thread": lambda: process.node(count_in_a_thread, writes="number", retry=Retry(attempts_max=1)),
    }.get(where, lambda: process.node(count, writes="number", retry=Retry(attempts_max=1)))()
    process.rules(when("not counted", uncounted, step), otherwise(finish("counted")))

    def lives() -> None:
        with open_blocking(tmp_path / "cases.db", [process]) as engine:
            if where == "condition":
                armed.append("armed")
                with pytest.raises(raised):
                    engine.start("asking", {"text": "bad"})
            else:
                bad = engine.wait_until_resting(engine.start("asking", {"text": "bad"}).case)
                assert bad.status is Status.PARKED
                assert f"{raised.__name__}: enough" in str(bad.reason)
            assert engine.wait_until_resting(engine.start("asking", {"text": "good"}).case).outcome == "counted"

    answered(lives)


def test_a_call_that_waits_raises_when_another_thread_closes_the_engine(tmp_path: Path) -> None:
    waiting, told = threading.Event(), []

    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
        case = engine.start("asking", {"text": "why?"}).case
        engine.wait_until_resting(case)

        def follow() -> None:
            try:
                for event in engine.events():
                    if event.kind == "paused":
                        waiting.set()
            except EngineStopped as stopped:
                told.append(str(stopped))

        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        waiting.wait()

    follower.join(GIVEN_UP_SECONDS)
    # A read that the close interrupts names the file.
    assert told in (["the engine is closed; open it again."], [f"the engine on {tmp_path / 'cases.db'} is closed; open it again."])


def test_closing_the_loop_also_ends_calls_that_the_engine_does_not_know(tmp_path: Path) -> None:
    begun, told, cleaned_up = threading.Event(), [], []

    async def never_ends() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(True)

    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:

        def wait() -> None:
            try:
                engine._loop.wait(never_ends())
            except EngineStopped as stopped:
                told.append(str(stopped))

        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        begun.wait()

    waiter.join(GIVEN_UP_SECONDS)
    assert (told, cleaned_up) == (["the engine is closed; open it again."], [True])


def test_changes_are_told_to_a_script(tmp_path: Path) -> None:
    process, told = asking(), threading.Event()

    def work() -> None:
        while not told.is_set():
            engine.start(process, {"text": "hello"})

    with open_blocking(tmp_path / "cases.db", [process]) as engine:
        starting = threading.Thread(target=work)
        starting.start()
        changes = engine.changes()
        next(changes)
        next(changes)
        told.set()
        starting.join()

        engine.check_ready()
        assert [*engine.processes] == [process]
        assert engine.clock.now() > 0


def test_calls_of_one_turn_keep_their_context_and_their_results_apart(tmp_path: Path) -> None:
    who = ContextVar[int]("who")

    async def one(engine: BlockingEngine, number: int) -> int:
        who.set(number)
        return await engine.carry_out(lambda _: told())

    async def told() -> int:
        await asyncio.sleep(0)
        if who.get() == 3:
            raise ValueError("the third")
        return who.get()

    async def main(engine: BlockingEngine) -> list[int | BaseException]:
        return await asyncio.gather(*(asyncio.create_task(one(engine, number)) for number in range(5)), return_exceptions=True)

    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
        found = asyncio.run(main(engine))

    assert [repr(result) for result in found] == ["0", "1", "2", "ValueError('the third')", "4"]


def test_a_caller_that_is_cancelled_cancels_its_call(tmp_path: Path) -> None:
    ended = threading.Event()

    async def waits(_: Engine) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    async def main(engine: BlockingEngine) -> None:
        caller = asyncio.create_task(engine.carry_out(waits))
        await engine.carry_out(lambda inner: inner.check_ready())  # the first call has begun before
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    with open_blocking(tmp_path / "cases.db", [asking()]) as engine:
        asyncio.run(main(engine))

        assert ended.wait(GIVEN_UP_SECONDS)
