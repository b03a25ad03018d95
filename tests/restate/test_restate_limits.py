"""Limits on Restate: one object gives the permits of all cases, and wakes those that wait."""

import asyncio
import itertools
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from objects_in_memory import Died, Objects

from pointsman import AtLeastOnce, Context, Failure, Limit, NotSent, Process, Retry, State, finish, otherwise, parallel, quorum, when
from pointsman.restate import objects
from pointsman.restate.limits import GIVEN, WANTED, PermitGiven, PermitWanted
from pointsman.restate.work import Work
from pointsman.testing.clock import ManualClock
from tiers import figure

EVERY = figure("RESTATE_EVERY", 16)
CASES = 4


class Question(State):
    text: str
    reply: str | Failure | None = None
    sent: str | Failure | None = None


class Calls:
    """When which function was called."""

    def __init__(self) -> None:
        self.at: list[tuple[str, float]] = []
        self.refuses = 0

    def times(self, step: str) -> list[float]:
        return [at for name, at in self.at if name == step]


def questions(limit: Limit) -> Process[Any]:
    question = Process("questions", Question)

    @question.node(writes="reply", limit=limit, timeout_seconds=10)
    async def ask(text: str, *, ctx: Context, calls: Calls) -> str:
        calls.at.append(("ask", ctx.now))
        return text.upper()

    @question.effect(
        writes="sent", limit=limit, safety=AtLeastOnce("it is a test"), timeout_seconds=10, retry=Retry(attempts_max=2, first_seconds=0.0)
    )
    async def send(reply: str | Failure, *, ctx: Context, calls: Calls) -> str:
        calls.at.append(("send", ctx.now))
        if calls.refuses:
            calls.refuses -= 1
            raise NotSent("too many", retry_after=60.0)
        return "sent"

    question.rules(
        when("no reply yet", lambda c: c.reply is None, ask),
        when("not sent yet", lambda c: c.sent is None, send),
        otherwise(finish("sent")),
    )
    return question


def run(
    limit: Limit,
    calls: Calls,
    *,
    dies_at: int = 0,
    rounds: int = 0,
    cases: int = CASES,
    process: Callable[[Limit], Process[Any]] = questions,
) -> Objects:
    cluster = Objects(ManualClock(), dies_at=dies_at, rounds=rounds)
    cluster.serve(Work([process(limit)], {"calls": calls}, clock=cluster.clock, random=Random(7)))

    async def story() -> None:
        for number in range(1, cases + 1):
            await cluster.call("start", f"questions:{number}", {"seed": str(number), "inputs": {"text": "why"}})
        await cluster.work()
        for number in range(1, cases + 1):
            shown = await cluster.call("show", f"questions:{number}")
            assert shown["outcome"] == "sent", shown["reason"]

    asyncio.run(story())
    return cluster


def state_of(cluster: Objects, limit: Limit) -> dict[str, Any]:
    stored = json.loads(cluster.states[limit.name]["limit"])
    assert not stored.get("waiting")
    state: dict[str, Any] = json.loads(stored["text"])
    return state


def test_calls_of_all_cases_keep_the_distance_of_their_rate() -> None:
    limit, calls = Limit("llm", per_second=0.1), Calls()

    run(limit, calls)

    times = sorted(at for _, at in calls.at)
    assert len(times) == 2 * CASES
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(times))


def test_a_permit_is_given_back_and_wakes_a_case_that_waits() -> None:
    limit, calls = Limit("llm", concurrency=1), Calls()

    cluster = run(limit, calls)

    assert len(calls.at) == 2 * CASES
    assert state_of(cluster, limit)["permits"] == {}
    assert max(at for _, at in calls.at) < ManualClock().now() + 1  # nobody waited until a permit expired


def test_a_resource_that_asks_callers_to_wait_holds_the_calls_of_all_cases_and_costs_no_attempt() -> None:
    limit, calls = Limit("llm", concurrency=1), Calls()
    calls.refuses = 3

    run(limit, calls)

    first, second, third, *others = calls.times("send")
    assert second >= first + 60
    assert third >= second + 60
    assert min(others) >= third + 60
    assert len(others) == CASES


