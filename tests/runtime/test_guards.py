"""Guards: a response is checked against its schema and checks, repaired, asked of another model, and counted once."""

import json
from collections.abc import Callable
from decimal import Decimal

import pytest
from oracles import Mail, Oracle, Reply, desk, drafted, facts, polite, to_the_sender
from places import Place, run

from pointsman import (
    Budget,
    Context,
    Failure,
    Guard,
    Item,
    ModelResponse,
    Process,
    Rejected,
    Retry,
    State,
    Status,
    Unsafe,
    Usage,
    Violation,
    each,
    finish,
    otherwise,
    parallel,
    when,
)
from pointsman.testing.clock import ManualClock
from pointsman.testing.world import World


def test_an_answer_that_passes_is_written_and_counted(place: Place) -> None:
    async def main() -> None:
        oracle = Oracle("sorry, ann")
        async with place.open(process, resources={"oracle": oracle}) as engine:
            state = await drafted(engine, process)

            assert state.reply == Reply(text="sorry, ann")
            [told] = facts(await engine.reader.events(case=1), "node.succeeded")
            assert told["used"] == {"model": "m0", "input_tokens": 10, "output_tokens": 5, "cost": "0.002"}
            assert told["raw"] == '"sorry, ann"'
            assert [row[:5] for row in await engine.reader.usage_of_case(1)] == [("m0", 1, 10, 5, 2_000_000)]

    process = desk(Guard(polite, to_the_sender))
    run(main())


def test_an_answer_with_violations_is_repaired_with_them_in_sight(place: Place) -> None:
    async def main() -> None:
        oracle = Oracle("hello", (Violation(check="schema", message="it was cut short"),), "sorry, ann")
        async with place.open(process, resources={"oracle": oracle}) as engine:
            state = await drafted(engine, process)

            assert state.reply == Reply(text="sorry, ann")
            assert [[v.message for v in ctx.violations] for ctx in oracle.asked] == [
                [], ["it does not say sorry", "it does not name ann"], ["it was cut short"],
            ]  # fmt: skip
            assert [ctx.rejected for ctx in oracle.asked] == ["", '"hello"', "{"]
            violated = facts(await engine.reader.events(case=1), "guard.violated")
            assert [told["next"] for told in violated] == ["repair", "repair"]
            assert [row[:5] for row in await engine.reader.usage_of_case(1)] == [("m0", 3, 30, 15, 6_000_000)]
            assert await engine.reader.branches(1) == ()

    process = desk(Guard(polite, to_the_sender, repairs_max=2))
    run(main())


def test_after_the_repairs_it_is_asked_afresh_and_then_of_the_next_model(place: Place) -> None:
    async def main() -> None:
        oracle = Oracle(*["no"] * 8)
        async with place.open(process, resources={"oracle": oracle}) as engine:
            await drafted(engine, process)

            assert [(ctx.model, bool(ctx.violations)) for ctx in oracle.asked] == [
                (0, False), (0, True), (0, False), (0, True), (1, False), (1, True), (1, False), (1, True),
            ]  # fmt: skip
            moves = [told["next"] for told in facts(await engine.reader.events(case=1), "guard.violated")]
            assert moves == ["repair", "retry", "repair", "next model", "repair", "retry", "repair", "escalate"]
            row = await engine.case(1)
            assert row.status is Status.PARKED
            assert row.reason is not None
            assert "polite: it does not say sorry" in row.reason

    process = desk(Guard(polite, repairs_max=1, retries_max=1, models=2))
    run(main())


def test_an_answer_that_never_passes_goes_to_a_person_as_unsafe(place: Place) -> None:
    async def main() -> None:
        async with place.open(process, resources={"oracle": Oracle("no", "no, ann")}) as engine:
            state = await drafted(engine, process)

            assert state.reply == Unsafe[Reply](
                value=Reply(text="no, ann"), violations=(Violation(check="polite", message="it does not say sorry"),), raw='"no, ann"'
            )
            assert (await engine.case(1)).status is Status.DONE

    process = desk(Guard(polite, repairs_max=1, escalate="unsafe"))
    run(main())


