"""Limits: never a call too many, whatever ends or dies. A queued case uses no place, and no case waits behind another limit."""

import asyncio
import threading
from typing import Any

import pytest
from downstream import BEGUN_AT, DIED, TIMEOUT_SECONDS, Ask, Downstream, asking, asking_each, asking_twice, die, hinting, telling
from places import HANG_SECONDS, Place, held, let_pass, run, seen

from pointsman import (
    AtMostOnce,
    CircuitBreaker,
    DefinitionError,
    Engine,
    Failure,
    Limit,
    NotSent,
    Process,
    Rejected,
    Retry,
    Status,
    finish,
    otherwise,
    when,
)
from pointsman.kernel.limits import REFUSALS_FREE, LimitChange, LimitChanged, LimitState
from pointsman.runtime.limits import MARGIN_SECONDS
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock


async def start(engine: Engine, process: Process[Any], count: int, **how: Any) -> list[int]:
    return [(await engine.start(process, {"question": f"{how.get('tenant', '')}{number}"}, **how)).case for number in range(count)]


async def permits(engine: Engine, name: str = "llm") -> LimitState:
    return (await engine.reader.limits())[name]


async def kinds(engine: Engine, case: int) -> list[str]:
    return [event.kind for event in await engine.reader.events(case=case)]


async def quiet(engine: Engine) -> None:
    """Let everything happen that needs no time to pass."""
    for _ in range(10):
        for _ in range(20):
            await asyncio.sleep(0)
        await engine.store_blob(b"quiet")  # behind all that was handed in to the writer


@pytest.mark.parametrize("make", [asking, telling])
def test_two_hundred_cases_never_make_a_fifth_call(place: Place, make: Any) -> None:
    async def main() -> tuple[int, int, LimitState]:
        world = Downstream(gate=True, together=4)
        process = make(Limit("llm", concurrency=4))
        async with place.open(process, resources={"world": world}, clock=ManualClock()) as engine:
            started = await asyncio.gather(*(engine.start(process, {"question": str(number)}) for number in range(200)))
            rows = await asyncio.gather(*(engine.wait_until_resting(one.case) for one in started))
            await quiet(engine)
            assert {row.outcome for row in rows} == {"answered"}
            return world.most, len(world.questions), await permits(engine)

    most, calls, state = run(main())

    assert (most, calls) == (4, 200)
    assert (state.permits, state.wins) == ({}, 200)


def test_a_case_that_waits_for_a_permit_holds_no_place_and_delays_no_other(place: Place) -> None:
    async def main() -> tuple[Any, ...]:
        world, limited, free = Downstream(), asking(Limit("llm", concurrency=2)), hinting()
        async with place.open(limited, free, resources={"world": world}, clock=ManualClock(), concurrency=4) as engine:
            cases = await start(engine, limited, 20)
            await world.begun(2)
            others = [await engine.wait_until_resting(case) for case in await start(engine, free, 10)]
            await quiet(engine)
            tasks, counts = held(), await engine.reader.counts()
            waiting = await engine.case(cases[-1])
            events = await kinds(engine, cases[-1])
            world.gate.set()
            ended = await asyncio.gather(*map(engine.wait_until_resting, cases))
            return others, tasks, counts, waiting, events, ended, world.questions, await engine.reader.events(case=cases[-1])

    others, tasks, counts, waiting, events, ended, questions, history = run(main())

    assert {row.outcome for row in others} == {"answered"}
    assert len(tasks) == 2
    assert (counts[Status.RUNNING], counts[Status.READY]) == (2, 18)
    assert (waiting.status, waiting.needs, waiting.attempts) == (Status.READY, "llm", 0)
    assert events == ["accepted", "decided", "permit.waited"]
    assert {row.outcome for row in ended} == {"answered"}
    assert questions == [str(number) for number in range(20)]  # nobody overtook anybody
    assert [event.kind for event in history].count("permit.waited") == 1
    assert [event.attempt for event in history if event.kind == "node.succeeded"] == [1]