def test_a_program_that_dies_anywhere_leaves_no_case_without_a_permit() -> None:
    limit = Limit("llm", concurrency=1)
    whole = run(limit, Calls())

    for entry in range(1, whole.entries + 1, EVERY):
        cluster = run(limit, Calls(), dies_at=entry)
        assert cluster.deaths == 1


async def second_waits(limit: Limit) -> Objects:
    """The first case has the permit, and the second one has asked for it twice."""
    cluster = Objects(ManualClock())
    cluster.serve(Work([questions(limit)], {"calls": Calls()}, clock=cluster.clock))
    for number in (1, 2, 2):
        wanted = PermitWanted(limit.name, f"call of {number}", 60.0, f"questions:{number}")
        await cluster.call("take_permit", limit.name, WANTED.plain(wanted))
    return cluster


def test_a_case_waits_once_for_a_permit_however_often_it_asks() -> None:
    cluster = asyncio.run(second_waits(Limit("llm", concurrency=1)))

    assert json.loads(cluster.states["llm"]["limit"])["waiting"] == ["questions:2"]


def test_code_without_a_limit_wakes_the_cases_that_wait_for_it() -> None:
    async def story() -> list[tuple[str, str]]:
        cluster = await second_waits(Limit("llm", concurrency=1))
        cluster.serve(Work([questions(Limit("another", concurrency=1))], {"calls": Calls()}, clock=cluster.clock))

        await cluster.call("give_permit", "llm", GIVEN.plain(PermitGiven("llm", "call of 1", "nothing", 1)))

        return [(handler, key) for _, _, handler, key, _ in cluster._due]

    assert asyncio.run(story()) == [("nudge", "questions:2")]


def surveys(limit: Limit) -> Process[Any]:
    """Two branches under the same limit, of which one answer is enough."""
    question = Process("questions", Question)

    @question.node(writes="reply", limit=limit, timeout_seconds=10)
    async def ask(text: str, *, ctx: Context, calls: Calls) -> str:
        calls.at.append(("ask", ctx.now))
        return text.upper()

    @question.node(writes="sent", limit=limit, timeout_seconds=10)
    async def ask_twice(text: str, *, ctx: Context, calls: Calls) -> str:
        calls.at.append(("ask_twice", ctx.now))
        return text.upper()

    question.rules(
        when("no reply yet", lambda c: c.reply is None and c.sent is None, parallel(ask, ask_twice, failures=quorum(1))),
        otherwise(finish("sent")),
    )
    return question


@pytest.mark.parametrize("permits", [1, 2, 3, 9])
def test_branches_keep_a_limit_and_give_back_the_permits_that_they_no_longer_need(permits: int) -> None:
    limit, calls = Limit("llm", concurrency=permits), Calls()

    cluster = run(limit, calls, process=surveys)

    assert len(calls.at) >= CASES
    assert state_of(cluster, limit)["permits"] == {}
    assert max(at for _, at in calls.at) < ManualClock().now() + 1  # nobody waited until a permit expired


def test_branches_keep_the_distance_of_their_rate() -> None:
    limit, calls = Limit("llm", per_second=0.1), Calls()

    run(limit, calls, process=surveys)

    times = sorted(at for _, at in calls.at)
    assert len(times) >= CASES
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(times))


def test_a_program_that_dies_anywhere_leaves_no_branch_without_a_permit() -> None:
    limit = Limit("llm", concurrency=1)
    whole = run(limit, Calls(), process=surveys)

    for entry in range(1, whole.entries + 1, EVERY):
        cluster = run(limit, Calls(), dies_at=entry, process=surveys)
        assert cluster.deaths == 1


class Race(State):
    text: str
    reply: str | Failure | None = None
    second: str | Failure | None = None
    third: str | Failure | None = None
    fourth: str | Failure | None = None


