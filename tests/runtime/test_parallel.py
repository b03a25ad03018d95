"""Parallel steps: each branch by itself, each end durable, all fields in one transition."""

import asyncio
import json
from typing import Any

import pytest
from places import Place, held, run, seen

from pointsman import Failure, Process, Retry, State, Status, finish, otherwise, parallel, when
from pointsman.testing.clock import ManualClock


class Facts(State):
    message: str
    number: str | None = None
    order: str | Failure | None = None
    policy: str | Failure | None = None


class Desk:
    """What the branches find outside: answers or errors by name, gates that are open unless closed, and a count."""

    def __init__(self, **endings: Any) -> None:
        self.endings = endings
        self.calls: list[str] = []
        self.closed: dict[str, asyncio.Event] = {}
        self.reached = asyncio.Event()

    async def ask(self, name: str) -> Any:
        self.calls.append(name)
        self.reached.set()
        if name in self.closed:
            await self.closed[name].wait()
        ending = self.endings.get(name, name)
        ending = ending.pop(0) if isinstance(ending, list) else ending
        if isinstance(ending, BaseException):
            raise ending
        return ending


def gathering(desk: Desk, retry: Retry = Retry(attempts_max=1), **settings: Any) -> Process[Facts]:  # noqa: B008 - a frozen value
    process = Process("facts", Facts)

    @process.node(writes="order", retry=retry, **settings)
    async def fetch_order(message: str) -> str:
        return await desk.ask("order")

    @process.node(writes="policy", retry=retry, **settings)
    async def fetch_policy(message: str) -> str:
        return await desk.ask("policy")

    @process.node(writes="number")
    async def extract(message: str) -> str:
        return "4711"

    process.rules(
        when("facts are missing", lambda c: c.order is None or c.policy is None, parallel(fetch_order, fetch_policy)),
        when("no number", lambda c: c.number is None, extract),
        otherwise(finish("gathered")),
    )
    return process


def test_all_fields_are_written_together_in_the_rules_order_whichever_branch_ends_first(place: Place) -> None:
    desk = Desk()
    process = gathering(desk)

    async def main() -> tuple[Any, Any]:
        desk.closed["order"] = asyncio.Event()
        async with place.open(process) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await seen(engine, "node.succeeded")
            before = await engine.state(case, State)
            desk.closed["order"].set()
            await engine.wait_until_resting(case)
            return before, (await engine.reader.fields(case), await engine.reader.events(case=case))

    before, (fields, events) = run(main())

    assert (before.order, before.policy) == (None, None)
    assert len({row.revision for row in fields if row.field in {"order", "policy"}}) == 1
    joined = next(event for event in events if event.kind == "joined")
    assert joined.step == "fetch_order + fetch_policy"
    assert json.loads(joined.facts) == {
        "why": "every branch has ended",
        "succeeded": ["fetch_order", "fetch_policy"],
        "failed": [],
        "cancelled": [],
        "fields": ["order", "policy"],
    }


def test_a_branch_that_fails_parks_the_case_and_keeps_the_other_branchs_result(place: Place) -> None:
    desk = Desk(order=[RuntimeError("shop is down"), "4711"])
    process = gathering(desk)

    async def main() -> tuple[Any, Any, Any]:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            parked = await engine.wait_until_resting(case)
            await engine.redrive(case, by="anna", why="shop is up")
            return parked, await engine.wait_until_resting(case), await engine.state(case, State)

    parked, row, state = run(main())

    assert (parked.status, parked.reason) == (Status.PARKED, "'fetch_order' failed after 1 attempt: shop is down")
    assert (row.outcome, state.order, state.policy) == ("gathered", "4711", "policy")
    assert sorted(desk.calls) == ["order", "order", "policy"]


def test_a_recorded_branch_failure_lets_the_other_branches_continue(place: Place) -> None:
    desk = Desk(order=RuntimeError("shop is down"))
    process = gathering(desk, on_failure="record")

    async def main() -> tuple[Any, Any]:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            return await engine.wait_until_resting(case), await engine.state(case, State)

    row, state = run(main())

    assert (row.outcome, state.policy) == ("gathered", "policy")
    assert state.order == Failure(step="fetch_order", error="RuntimeError", message="shop is down", attempts=1)


def test_a_failed_branch_is_tried_again_alone_and_no_task_holds_the_case_meanwhile(place: Place) -> None:
    desk, clock = Desk(order=[RuntimeError("busy"), "4711", "4711"]), ManualClock()
    process = gathering(desk, Retry(attempts_max=2, first_seconds=10, jitter=0))

    async def main() -> tuple[Any, list[str], Any]:
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await seen(engine, "node.retried")
            await engine.wait_until_resting((await engine.start(process, {"message": "another"})).case)
            waiting, tasks = await engine.case(case), held()
            clock.advance(10)
            return waiting, tasks, await engine.wait_until_resting(case)

    waiting, tasks, row = run(main())

    assert (waiting.status, waiting.wake_at, tasks) == (Status.READY, 1_000_010.0, [])
    assert (row.outcome, desk.calls.count("order"), desk.calls.count("policy")) == ("gathered", 3, 2)