def test_many_cases_behind_a_limit_are_not_looked_at_again_and_again(place: Place) -> None:
    claims = 0

    async def main() -> int:
        nonlocal claims
        world, process = Downstream(), asking(Limit("llm", concurrency=1))
        async with place.open(process, resources={"world": world}, clock=ManualClock()) as engine:
            await start(engine, process, 1)
            await world.begun(1)
            claim = engine._store.claim

            async def counted(*args: Any, **more: Any) -> Any:
                nonlocal claims
                claims += 1
                return await claim(*args, **more)

            engine._store.claim = counted  # type: ignore[method-assign]
            await start(engine, process, 300)
            await quiet(engine)
            return claims

    assert run(main()) <= 2


@pytest.mark.parametrize("kind", ["ask", "tell"])
def test_a_crash_with_calls_under_way_lets_no_other_call_through_until_they_must_have_ended(on_disk: Place, kind: str) -> None:
    assert die(on_disk.path, kind) == DIED

    async def main() -> Any:
        world, clock = Downstream(), ManualClock(BEGUN_AT + 1)
        process = {"ask": asking, "tell": telling}[kind](Limit("llm", concurrency=2))
        async with on_disk.open(process, resources={"world": world}, clock=clock) as engine:
            await quiet(engine)
            before = len(world.questions)
            clock.advance(TIMEOUT_SECONDS + MARGIN_SECONDS - 1.1)
            await quiet(engine)
            just_before = len(world.questions)
            clock.advance(0.2)
            await world.begun(2)
            await quiet(engine)
            at_once = len(world.questions)
            world.gate.set()
            clock.advance(1)
            rows = await asyncio.gather(*map(engine.wait_until_resting, (1, 2, 3, 4)))
            return before, just_before, at_once, world.most, {row.outcome for row in rows}

    assert run(main()) == (0, 0, 2, 2, {"answered"})


def test_engines_on_one_store_share_the_permits() -> None:
    async def main() -> Any:
        clock, world = ManualClock(), Downstream(gate=True)
        store = MemoryStore(lease_seconds=30.0, now=clock.now)
        process = asking(Limit("llm", concurrency=2))

        def another() -> Any:
            return Engine.open("", [process], store=store.beside(), clock=clock, resources={"world": world}, grace_seconds=0.0)

        async with another() as one, another() as other:
            world.gate.clear()
            for number in range(10):
                await start((one, other)[number % 2], process, 1)
            await world.begun(2)
            world.gate.set()
            while (await one.reader.counts()).get(Status.DONE) != 10:
                clock.advance(1.0)
                await quiet(one)
            return world.most, len(world.questions)

    assert run(main()) == (2, 10)


def test_an_orderly_stop_gives_the_permits_back(place: Place) -> None:
    async def main() -> Any:
        world, process = Downstream(), asking(Limit("llm", concurrency=2))
        async with place.open(process, resources={"world": world}, clock=ManualClock()) as engine:
            cases = await start(engine, process, 4)
            await world.begun(2)
        again = Downstream(gate=True, together=2)
        async with place.open(process, resources={"world": again}, clock=ManualClock()) as engine:
            rows = await asyncio.gather(*map(engine.wait_until_resting, cases))
            return {row.outcome for row in rows}, again.most, [row.attempts for row in rows]

    outcomes, most, _ = run(main())

    assert (outcomes, most) == ({"answered"}, 2)


def test_calls_begin_evenly_spaced(place: Place) -> None:
    async def main() -> list[float]:
        world, process = Downstream(gate=True), asking(Limit("llm", per_second=4))
        clock = world.clock = ManualClock(BEGUN_AT)
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            cases = await start(engine, process, 6)
            for _ in range(30):
                await quiet(engine)
                clock.advance(0.125)
            await asyncio.gather(*map(engine.wait_until_resting, cases))
            return world.times

    assert run(main()) == [BEGUN_AT + number / 4 for number in range(6)]


