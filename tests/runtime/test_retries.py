"""Retries: timed by the clock alone, with attempts that no restart renews, for the errors that are worth a retry."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from places import HANG_SECONDS, Place, held, run, seen

from pointsman import Engine, Failure, Process, Retry, State, Status, StoreError, finish, otherwise, when
from pointsman.testing.clock import ManualClock


class Job(State):
    name: str
    result: str | float | Failure | None = None


class Script:
    """What a step does, call by call: an exception is raised, anything else returned. The last one stays."""

    def __init__(self, *endings: Any) -> None:
        self.endings = list(endings)
        self.calls = 0

    def next(self) -> Any:
        self.calls += 1
        ending = self.endings.pop(0) if len(self.endings) > 1 else self.endings[0]
        if isinstance(ending, BaseException):
            raise ending
        return ending


def working(script: Script, **settings: Any) -> Process[Job]:
    process = Process("work", Job)

    @process.node(writes="result", **settings)
    async def work(name: str) -> str | float:
        return "done" if name == "other" else script.next()

    process.rules(when("open", lambda c: c.result is None, work), otherwise(finish("worked")))
    return process


async def another_case(engine: Engine) -> None:
    """Let the engine come round once: whatever was due before is in hand or done."""
    await engine.wait_until_resting((await engine.start("work", {"name": "other"})).case)


def test_a_case_that_waits_for_a_retry_is_held_by_no_task_until_the_clock_has_come(place: Place) -> None:
    script, clock = Script(RuntimeError("down"), "up"), ManualClock()
    process = working(script, retry=Retry(first_seconds=10, jitter=0))

    async def main() -> tuple[Any, list[str], int, Any]:
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, {"name": "a"})).case
            await seen(engine, "node.retried")
            clock.advance(9.9)
            await another_case(engine)
            row, tasks, calls = await engine.case(case), held(), script.calls
            clock.advance(0.2)
            return row, tasks, calls, await engine.wait_until_resting(case)

    row, tasks, calls, after = run(main())

    assert (row.status, row.wake_at) == (Status.READY, 1_000_010.0)
    assert (tasks, calls) == ([], 1)
    assert (after.status, script.calls) == (Status.DONE, 2)


def test_an_engine_is_not_idle_while_a_retry_is_due_by_itself(place: Place) -> None:
    script, clock = Script(RuntimeError("down"), "up"), ManualClock()
    process = working(script, retry=Retry(first_seconds=10))

    async def main() -> tuple[bool, int]:
        async with place.open(process, clock=clock) as engine:
            await engine.start(process, {"name": "a"})
            await seen(engine, "node.retried")
            idle = asyncio.create_task(engine.idle())
            await another_case(engine)
            early = idle.done()
            clock.advance(10)
            await idle
            return early, script.calls

    early, calls = run(main())

    assert not early
    assert calls == 2


def test_the_pause_grows_by_the_factor_and_ends_at_the_maximum(place: Place) -> None:
    script, clock = Script(RuntimeError("down")), ManualClock(0.0)
    retry = Retry(attempts_max=5, first_seconds=10, factor=3, max_seconds=50, jitter=0)
    process = working(script, retry=retry)

    async def main() -> list[float]:
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, {"name": "a"})).case
            waits = []
            for attempt in range(1, 5):
                await seen(engine, "node.retried", count=attempt)
                await another_case(engine)
                waits.append((await engine.case(case)).wake_at - clock.now())
                clock.advance(waits[-1])
            await engine.wait_until_resting(case)
            return waits

    assert run(main()) == [10, 30, 50, 50]


def test_the_budget_survives_closing_and_opening_the_engine(place: Place) -> None:
    script, clock = Script(RuntimeError("down")), ManualClock()
    process = working(script, retry=Retry(attempts_max=3, first_seconds=10))

    async def one_attempt(attempt: int) -> Any:
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, {"name": "a"}, key="k")).case
            if attempt < 3:
                await seen(engine, "node.retried", count=attempt)
                return await engine.case(case)
            return await engine.wait_until_resting(case)

    rows = []
    for attempt in (1, 2, 3):
        rows.append(run(one_attempt(attempt)))
        clock.advance(60)

    assert script.calls == 3
    assert rows[-1].status is Status.PARKED
    assert rows[-1].reason == "'work' failed after 3 attempts: down"


async def never(name: str) -> str:
    await asyncio.Event().wait()
    return name


def test_an_async_node_that_runs_out_of_time_fails_its_attempt(place: Place) -> None:
    process = Process("work", Job)
    slow = process.node(writes="result", timeout_seconds=0.01, retry=Retry(attempts_max=1))(never)
    process.rules(when("open", lambda c: c.result is None, slow), otherwise(finish("worked")))

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"name": "a"})).case)

    row = run(main())

    assert row.status is Status.PARKED
    assert row.reason == "'never' failed after 1 attempt: no result within 0.01 seconds"


def test_a_plain_function_that_runs_out_of_time_fails_its_attempt_and_its_late_result_is_dropped(place: Place) -> None:
    process = Process("work", Job)
    late, ended = threading.Event(), threading.Event()

    @process.node(writes="result", timeout_seconds=0.01, retry=Retry(attempts_max=1), on_failure="record")
    def work(name: str) -> str:
        late.wait(HANG_SECONDS)
        ended.set()
        return "late"

    process.rules(when("open", lambda c: c.result is None, work), otherwise(finish("worked")))

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"name": "a"})).case
            await engine.wait_until_resting(case)
            late.set()
            await asyncio.to_thread(ended.wait, HANG_SECONDS)
            await engine.idle()
            return (await engine.state(case, State)).result

    result = run(main())

    assert (result.error, result.message) == ("TimeoutError", "no result within 0.01 seconds")


def test_a_timeout_error_that_the_function_raises_names_no_timeout(place: Place) -> None:
    process = working(Script(TimeoutError()), retry=Retry(attempts_max=1))

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"name": "a"})).case)

    row = run(main())

    assert row.status is Status.PARKED
    assert "None seconds" not in row.reason


@pytest.mark.parametrize(("error", "calls"), [(ConnectionResetError("gone"), 3), (KeyError("absent"), 1)])
def test_only_the_named_exceptions_are_worth_another_attempt(place: Place, error: Exception, calls: int) -> None:
    script = Script(error)
    process = working(script, retry=Retry(attempts_max=3, first_seconds=0, on=(ConnectionError,)))

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"name": "a"})).case)

    row = run(main())

    assert (row.status, script.calls) == (Status.PARKED, calls)


@pytest.mark.parametrize(("result", "named"), [(float("nan"), "nan"), ("a\0b", "NUL"), (["no", "text"], "result"), ("\ud800", "surrogate")])
def test_a_result_that_cannot_be_stored_is_not_tried_again(place: Place, result: Any, named: str) -> None:
    script = Script(result)
    process = working(script, retry=Retry(attempts_max=3, first_seconds=0))

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"name": "a"})).case)

    row = run(main())

    assert (row.status, script.calls) == (Status.PARKED, 1)
    assert "result" in row.reason
    assert named in row.reason


def test_a_recorded_failure_tells_the_step_the_error_and_the_attempts(place: Place) -> None:
    script = Script(ConnectionError("no route"))
    process = working(script, retry=Retry(attempts_max=2, first_seconds=0), on_failure="record")

    async def main() -> tuple[Any, Any]:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"name": "a"})).case
            return await engine.wait_until_resting(case), await engine.state(case, State)

    row, state = run(main())

    assert row.outcome == "worked"
    assert state.result == Failure(step="work", error="ConnectionError", message="no route", attempts=2)


def test_an_error_whose_text_json_cannot_hold_is_a_failed_attempt_like_any_other(place: Place) -> None:
    script = Script(ValueError("subject \udce9"), "up")
    process = working(script, retry=Retry(attempts_max=2, first_seconds=0))

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"name": "a"})).case)

    row = run(main())

    assert (row.status, row.reason, script.calls) == (Status.DONE, None, 2)


def one_node(work: Callable[..., Any]) -> Process[Job]:
    process = Process("work", Job)
    node = process.node(writes="result", retry=Retry(attempts_max=1))(work)
    process.rules(when("open", lambda c: c.result is None, node), otherwise(finish("worked")))
    return process


def test_a_plain_function_that_raises_stop_iteration_fails_its_attempt(place: Place) -> None:
    def first_of_none(name: str) -> str:
        return next(iter(()))

    process = one_node(first_of_none)

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"name": "a"})).case)

    assert run(main()).status is Status.PARKED


def test_a_node_that_awaits_something_cancelled_fails_its_attempt(place: Place) -> None:
    async def await_cancelled(name: str) -> str:
        task = asyncio.ensure_future(asyncio.Event().wait())
        task.cancel()
        await task
        return name

    process = one_node(await_cancelled)

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"name": "a"})).case)

    assert run(main()).status is Status.PARKED


def test_a_node_that_raises_a_store_error_does_not_stop_the_engine(place: Place) -> None:
    process = working(Script(StoreError("archive.db is locked")), retry=Retry(attempts_max=1))

    async def main() -> Any:
        async with place.open(process) as engine:
            row = await engine.wait_until_resting((await engine.start(process, {"name": "a"})).case)
            await another_case(engine)
            return row

    row = run(main())

    assert row.status is Status.PARKED
    assert "archive.db is locked" in row.reason


def test_a_timer_that_is_announced_twice_delays_nothing(place: Place) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with place.open(process, clock=clock) as engine:
            await engine.wait_until_resting((await engine.start(process, {"message": "m"})).case)
            await engine.idle(horizon_seconds=0)

            engine._scheduler.woken(clock.now() + 3_600.0)

            await engine.idle(horizon_seconds=0)

    process = Process("asks", Asked)
    ask = process.pause(writes="answer", answer=str, shows=("message",), deadline="1h")
    process.rules(when("nobody has answered", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    run(main())


class Asked(State):
    message: str
    answer: str | None = None