def test_a_response_that_fits_no_schema_is_unsafe_without_a_value(place: Place) -> None:
    async def main() -> None:
        said = (Violation(check="schema", message="intent: 'flatter' is none of refund, legal"),)
        async with place.open(process, resources={"oracle": Oracle(said)}) as engine:
            assert (await drafted(engine, process)).reply == Unsafe[Reply](violations=said, raw="{")

    process = desk(Guard(repairs_max=0, escalate="unsafe"))
    run(main())


def test_a_failure_is_recorded_where_the_node_says_so(place: Place) -> None:
    async def main() -> None:
        async with place.open(process, resources={"oracle": Oracle("no")}) as engine:
            reply = (await drafted(engine, process)).reply

            assert isinstance(reply, Failure)
            assert (reply.error, reply.message) == ("Objected", "polite: it does not say sorry")

    process = desk(Guard(polite, repairs_max=0), on_failure="record")
    run(main())


def test_a_model_that_only_fails_is_left_for_the_next_one(place: Place) -> None:
    async def main() -> None:
        oracle = Oracle(ConnectionError("refused"), ConnectionError("refused"), "sorry")
        async with place.open(process, resources={"oracle": oracle}) as engine:
            assert (await drafted(engine, process)).reply == Reply(text="sorry")
            assert [ctx.model for ctx in oracle.asked] == [0, 0, 1]

    process = desk(Guard(polite, models=2), retry=Retry(attempts_max=2, first_seconds=0.0))
    run(main())


def test_a_refusal_is_not_tried_again_with_the_same_model(place: Place) -> None:
    async def main() -> None:
        oracle = Oracle(Rejected("the key is wrong"), "sorry")
        async with place.open(process, resources={"oracle": oracle}) as engine:
            assert (await drafted(engine, process)).reply == Reply(text="sorry")
            assert [ctx.model for ctx in oracle.asked] == [0, 1]

    process = desk(Guard(polite, models=2), retry=Retry(attempts_max=5))
    run(main())


def test_a_node_without_a_guard_that_asks_a_model_is_guarded_by_its_types(place: Place) -> None:
    async def main() -> None:
        said = (Violation(check="schema", message="there is no text"),)
        async with place.open(process, resources={"oracle": Oracle(said)}) as engine:
            await drafted(engine, process)

            row = await engine.case(1)
            assert (row.status, row.reason) == (Status.PARKED, "no result of 'draft' passed its guard: schema: there is no text")

    process = desk(None)
    run(main())


def test_a_check_that_raises_lets_nothing_pass_and_the_answer_counts(place: Place) -> None:
    def broken(reply: Reply) -> str | None:
        raise ZeroDivisionError("division by zero")

    async def main() -> None:
        oracle = Oracle("sorry", "sorry")
        async with place.open(process, resources={"oracle": oracle}) as engine:
            await drafted(engine, process)

            row = await engine.case(1)
            assert row.status is Status.PARKED
            assert row.reason is not None
            assert "check 'broken' raised ZeroDivisionError" in row.reason
            told = [
                json.loads(event.facts)["error"] for event in await engine.reader.events(case=1) if event.kind in {"node.failed", "parked"}
            ]
            assert told == ["CheckError"] * 2
            assert len(oracle.asked) == 1
            assert [usage.answers for usage in await engine.reader.usage_of_case(1)] == [1]

    process = desk(Guard(broken), retry=Retry(attempts_max=3))
    run(main())


def test_a_redriven_case_is_asked_afresh(place: Place) -> None:
    async def main() -> None:
        oracle = Oracle("no", "no", "sorry")
        async with place.open(process, resources={"oracle": oracle}) as engine:
            case = (await engine.start(process, Mail(message="hi"))).case
            await engine.idle()
            await engine.redrive(case, by="ann", why="the prompt is mended")
            await engine.idle()

            assert (await engine.state(case, Mail)).reply == Reply(text="sorry")
            assert [len(ctx.violations) for ctx in oracle.asked] == [0, 1, 0]

    process = desk(Guard(polite, repairs_max=1))
    run(main())