class TooMany(Exception):
    def __init__(self, retry_after: float) -> None:
        super().__init__("too many requests")
        self.retry_after = retry_after


@pytest.mark.parametrize(
    ("make", "error"), [(asking, TooMany(60)), (asking, NotSent("busy", retry_after=60)), (telling, NotSent("busy", retry_after=60))]
)
def test_a_retry_after_blocks_the_resource_and_not_the_case(place: Place, make: Any, error: Exception) -> None:
    async def main() -> Any:
        world, process = Downstream(error, "yes", gate=True), make(Limit("llm", concurrency=1), retry=Retry(attempts_max=1))
        clock = ManualClock()
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            cases = await start(engine, process, 3)
            await world.begun(1)
            await quiet(engine)
            refused = await engine.case(cases[0])
            facts = [event.facts for event in await engine.reader.events(case=cases[0]) if "held_until" in event.facts]
            clock.advance(59)
            await quiet(engine)
            calls = len(world.questions)
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            await quiet(engine)
            calls_after_restart = len(world.questions)
            clock.advance(1)
            rows = await asyncio.gather(*map(engine.wait_until_resting, cases))
            effects = await engine.reader.effects(cases[0])
            return refused, facts, calls, calls_after_restart, [row.outcome for row in rows], [one.attempts for one in effects]

    refused, facts, calls, calls_after_restart, outcomes, attempts = run(main())

    assert (refused.status, refused.needs, refused.attempts) == (Status.READY, "llm", 0)
    assert len(facts) == 1
    assert '"limit":"llm"' in facts[0]
    assert (calls, calls_after_restart) == (1, 1)
    assert outcomes == ["answered"] * 3
    assert attempts == ([1] if make is telling else [])


def test_a_case_that_is_always_refused_while_others_get_through_is_parked_in_the_end(place: Place) -> None:
    class Choosy(Downstream):
        async def ask(self, question: str) -> str:
            if question == "poison":
                self.questions.append(question)
                raise TooMany(1)
            return await super().ask(question)

    async def main() -> Any:
        world, clock = Choosy(gate=True), ManualClock()
        process = asking(Limit("llm"), retry=Retry(attempts_max=2, first_seconds=0))
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            poison = (await engine.start(process, {"question": "poison"})).case
            for number in range(2 * REFUSALS_FREE + 10):
                await engine.start(process, {"question": str(number)})
                await quiet(engine)
                clock.advance(1)
            return await engine.wait_until_resting(poison), world.questions.count("poison")

    row, calls = run(main())

    assert row.status is Status.PARKED
    assert REFUSALS_FREE + 2 <= calls <= REFUSALS_FREE + 4  # one that nobody got through before says nothing of the case


def test_a_breaker_opens_tries_one_call_and_closes(place: Place) -> None:
    async def main() -> Any:
        world = Downstream(*[OSError("down")] * 3, "yes", gate=True)
        limit = Limit("llm", concurrency=4, breaker=CircuitBreaker(failures=2, cooldown_seconds=60))
        process = asking(limit, retry=Retry(attempts_max=9, first_seconds=0))
        clock = ManualClock()
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            cases = await start(engine, process, 1)
            await world.begun(2)
            await quiet(engine)
            cases += await start(engine, process, 5)
            await quiet(engine)
            open_calls = len(world.questions)
            clock.advance(60)
            await quiet(engine)
            tried = len(world.questions)
            world.gate.clear()
            clock.advance(60)
            await quiet(engine)
            trial = world.under_way
            world.gate.set()
            rows = await asyncio.gather(*map(engine.wait_until_resting, cases))
            facts = [event.facts for case in cases for event in await engine.reader.events(case=case) if '"limit"' in event.facts]
            return open_calls, tried, trial, {row.outcome for row in rows}, facts

    open_calls, tried, trial, outcomes, facts = run(main())

    assert (open_calls, tried, trial, outcomes) == (2, 3, 1, {"answered"})
    assert sum("open_until" in fact for fact in facts) == 2
    assert sum("closed" in fact for fact in facts) == 1


