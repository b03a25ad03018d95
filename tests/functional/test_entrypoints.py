"""Entrypoints run like any case: their outcomes are recorded, and a crash repeats nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pointsman import Context, Idempotent, Retry, Status, quorum
from pointsman.functional import (
    INJECTED,
    Checkpointer,
    Command,
    Paused,
    TaskFailed,
    TaskTimeout,
    entrypoint,
    gather,
    now,
    pause,
    random,
    sleep,
    task,
    uuid,
)
from pointsman.testing import World, crash_everywhere

EMAIL = {"order_id": "A1", "text": "My order has not arrived."}


def invocation(given: Any, thread: str = "t") -> dict[str, Any]:
    return {"invocation": {"input": given, "thread": thread, "id": thread}}


@task
def classify_email(email: dict) -> dict:
    return {"category": "refund" if "not" in email["text"] else "other"}


@task
async def fetch_order_details(order_id: str) -> dict:
    await asyncio.sleep(2)
    return {"order": order_id}


@task
async def fetch_refund_policy(category: str) -> dict:
    await asyncio.sleep(3)
    return {"policy": category}


@task
def draft_reply(email: dict, context: dict) -> dict:
    return {"reply": f"about {context['order']} under {context['policy']}"}


@entrypoint()
def handle_email(email: dict) -> dict:
    classification = classify_email(email).result()  # sequential: must classify first
    order_future = fetch_order_details(email["order_id"])  # fan-out
    policy_future = fetch_refund_policy(classification["category"])
    order_details = order_future.result()  # fan-in
    refund_policy = policy_future.result()
    context = {**order_details, **refund_policy}
    return draft_reply(email, context).result()


@entrypoint()
async def handle_email_async(email: dict) -> dict:
    classification = await classify_email(email)
    order_future = fetch_order_details(email["order_id"])
    policy_future = fetch_refund_policy(classification["category"])
    context = {**await order_future, **await policy_future}
    return await draft_reply(email, context)


@pytest.mark.parametrize("example", [handle_email, handle_email_async], ids=["sync", "async"])
def test_the_two_fetches_overlap(example: Any) -> None:
    world = World(example.process)

    case = world.run(lambda: world.start(example.process, invocation(EMAIL)))

    assert world.state(case)["result"] == {"value": {"reply": "about A1 under refund"}}
    row = world.case(case)
    assert row.status is Status.DONE
    assert 3 <= row.updated_at - row.created_at < 3.5  # the longer of the two, and not the sum


@pytest.mark.parametrize("example", [handle_email, handle_email_async], ids=["sync", "async"])
def test_the_example_ends_right_wherever_it_is_killed(example: Any) -> None:
    report = crash_everywhere(example.process, invocation(EMAIL), ignore=("record",))

    assert report.points > 20
    assert report.ends[0]["state"]["result"] == {"value": {"reply": "about A1 under refund"}}


@task(safety=Idempotent())
async def charge(amount: int, *, ctx: Context = INJECTED) -> str:
    return f"charged {amount}"


@entrypoint()
def buy(amount: int) -> list[Any]:
    at, chance, name = now(), random(), uuid()
    approved = pause({"amount": amount}, answer=bool, name="approve")
    sleep("90s")
    receipts = [charge(amount).result(), charge(amount).result()] if approved else []
    return [receipts, at == now(), 0 <= chance < 1, len(name)]


def test_an_effect_a_pause_and_a_sleep_are_seen_once_wherever_it_is_killed() -> None:
    report = crash_everywhere(buy.process, invocation(5), people={"approve": True}, ignore=("record", "woken"))

    assert report.points > 40
    assert report.ends[0]["state"]["result"] == {"value": [["charged 5", "charged 5"], False, True, 36]}


CALLS: list[str] = []


@task(retry=Retry(attempts_max=2, first_seconds=1))
def fails(what: str) -> str:
    CALLS.append(what)
    raise ValueError(what)


@task
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slow"


def run(example: Any, given: Any, **people: Any) -> tuple[World, int]:
    world = World(example.process, people=people)
    return world, world.run(lambda: world.start(example.process, invocation(given)))


def test_a_body_that_catches_a_failure_goes_on() -> None:
    @entrypoint()
    def body(given: str) -> str:
        try:
            return fails(given).result()
        except TaskFailed as failed:
            return f"{failed.error} after {failed.attempts}"

    world, case = run(body, "no")

    assert world.state(case)["result"] == {"value": "ValueError after 2"}


def test_a_failure_that_nothing_catches_parks_the_case() -> None:
    @entrypoint()
    def body(given: str) -> str:
        return fails(given).result()

    CALLS.clear()
    world, case = run(body, "no")

    assert world.case(case).status is Status.PARKED
    assert "failed after 2 attempts: ValueError: no" in str(world.case(case).reason)
    assert CALLS == ["no", "no"]


def test_a_timeout_ends_the_call_and_does_not_hold_the_body() -> None:
    @entrypoint()
    def body(given: float) -> list[str]:
        seen = []
        future = slow(given)
        for _ in range(2):
            try:
                future.result(timeout=0.5)
            except TaskTimeout:
                seen.append("late")
        return seen

    world, case = run(body, 100.0)

    assert world.state(case)["result"] == {"value": ["late", "late"]}
    assert world.case(case).updated_at - world.case(case).created_at < 5


def test_a_restart_does_not_extend_a_timeout() -> None:
    @entrypoint()
    def body(given: None) -> str:
        slow(20.0)
        try:
            return slow(1_000.0).result(timeout=30)
        except TaskTimeout:
            return "late"

    def live(crash_before: int) -> World:
        world = World(body.process, crash_before=crash_before)
        world.run(lambda: world.start(body.process, invocation(None)))
        return world

    worlds = [live(point) for point in range(1, live(0).steps + 1)]

    assert {world.crashes for world in worlds} == {1}
    assert max(world.case(1).updated_at - world.case(1).created_at for world in worlds) < 35


def test_a_body_that_returns_does_not_wait_for_its_other_calls() -> None:
    @entrypoint()
    def body(given: float) -> str:
        slow(given)
        return slow(0.5).result()

    world, case = run(body, 100.0)

    assert world.state(case)["result"] == {"value": "slow"}
    assert world.case(case).updated_at - world.case(case).created_at < 5


def test_a_fan_out_of_a_thousand() -> None:
    @task
    async def square(number: int) -> int:
        return number * number

    @entrypoint()
    def body(given: int) -> int:
        return sum(future.result() for future in [square(number) for number in range(given)])

    world, case = run(body, 1000)

    assert world.state(case)["result"] == {"value": sum(n * n for n in range(1000))}


def test_gather_surfaces_the_first_failure_at_once_and_cancels_the_others() -> None:
    @entrypoint()
    def body(given: str) -> str:
        try:
            gather(slow(100.0), fails(given), slow(200.0)).result()
        except TaskFailed as failed:
            return failed.message
        return "all"

    world, case = run(body, "no")

    assert world.state(case)["result"] == {"value": "no"}
    assert world.case(case).updated_at - world.case(case).created_at < 10


def test_gather_records_failures_and_counts_a_quorum() -> None:
    @entrypoint()
    async def body(given: str) -> list[Any]:
        recorded = await gather(slow(0.1), fails(given), failures="record")
        first = await gather(slow(50.0), slow(0.2), slow(0.3), failures=quorum(2))
        return [recorded[0], recorded[1].error, first[0].error, first[1:]]

    world, case = run(body, "no")

    assert world.state(case)["result"] == {"value": ["slow", "ValueError", "Cancelled", ["slow", "slow"]]}
    assert world.case(case).updated_at - world.case(case).created_at < 10


@entrypoint()
def child(number: int) -> int:
    return int(pause(number, answer=int, name="ask")) + number


@entrypoint()
def parent(number: int) -> list[Any]:
    got = gather(slow(5.0), slow(1.0), failures=quorum(1)).result()
    return [got[1], child(number).result(), child(number + 1).result()]


def test_an_entrypoint_that_a_body_calls_is_a_case_of_its_own_wherever_it_is_killed() -> None:
    report = crash_everywhere(parent.process, invocation(1), people={"ask": 10}, ignore=("record",))

    assert report.points > 60
    assert sorted(str(end["state"]["result"]["value"]) for end in report.ends) == ["11", "12", "['slow', 11, 12]"]


class Answer(BaseModel):
    approved: bool


def test_an_open_thread_goes_on_when_it_is_opened_again(tmp_path: Path) -> None:
    def declared(checkpointer: Checkpointer) -> Any:
        @entrypoint(checkpointer=checkpointer, name="ask")
        def ask(question: str, previous: str | None = None) -> list[Any]:
            answer = pause(question, answer=Answer)
            return entrypoint.final(value=[answer.approved, previous], save=question)

        return ask

    checkpointer = Checkpointer(tmp_path / "cases.db")
    ask = declared(checkpointer)
    paused = ask.invoke("may I?", thread="t")
    assert isinstance(paused, Paused)
    assert paused.shown == "may I?"
    checkpointer.close()

    checkpointer = Checkpointer(tmp_path / "cases.db")
    ask = declared(checkpointer)
    assert ask.invoke(Command(resume={"approved": True}), thread="t") == [True, None]
    second = ask.invoke("again?", {"configurable": {"thread_id": "t"}})
    assert isinstance(second, Paused)
    assert asyncio.run(ask.ainvoke(Command(resume=Answer(approved=False), digest=second.digest), thread="t")) == [False, "may I?"]
    checkpointer.close()


def test_a_stream_tells_of_each_call_and_of_the_end(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path / "cases.db")

    @entrypoint(checkpointer=checkpointer)
    def pay(amount: int) -> str:
        policy = classify_email(EMAIL).result(timeout=60)
        return f"{charge(amount).result()} under {policy['category']}"

    with checkpointer:
        updates = list(pay.stream(5))

    assert updates == [
        {"classify_email": {"category": "refund"}},
        {"charge": "charged 5"},
        {"pay": "charged 5 under refund"},
    ]