def test_an_engine_that_is_opened_again_continues_with_the_repair(place: Place) -> None:
    async def main() -> None:
        first, second = Oracle("no", RuntimeError("later")), Oracle("sorry")
        async with place.open(process, resources={"oracle": first}, clock=ManualClock(1_000.0)) as engine:
            await engine.start(process, Mail(message="hi"))
            await engine.idle(horizon_seconds=1.0)
        async with place.open(process, resources={"oracle": second}, clock=ManualClock(2_000.0)) as engine:
            await engine.idle()

            assert (await engine.state(1, Mail)).reply == Reply(text="sorry")
            assert [v.check for v in second.asked[0].violations] == ["polite"]
            assert [usage.answers for usage in await engine.reader.usage_of_case(1)] == [2]

    process = desk(Guard(polite), retry=Retry(attempts_max=2, first_seconds=60.0))
    run(main())


# Branches.


class Round(State):
    questions: tuple[str, ...]
    answers: list[Reply | Unsafe[Reply]] | None = None


class Pair(State):
    questions: tuple[str, ...]
    first: Reply | None = None
    second: Reply | None = None


class Chorus:
    """A model that answers each question badly first."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def attempt(self, question: str, ctx: Context) -> ModelResponse[Reply]:
        self.asked.append((question, len(ctx.violations)))
        text = f"sorry, {question}" if ctx.violations and question != "hopeless" else question
        return ModelResponse(Reply(text=text), "m", text, Usage(input_tokens=1))


def test_each_branch_has_a_guard_of_its_own(place: Place) -> None:
    process = Process("round", Round)

    @process.node(writes="answers", guard=Guard(excused, repairs_max=1, escalate="unsafe"))
    async def answer(question: Item[str], *, oracle: Chorus, ctx: Context) -> ModelResponse[Reply]:
        return oracle.attempt(question, ctx)

    process.rules(when("no answers", lambda c: c.answers is None, each(answer, over="questions")), otherwise(finish("done")))

    async def main() -> None:
        chorus = Chorus()
        async with place.open(process, resources={"oracle": chorus}) as engine:
            case = (await engine.start(process, Round(questions=("a", "hopeless", "b")))).case
            await engine.idle()

            answers = (await engine.state(case, Round)).answers
            assert answers is not None
            assert answers[0] == Reply(text="sorry, a")
            assert isinstance(answers[1], Unsafe)
            assert answers[2] == Reply(text="sorry, b")
            assert sorted(chorus.asked) == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("hopeless", 0), ("hopeless", 1)]
            assert [usage.answers for usage in await engine.reader.usage_of_case(case)] == [6]

    run(main())


def excused(answers: Reply) -> str | None:
    return polite(answers)


def test_branches_side_by_side_are_repaired_too(place: Place) -> None:
    process = Process("pair", Pair)

    def says_sorry(first: Reply) -> str | None:
        return polite(first)

    @process.node(writes="first", guard=Guard(says_sorry))
    async def one(questions: tuple[str, ...], *, oracle: Chorus, ctx: Context) -> ModelResponse[Reply]:
        return oracle.attempt(questions[0], ctx)

    @process.node(writes="second")
    async def two(questions: tuple[str, ...], *, oracle: Chorus, ctx: Context) -> ModelResponse[Reply]:
        return oracle.attempt(questions[1], ctx)

    process.rules(when("unanswered", lambda c: c.first is None or c.second is None, parallel(one, two)), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(process, resources={"oracle": Chorus()}) as engine:
            case = (await engine.start(process, Pair(questions=("a", "b")))).case
            await engine.idle()

            state = await engine.state(case, Pair)
            assert (state.first, state.second) == (Reply(text="sorry, a"), Reply(text="b"))
            assert [usage.answers for usage in await engine.reader.usage_of_case(case)] == [3]

    run(main())


# Budgets.


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (Budget(case_cost=Decimal("0.004")), "the budget of the case is spent: 0.004 of 0.004"),
        (Budget(case_tokens=30), "the budget of the case is spent: 30 of 30 tokens"),
        (Budget(tenant_day_cost=Decimal("0.003")), "the budget of tenant 'acme' today is spent: 0.004 of 0.003"),
        (Budget(day_tokens=20), "the budget of the process today is spent: 30 of 20 tokens"),
    ],
)
def test_a_spent_budget_refuses_before_the_call(place: Place, budget: Budget, told: str) -> None:
    async def main() -> None:
        oracle = Oracle("no", "no", "sorry")
        async with place.open(process, resources={"oracle": oracle}, clock=ManualClock(1_000.0)) as engine:
            case = (await engine.start(process, Mail(message="hi"), tenant="acme")).case
            await engine.idle()

            row = await engine.case(case)
            assert row.status is Status.PARKED
            assert row.reason is not None
            assert row.reason.startswith(f"'draft' was not called: {told}")
            assert len(oracle.asked) == 2

    process = desk(Guard(polite, repairs_max=5), budget=budget)
    run(main())


def test_a_spent_budget_leaves_the_models_that_cost_nothing(place: Place) -> None:
    async def main() -> None:
        oracle = Oracle("no", "sorry", "sorry again")
        async with place.open(process, resources={"oracle": oracle}, clock=ManualClock(1_000.0)) as engine:
            assert (await drafted(engine, process)).reply == Reply(text="sorry")
            assert (await drafted(engine, process)).reply == Reply(text="sorry again")
            assert [ctx.model for ctx in oracle.asked] == [0, 2, 2]

    process = desk(Guard(polite, models=3, free_models=1), budget=Budget(day_tokens=15))
    run(main())


def test_a_budget_of_a_day_is_open_again_on_the_next(place: Place) -> None:
    async def main() -> None:
        clock = ManualClock(1_000.0)
        oracle = Oracle("sorry", "sorry")
        async with place.open(process, resources={"oracle": oracle}, clock=clock) as engine:
            assert isinstance((await drafted(engine, process)).reply, Reply)
            clock.advance(86_400.0)
            assert isinstance((await drafted(engine, process)).reply, Reply)
            reply = (await drafted(engine, process)).reply
            assert isinstance(reply, Failure)
            assert reply.error == "BudgetSpent"
            days = await engine.reader.usage_of_days("desk", 0, 10)
            assert [(row.day, row.answers) for row in days] == [(0, 1), (1, 1)]

    process = desk(Guard(polite), budget=Budget(day_tokens=15), on_failure="record")
    run(main())


@pytest.mark.parametrize("broken", [lambda: Budget(day_cost=Decimal(0)), lambda: Budget(case_tokens=-1), lambda: Budget(day_cost=0.5)])  # type: ignore[arg-type]
def test_a_budget_must_be_above_nothing(broken: Callable[[], Budget]) -> None:
    with pytest.raises(Exception, match="must be"):
        broken()


# Crashes: an answer that was committed is never asked for again, and what it used is counted once.


class Paid(Oracle):
    """A model that outlives the engines: it answers by what it is shown, and counts."""

    def attempt(self, ctx: Context) -> ModelResponse[Reply]:
        self.asked.append(ctx)
        text = "sorry" if ctx.model and len(ctx.violations) == 1 else "no"
        return ModelResponse(Reply(text=text), f"m{ctx.model}", text, Usage(input_tokens=10, cost=Decimal("0.1")))


def test_a_kill_at_any_step_costs_at_most_one_answer_and_counts_none_twice() -> None:
    process = desk(Guard(polite, repairs_max=1, models=2), retry=Retry(attempts_max=3, first_seconds=0.0))

    def live(crash_before: int) -> tuple[Paid, World]:
        oracle = Paid()
        world = World(process, resources={"oracle": oracle}, crash_before=crash_before)
        world.run(lambda: world.start(process, {"message": "hi"}))
        return oracle, world

    quiet, told = live(0)
    assert len(quiet.asked) == 4

    for point in range(1, told.steps + 1):
        oracle, world = live(point)

        counted = [json.loads(event.facts)["used"]["input_tokens"] for event in world.events(1) if "used" in event.facts]
        assert world.state(1)["reply"] == {"text": "sorry"}, point
        assert len(counted) == 4, point
        assert len(oracle.asked) - len(counted) in {0, 1}, point
        assert [(row.model, row.answers, row.cost) for row in world.usage(1)] == [("m0", 2, 200_000_000), ("m1", 2, 200_000_000)], point