def test_a_definite_no_does_not_open_a_breaker(place: Place) -> None:
    async def main() -> Any:
        world = Downstream(Rejected("no such account"), gate=True)
        process = telling(Limit("llm", breaker=CircuitBreaker(failures=1)), on_failure="record")
        async with place.open(process, resources={"world": world}, clock=ManualClock()) as engine:
            cases = await start(engine, process, 3)
            rows = await asyncio.gather(*map(engine.wait_until_resting, cases))
            return [row.outcome for row in rows], len(world.questions)

    assert run(main()) == (["answered"] * 3, 3)


def test_tenants_take_turns_at_a_limit(place: Place) -> None:
    async def main() -> list[str]:
        world, process = Downstream(), asking(Limit("llm", concurrency=1))
        async with place.open(process, resources={"world": world}, clock=ManualClock()) as engine:
            cases = await start(engine, process, 20, tenant="a")
            await world.begun(1)
            cases += await start(engine, process, 2, tenant="b")
            cases += await start(engine, process, 1, tenant="c")
            cases += await start(engine, process, 1, tenant="urgent", priority=1)
            world.gate.set()
            await asyncio.gather(*map(engine.wait_until_resting, cases))
            return world.questions

    questions = run(main())

    assert questions[1] == "urgent0"
    assert sorted(questions[2:5]) == ["a1", "b0", "c0"]
    assert "b1" in questions[5:7]
    assert questions[7:] == [f"a{number}" for number in range(3, 20)]


def test_a_start_does_not_overtake_cases_that_wait_for_a_place(place: Place) -> None:
    async def main() -> list[str]:
        world, process = Downstream(), asking(Limit("llm"))
        async with place.open(process, resources={"world": world}, clock=ManualClock(), concurrency=1) as engine:
            cases = await start(engine, process, 3, tenant="early")
            await world.begun(1)
            world.gate.set()
            for number in range(5):
                cases.append((await engine.start(process, {"question": f"late{number}"})).case)
            await asyncio.gather(*map(engine.wait_until_resting, cases))
            return world.questions

    questions = run(main())

    assert [question for question in questions if question.startswith("early")] == ["early0", "early1", "early2"]
    assert questions[0] == "early0"
    assert questions.index("early1") < questions.index("late1")


def test_a_cancelled_case_leaves_the_backlog_and_its_permit_to_others(place: Place) -> None:
    async def main() -> Any:
        world, process = Downstream(), asking(Limit("llm", concurrency=1))
        async with place.open(process, resources={"world": world}, clock=ManualClock()) as engine:
            cases = await start(engine, process, 4)
            await world.begun(1)
            cancelled = await engine.cancel(cases[1], by="anna", why="no longer wanted")
            world.gate.set()
            rows = await asyncio.gather(*map(engine.wait_until_resting, cases))
            return cancelled.status, [row.status for row in rows], world.questions

    status, statuses, questions = run(main())

    assert status is Status.CANCELLED
    assert statuses == [Status.DONE, Status.CANCELLED, Status.DONE, Status.DONE]
    assert questions == ["0", "2", "3"]


def test_a_case_that_waits_for_a_person_or_another_attempt_holds_no_permit(place: Place) -> None:
    async def main() -> Any:
        world = Downstream(OSError("down"), "yes", gate=True)
        process = Process("ask", Ask)

        @process.node(writes="answer", limit=Limit("llm", concurrency=1), retry=Retry(first_seconds=100, jitter=0))
        async def ask(question: str, *, world: Downstream) -> str:
            return await world.ask(question)

        process.rules(when("open", lambda c: c.answer is None, ask), otherwise(finish("answered")))
        clock = ManualClock()
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            failed, *others = await start(engine, process, 4)
            await seen(engine, "node.retried")
            rows = await asyncio.gather(*map(engine.wait_until_resting, others))
            await quiet(engine)
            state = await permits(engine)
            clock.advance(100)
            return [row.outcome for row in rows], state.permits, (await engine.wait_until_resting(failed)).outcome

    assert run(main()) == (["answered"] * 3, {}, "answered")