def races(limit: Limit) -> Process[Any]:
    """Three branches under the same limit, and one that has ended before these have their permits."""
    race = Process("questions", Race)

    @race.node(writes="reply")
    async def ask(text: str) -> str:
        return text.upper()

    async def ask_in_vain(text: str) -> str:
        return await asyncio.Future()

    slow = [race.node(ask_in_vain, writes=name, name=name, limit=limit, timeout_seconds=10) for name in ("second", "third", "fourth")]
    race.rules(
        when("no reply yet", lambda c: c.reply is None, parallel(ask, *slow, failures=quorum(1))),
        otherwise(finish("sent")),
    )
    return race


def test_a_case_ends_once_if_the_program_dies_while_permits_are_on_their_way_to_branches_that_it_no_longer_needs() -> None:
    limit = Limit("llm", concurrency=9)
    whole = run(limit, Calls(), rounds=30, cases=1, process=races)

    for entry in range(1, whole.entries + 1):
        cluster = run(limit, Calls(), dies_at=entry, rounds=30, cases=1, process=races)
        events = asyncio.run(cluster.call("events", "questions:1"))
        assert [event["kind"] for event in events].count("finished") == 1, f"entry {entry}"


def test_a_call_that_may_still_run_keeps_its_permit_when_its_case_calls_again() -> None:
    limit, calls, called = Limit("llm", concurrency=9), Calls(), []
    cluster = Objects(ManualClock())

    def dies(label: str) -> None:
        if label == "node.call":
            called.append(len(state_of(cluster, limit)["permits"]))
            if len(called) == 1:
                raise Died

    cluster.serve(Work([questions(limit)], {"calls": calls}, clock=cluster.clock, random=Random(7), failpoints=dies))
    asyncio.run(cluster.call("start", "questions:1", {"seed": "1", "inputs": {"text": "why"}}))

    asyncio.run(cluster.work())

    assert called == [1, 2]


def test_a_permit_that_the_first_case_no_longer_waits_for_goes_to_the_next_one() -> None:
    limit, calls = Limit("llm", concurrency=1), Calls()
    cluster = Objects(ManualClock())
    work = Work([questions(limit)], {"calls": calls}, clock=cluster.clock, random=Random(7))
    cluster.serve(work)
    begins = cluster.clock.now()

    async def story() -> None:
        taken = PermitWanted("llm", "somebody", 300.0, "questions:9")
        await cluster.call("take_permit", "llm", WANTED.plain(taken))
        for number in (1, 2):
            await cluster.call("start", f"questions:{number}", {"seed": str(number), "inputs": {"text": "why"}})
        await cluster.work(until=begins + 1)
        await cluster.call("cancel", "questions:1", {"by": "otto", "why": "no question"})

        await cluster.call("give_permit", "llm", GIVEN.plain(PermitGiven("llm", "somebody", "well", 9)))
        await cluster.work(until=begins + 2)

        assert (await cluster.call("show", "questions:2"))["outcome"] == "sent"

    asyncio.run(story())


def test_a_turn_whose_handler_waits_for_a_permit_is_kept_however_many_others_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LEFT_MAX", 1)
    opened, waits = asyncio.Event(), asyncio.Event()

    class Slow(Objects):
        async def call(self, handler: str, key: str, arg: Any = None) -> Any:
            if handler == "take_permit" and not opened.is_set():
                waits.set()
                await opened.wait()
            return await super().call(handler, key, arg)

    cluster = Slow(ManualClock())
    cluster.serve(Work([questions(Limit("llm", concurrency=1))], {"calls": Calls()}, clock=cluster.clock, random=Random(7)))

    async def story() -> dict[str, Any]:
        for number in (1, 2):
            await cluster.call("start", f"questions:{number}", {"seed": str(number), "inputs": {"text": "why"}})
        first = asyncio.create_task(cluster.work_once())
        await waits.wait()
        second = asyncio.create_task(cluster.work_once())
        await asyncio.sleep(0)
        opened.set()
        await asyncio.gather(first, second)
        shown: dict[str, Any] = await cluster.call("show", "questions:1")
        return shown

    shown = asyncio.run(story())

    assert shown["interruptions"] == 0
    assert shown["fields"]["reply"] == "WHY"