def test_branches_that_have_ended_are_not_run_again_after_reopening(place: Place) -> None:
    desk = Desk()
    process = gathering(desk)

    async def begin() -> int:
        desk.closed["order"] = asyncio.Event()
        async with place.open(process) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await seen(engine, "node.succeeded")
            return case

    async def go_on(case: int) -> Any:
        desk.closed.clear()
        async with place.open(process) as engine:
            await engine.wait_until_resting(case)
            return await engine.state(case, State)

    state = run(go_on(run(begin())))

    assert (state.order, state.policy) == ("order", "policy")
    assert sorted(desk.calls) == ["order", "order", "policy"]


def test_a_branch_that_failed_for_good_has_no_further_attempt_after_reopening(place: Place) -> None:
    desk = Desk(policy=RuntimeError("no policy"))
    process = gathering(desk)

    async def begin() -> int:
        desk.closed["order"] = asyncio.Event()
        async with place.open(process) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await seen(engine, "node.failed")
            return case

    async def go_on(case: int) -> Any:
        desk.closed.clear()
        async with place.open(process) as engine:
            return await engine.wait_until_resting(case)

    row = run(go_on(run(begin())))

    assert row.status is Status.PARKED
    assert desk.calls.count("policy") == 1


def test_branches_that_fail_at_once_are_all_named(place: Place) -> None:
    desk = Desk(order=RuntimeError("no order"), policy=RuntimeError("no policy"))
    process = gathering(desk)

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"message": "m"})).case)

    row = run(main())

    assert row.status is Status.PARKED
    assert "'fetch_order' failed after 1 attempt: no order" in row.reason
    assert "'fetch_policy' failed after 1 attempt: no policy" in row.reason


def test_a_branch_that_runs_out_of_time_fails_by_itself(place: Place) -> None:
    desk = Desk()
    process = gathering(desk, timeout_seconds=0.01, on_failure="record")

    async def main() -> Any:
        desk.closed["order"] = asyncio.Event()
        async with place.open(process) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await engine.wait_until_resting(case)
            return await engine.state(case, State)

    state = run(main())

    assert (state.order.error, state.policy) == ("TimeoutError", "policy")


def test_a_branch_that_awaits_something_cancelled_fails_by_itself(place: Place) -> None:
    desk = Desk(order=asyncio.CancelledError())
    process = gathering(desk, on_failure="record")

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await engine.wait_until_resting(case)
            return await engine.state(case, State)

    state = run(main())

    assert (state.order.step, state.policy) == ("fetch_order", "policy")


def numbered(desk: Desk, *, extracting: bool) -> Process[Facts]:
    """Both branches read the number; the newer code extracts it first."""
    process = Process("facts", Facts)

    @process.node(writes="number")
    async def extract(message: str) -> str:
        return "4711"

    @process.node(writes="order")
    async def fetch_order(number: str | None) -> str:
        return f"order {number}: {await desk.ask('order')}"

    @process.node(writes="policy", retry=Retry(attempts_max=1))
    async def fetch_policy(number: str | None) -> str:
        return f"policy {number}: {await desk.ask('policy')}"

    process.rules(
        when("no number", lambda c: extracting and c.number is None, extract),
        when("facts are missing", lambda c: c.order is None or c.policy is None, parallel(fetch_order, fetch_policy)),
        when("number is old", lambda c: c.number == "0", extract),
        otherwise(finish("gathered")),
    )
    return process


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_branch_result_is_dropped_when_a_field_that_it_read_was_rewritten(place: Place, interrupted: bool) -> None:
    desk = Desk(policy=[RuntimeError("down"), "p", "p"])
    old, new = numbered(desk, extracting=False), numbered(desk, extracting=True)

    async def park() -> int:
        async with place.open(old) as engine:
            case = (await engine.start(old, {"message": "m"})).case
            await engine.wait_until_resting(case)
            return case

    async def interrupt(case: int) -> None:
        desk.closed = {"order": asyncio.Event(), "policy": asyncio.Event()}
        desk.reached.clear()
        async with place.open(new) as engine:
            await engine.redrive(case, by="anna", why="new code is deployed")
            await desk.reached.wait()

    async def go_on(case: int) -> Any:
        desk.closed.clear()
        async with place.open(new) as engine:
            if not interrupted:
                await engine.redrive(case, by="anna", why="new code is deployed")
            await engine.wait_until_resting(case)
            return await engine.state(case, State)

    case = run(park())
    if interrupted:
        run(interrupt(case))
    state = run(go_on(case))

    assert (state.number, state.order, state.policy) == ("4711", "order 4711: order", "policy 4711: p")