def test_a_plain_function_that_was_given_up_keeps_its_permit_until_it_ends(place: Place) -> None:
    gate, begun = threading.Event(), threading.Semaphore(0)

    async def main() -> Any:
        process = Process("ask", Ask)

        @process.node(
            writes="answer", limit=Limit("llm", concurrency=1), timeout_seconds=1_000, retry=Retry(attempts_max=1), on_failure="record"
        )
        def ask(question: str) -> str:
            begun.release()
            gate.wait(HANG_SECONDS)
            return "late"

        process.rules(when("open", lambda c: c.answer is None, ask), otherwise(finish("answered")))
        clock = ManualClock()
        async with place.open(process, clock=clock) as engine:
            first, second = await start(engine, process, 2)
            await asyncio.to_thread(begun.acquire)
            await let_pass(1_000)
            await engine.wait_until_resting(first)
            clock.advance(3_600)  # its time has long passed, but the call is under way all the same
            await quiet(engine)
            others = sum(begun.acquire(blocking=False) for _ in range(9))
            waiting = await engine.case(second)
            gate.set()
            await engine.wait_until_resting(second)
            return others, waiting.status, waiting.needs, (await engine.state(second, Ask)).answer

    others, status, needs, answer = run(main())

    assert (others, status, needs, answer) == (0, Status.READY, "llm", "late")


def test_a_limit_is_one_for_all_processes_and_two_of_one_name_are_refused(place: Place) -> None:
    async def open_both(one: Limit, other: Limit) -> int:
        world, first, second = Downstream(), asking(one), telling(other)
        async with place.open(first, second, resources={"world": world}, clock=ManualClock()) as engine:
            cases = await start(engine, first, 3) + await start(engine, second, 3)
            await world.begun(1)
            world.gate.set()
            await asyncio.gather(*map(engine.wait_until_resting, cases))
            return world.most

    assert run(open_both(Limit("llm", concurrency=1), Limit("llm", concurrency=1))) == 1
    with pytest.raises(DefinitionError, match="'llm' is declared in two ways"):
        run(open_both(Limit("llm", concurrency=1), Limit("llm", concurrency=2)))


def test_two_limits_of_one_name_in_one_process_are_refused_where_they_are_declared() -> None:
    process = Process("ask", Ask)

    def ask(question: str) -> str | Failure:
        return ""

    process.effect(ask, writes="answer", name="a", safety=AtMostOnce(), limit=Limit("llm", concurrency=1))
    with pytest.raises(DefinitionError, match="declare it once"):
        process.effect(ask, writes="answer", name="b", safety=AtMostOnce(), limit=Limit("llm", concurrency=2))


def test_a_limit_that_new_code_no_longer_has_blocks_no_case(place: Place) -> None:
    async def main() -> Any:
        world, process = Downstream(), asking(Limit("llm", concurrency=1))
        async with place.open(process, resources={"world": world}, clock=ManualClock()) as engine:
            cases = await start(engine, process, 3)
            await world.begun(1)
        newer = asking(Limit("model"))
        async with place.open(newer, resources={"world": Downstream(gate=True)}, clock=ManualClock()) as engine:
            rows = await asyncio.gather(*map(engine.wait_until_resting, cases))
            return {row.outcome for row in rows}

    assert run(main()) == {"answered"}


def test_branches_of_a_step_wait_for_permits_too(place: Place) -> None:
    async def main() -> Any:
        world, process = Downstream(gate=True, together=2), asking_twice(Limit("llm", concurrency=2))
        async with place.open(process, resources={"world": world}, clock=ManualClock()) as engine:
            cases = await start(engine, process, 10)
            rows = await asyncio.gather(*map(engine.wait_until_resting, cases))
            return {row.outcome for row in rows}, world.most, len(world.questions)

    assert run(main()) == ({"answered"}, 2, 20)


def test_a_case_whose_branches_wait_for_a_permit_is_a_row_and_holds_no_place(place: Place) -> None:
    async def main() -> Any:
        world, limit = Downstream(), Limit("llm", concurrency=1)
        several, one, free = asking_each(limit), asking(limit), telling(Limit("other"))
        async with place.open(several, one, free, resources={"world": world}, clock=ManualClock(), concurrency=2) as engine:
            first = await start(engine, one, 1)
            await world.begun(1)
            cases = [(await engine.start(several, {"questions": ["a", "b"]})).case for _ in range(3)]
            await quiet(engine)
            waiting, tasks = [await engine.case(case) for case in cases], held()
            [beside] = await start(engine, free, 1)
            await world.begun(2)
            world.gate.set()
            rows = await asyncio.gather(*map(engine.wait_until_resting, (*first, *cases, beside)))
            return [(row.status, row.needs, row.attempts) for row in waiting], len(tasks), {row.outcome for row in rows}, world.most

    waiting, tasks, outcomes, most = run(main())

    assert waiting == [(Status.READY, "llm", 0)] * 3
    assert tasks == 1, "only the case that is called is in hand"
    assert (outcomes, most) == ({"answered"}, 2)


def test_a_step_does_not_wait_for_permits_that_others_return_meanwhile(place: Place) -> None:
    async def main() -> bool:
        async with place.open(asking(Limit("llm", concurrency=1)), resources={"world": Downstream()}) as engine:
            giving = engine._limits._giving

            def go_on(over: asyncio.Task[Any] | None = None) -> None:
                giving.discard(over)  # type: ignore[arg-type]
                if waiting is None or not waiting.done():
                    following = asyncio.ensure_future(asyncio.sleep(0))
                    giving.add(following)  # type: ignore[arg-type]
                    following.add_done_callback(go_on)

            waiting: asyncio.Task[None] | None = None
            go_on()
            waiting = asyncio.ensure_future(engine._limits.given_so_far())
            for _ in range(20):
                await asyncio.sleep(0)
            ended = waiting.done()
            waiting.cancel()
            return ended

    assert run(main())


def test_tenants_take_turns_with_their_branches_too(place: Place) -> None:
    async def main() -> Any:
        world, limit = Downstream(), Limit("llm", concurrency=1)
        several, one = asking_each(limit), asking(limit)
        async with place.open(several, one, resources={"world": world}, clock=ManualClock()) as engine:
            first = await start(engine, one, 1)
            await world.begun(1)
            cases = [
                (await engine.start(several, {"questions": [f"{tenant}{number}" for number in range(4)]}, tenant=tenant)).case
                for tenant in "aaaabb"
            ]
            await quiet(engine)
            world.gate.set()
            rows = await asyncio.gather(*map(engine.wait_until_resting, (*first, *cases)))
            return {row.outcome for row in rows}, [question[0] for question in world.questions[1:]]

    outcomes, tenants = run(main())

    assert outcomes == {"answered"}
    assert tenants[:12].count("b") == 6, "of two tenants each gets every other permit"


def test_branches_and_the_backlog_take_turns_even_if_branches_hold_all_places(place: Place) -> None:
    async def main() -> Any:
        world, limit = Downstream(), Limit("llm", concurrency=1)
        each, one = asking_each(limit), asking(limit)
        async with place.open(each, one, resources={"world": world}, clock=ManualClock(), concurrency=2) as engine:
            many = (await engine.start(each, {"questions": [f"branch {number}" for number in range(12)]})).case
            await world.begun(1)
            others = await start(engine, one, 3, tenant="line ")
            more = (await engine.start(each, {"questions": [f"other {number}" for number in range(4)]})).case
            await quiet(engine)
            world.gate.set()
            rows = await asyncio.gather(*map(engine.wait_until_resting, [many, more, *others]))
            return {row.outcome for row in rows}, world.most, world.questions

    outcomes, most, questions = run(main())

    assert (outcomes, most, len(questions)) == ({"answered"}, 1, 19)
    assert max(questions.index(f"line {number}") for number in range(3)) < questions.index("branch 11")


def test_a_retry_after_returns_branches_to_the_backlog_with_their_attempts(place: Place) -> None:
    async def main() -> Any:
        world, clock = Downstream(TooMany(600), "yes", gate=True), ManualClock()
        process = asking_each(Limit("llm", concurrency=1), retry=Retry(attempts_max=1))
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            case = (await engine.start(process, {"questions": ["a", "b", "c"]})).case
            await world.begun(1)
            await quiet(engine)
            waiting, tasks = await engine.case(case), held()
            clock.advance(600)
            row = await engine.wait_until_resting(case)
            return waiting.status, tasks, row.outcome, (await engine.state(case)).answers, world.questions

    status, tasks, outcome, answers, questions = run(main())

    assert (status, tasks) == (Status.READY, [])
    assert (outcome, answers) == ("answered", ["yes"] * 3)
    assert sorted(questions) == ["a", "a", "b", "c"]


def test_a_case_whose_branches_wait_for_a_permit_is_cancelled_at_once(place: Place) -> None:
    async def main() -> Any:
        world, limit = Downstream(), Limit("llm", concurrency=1)
        each, one = asking_each(limit), asking(limit)
        async with place.open(each, one, resources={"world": world}, clock=ManualClock()) as engine:
            first = await start(engine, one, 1)
            await world.begun(1)
            case = (await engine.start(each, {"questions": ["a", "b"]})).case
            await quiet(engine)
            row = await engine.cancel(case, by="anna", why="no longer wanted")
            world.gate.set()
            await engine.wait_until_resting(first[0])
            return row.status, world.questions

    assert run(main()) == (Status.CANCELLED, ["0"])


def test_an_engine_that_stops_does_not_wait_for_cases_that_wait_for_a_permit(place: Place) -> None:
    async def main() -> Any:
        world, limit = Downstream(), Limit("llm", concurrency=1)
        each, one = asking_each(limit), asking(limit)
        async with place.open(each, one, resources={"world": world}, clock=ManualClock(), grace_seconds=60.0) as engine:
            first = await start(engine, one, 1)
            await world.begun(1)
            case = (await engine.start(each, {"questions": ["a", "b"]})).case
            await quiet(engine)
            world.gate.set()
        async with place.open(each, one, resources={"world": world}, clock=ManualClock()) as engine:
            return [(await engine.wait_until_resting(number)).outcome for number in (*first, case)], world.most

    assert run(main()) == (["answered"] * 2, 1)


def test_a_permit_that_took_too_long_to_get_is_given_back() -> None:
    class Slow(MemoryStore):
        """The engine stands still while its first permit is on the way."""

        asked = 0

        async def change_limit(self, change: LimitChange) -> LimitChanged:
            answer = await super().change_limit(change)
            Slow.asked += 1
            if Slow.asked == 1:
                clock.advance(MARGIN_SECONDS)
            return answer

    async def main() -> tuple[int, LimitState, list[str]]:
        world, process = Downstream(gate=True), asking(Limit("llm", concurrency=1))
        settings = {"resources": {"world": world}, "clock": clock, "grace_seconds": 0.0}
        async with Engine.open("", [process], store=Slow(), **settings) as engine:
            [case] = await start(engine, process, 1)
            await engine.wait_until_resting(case)
            await asyncio.sleep(0)
            return len(world.questions), await permits(engine), await kinds(engine, case)

    clock = ManualClock()
    calls, state, told = run(main())

    assert (calls, state.permits) == (1, {})
    assert told.count("permit.waited") == 1, "it went back into the line"
