"""Guards at the edges: responses that no store can hold, that come late or that no check can judge; changed guards; budgets in a race."""

import asyncio
import threading
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from oracles import ONCE, Mail, Oracle, Reply, desk, drafted, facts, polite
from places import HANG_SECONDS, Place, run, seen
from pydantic import ValidationError

from pointsman import (
    Budget,
    Context,
    DefinitionError,
    Failure,
    Guard,
    Item,
    Limit,
    ModelResponse,
    Process,
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
    quorum,
    when,
)
from pointsman.testing.clock import ManualClock

UNHOLDABLE = "half a pair \ud83d, and a NUL \0"
TOLD = "half a pair ?, and a NUL \ufffd"


def test_a_response_that_no_store_can_hold_is_stored_without_that_part(place: Place) -> None:
    class Broken(Oracle):
        def attempt(self, ctx: Context) -> ModelResponse[Reply]:
            return ModelResponse(
                Reply(text="no"), "m\ud83d", UNHOLDABLE, Usage(input_tokens=1), (Violation(check="schema", message="a NUL \0"),)
            )

    async def main() -> None:
        async with place.open(process, resources={"oracle": Broken()}) as engine:
            reply = (await drafted(engine, process)).reply

            assert reply == Unsafe[Reply](value=Reply(text="no"), violations=(Violation(check="schema", message="a NUL \ufffd"),), raw=TOLD)
            assert [row[:2] for row in await engine.reader.usage_of_case(1)] == [("m?", 2)]

    process = desk(Guard(repairs_max=1, escalate="unsafe"))
    run(main())


def test_a_violation_may_contain_text_that_no_store_can_hold(place: Place) -> None:
    def quoting(reply: Reply) -> str | None:
        return None if "sorry" in reply.text else UNHOLDABLE

    async def main() -> None:
        oracle = Oracle("no", "sorry")
        async with place.open(process, resources={"oracle": oracle}) as engine:
            assert (await drafted(engine, process)).reply == Reply(text="sorry")
            assert oracle.asked[1].violations == (Violation(check="quoting", message=TOLD),)

    process = desk(Guard(quoting))
    run(main())


class Toned(State):
    message: str
    reply: str | None = None
    tone: str | None = None


def test_a_node_is_not_asked_while_its_checks_cannot_judge(place: Place) -> None:
    process = Process("toned", Toned)
    asked: list[str] = []

    def in_tone(reply: str, tone: str) -> str | None:
        return None if tone in reply else f"it is not {tone}"

    @process.node(writes="reply", guard=Guard(in_tone))
    async def answer(message: str) -> ModelResponse[str]:
        asked.append(message)
        return ModelResponse(message, "m")

    @process.node(writes="tone")
    def choose(message: str) -> str:
        return "warm"

    process.rules(
        when("no reply", lambda c: c.reply is None, answer), when("no tone", lambda c: c.tone is None, choose), otherwise(finish("done"))
    )

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start(process, Toned(message="hi"))).case
            await engine.idle()

            assert "'answer', which needs field 'tone'" in ((await engine.case(case)).reason or "")
            assert not asked

    run(main())


@pytest.mark.parametrize("usage", [{"input_tokens": 2**63}, {"output_tokens": 10**30}, {"cost": Decimal(10**10)}])
def test_a_count_that_no_store_can_hold_is_refused_where_it_is_made(usage: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="less than or equal"):
        Usage(**usage)


class Both(State):
    message: str
    left: str | None = None
    right: str | None = None


def test_an_answer_that_does_not_come_apart_is_paid_for_once(place: Place) -> None:
    process = Process("both", Both)
    asked: list[int] = []

    @process.node(writes=("left", "right"), retry=Retry(attempts_max=3, first_seconds=0.0))
    async def write(message: str) -> ModelResponse[tuple[str, str]]:
        asked.append(1)
        return ModelResponse(("left",), "m", usage=Usage(input_tokens=1))  # type: ignore[arg-type]

    process.rules(when("nothing", lambda c: c.left is None, write), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start(process, Both(message="hi"))).case
            await engine.idle()

            assert "must return a tuple of 2" in ((await engine.case(case)).reason or "")
            assert len(asked) == 1
            assert [row.answers for row in await engine.reader.usage_of_case(case)] == [1]

    run(main())


def test_an_error_in_a_declaration_is_not_tried_again(place: Place) -> None:
    async def main() -> None:
        oracle = Oracle(DefinitionError("Draft: a strict schema cannot say what it may hold."), "sorry")
        async with place.open(process, resources={"oracle": oracle}) as engine:
            await drafted(engine, process)

            assert (await engine.case(1)).status is Status.PARKED
            assert len(oracle.asked) == 1

    process = desk(Guard(polite), retry=Retry(attempts_max=5))
    run(main())


def test_a_guard_that_has_fewer_models_than_it_had_begins_afresh(place: Place) -> None:
    """A progress at a model that the guard no longer has is ignored."""

    async def main() -> None:
        first, second = Oracle("no", RuntimeError("later")), Oracle("sorry")
        async with place.open(wide, resources={"oracle": first}, clock=ManualClock(1_000.0)) as engine:
            await engine.start(wide, Mail(message="hi"))
            await engine.idle(horizon_seconds=1.0)
        assert [ctx.model for ctx in first.asked] == [0, 1]
        async with place.open(narrow, resources={"oracle": second}, clock=ManualClock(2_000.0)) as engine:
            await engine.idle()

            assert [ctx.model for ctx in second.asked] == [0]

    retry = Retry(attempts_max=2, first_seconds=60.0)
    wide, narrow = desk(Guard(polite, repairs_max=0, models=2), retry=retry), desk(Guard(polite, repairs_max=0), retry=retry)
    run(main())


def test_the_progress_of_a_guard_is_deleted_after_its_last_model(place: Place) -> None:
    async def main() -> None:
        async with place.open(process, resources={"oracle": Oracle("no", "no")}) as engine:
            await drafted(engine, process)

            assert (await engine.case(1)).status is Status.PARKED
            assert await engine.reader.branches(1) == ()

    process = desk(Guard(polite, repairs_max=1))
    run(main())


# Late answers.


class Slow:
    """A client that blocks its thread until it is released."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()

    def ask(self) -> ModelResponse[str]:
        self.goes_on.wait(HANG_SECONDS)
        return ModelResponse("late", "m", "late", Usage(input_tokens=7))


class Race(State):
    message: str
    fast: str | Failure | None = None
    slow: str | Failure | None = None


@pytest.mark.parametrize("side_by_side", [True, False], ids=["a branch", "a node"])
def test_an_answer_of_a_thread_that_was_given_up_is_paid_for_too(place: Place, side_by_side: bool) -> None:
    process = Process("race", Race)

    @process.node(writes="fast")
    async def hurry(message: str) -> str:
        return message

    @process.node(writes="slow", timeout_seconds=0.01, retry=ONCE, on_failure="record")
    def dawdle(message: str, *, client: Slow) -> ModelResponse[str]:
        return client.ask()

    step: Any = parallel(hurry, dawdle) if side_by_side else dawdle
    process.rules(
        when("nothing", lambda c: c.slow is None, step), when("not fast", lambda c: c.fast is None, hurry), otherwise(finish("done"))
    )

    async def main() -> None:
        client = Slow()
        async with place.open(process, resources={"client": client}) as engine:
            case = (await engine.start(process, Race(message="hi"))).case
            await engine.idle()
            client.goes_on.set()
            told = await seen(engine, "node.late")

            [late] = facts([told], "node.late")
            assert (late["used"]["input_tokens"], late["raw"]) == (7, "late")
            assert [row.input_tokens for row in await engine.reader.usage_of_case(case)] == [7]

    run(main())


def test_an_answer_of_a_branch_that_is_no_longer_needed_is_paid_for_too(place: Place) -> None:
    process = Process("race", Race)

    @process.node(writes="fast")
    async def hurry(message: str) -> str:
        await asyncio.sleep(0)
        return message

    @process.node(writes="slow")
    async def dawdle(message: str) -> ModelResponse[str]:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return ModelResponse("late", "m", "late", Usage(input_tokens=7))

    step = parallel(hurry, dawdle, failures=quorum(1))
    process.rules(when("nothing", lambda c: c.fast is None, step), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start(process, Race(message="hi"))).case
            await engine.idle()

            assert [told["raw"] for told in facts(await engine.reader.events(case=case), "node.late")] == ["late"]
            assert [row.input_tokens for row in await engine.reader.usage_of_case(case)] == [7]

    run(main())


class Letter(State):
    message: str
    reply: str | None = None


@pytest.mark.parametrize("passes", [True, False])
def test_a_response_for_rewritten_fields_is_dropped_and_its_usage_counts(place: Place, passes: bool) -> None:
    """And what its guard had against it is not held against the answer to the new mail."""
    process = Process("letters", Letter)
    process.accept(str, writes="message", correlate=lambda _: "ann", name="mail")
    asked: list[tuple[str, int]] = []
    begun, sent = asyncio.Event(), asyncio.Event()

    def sorry(reply: str, message: str) -> str | None:
        return None if passes or message == "second" else "it does not say sorry"

    @process.node(writes="reply", guard=Guard(sorry))
    async def answer(message: str, *, ctx: Context) -> ModelResponse[str]:
        asked.append((message, len(ctx.violations)))
        begun.set()
        if message == "first":
            await sent.wait()
        return ModelResponse(f"to {message}", "m", usage=Usage(input_tokens=1))

    process.rules(when("no reply", lambda c: c.reply is None, answer), otherwise(finish("answered")))

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start(process, Letter(message="first"), correlation="ann")).case
            await begun.wait()
            await engine.send(process, "second", name="mail")
            sent.set()
            await engine.idle()

            assert (await engine.state(case, Letter)).reply == "to second"
            assert asked == [("first", 0), ("second", 0)]
            assert [row.answers for row in await engine.reader.usage_of_case(case)] == [2]

    run(main())


# Budgets.


class Round(State):
    questions: tuple[str, ...]
    answers: list[Reply | Failure] | None = None


@pytest.mark.parametrize(
    ("limit", "at_once"), [(None, 1), (Limit("model", concurrency=1), 10)], ids=["one after the other", "waiting for a permit"]
)
def test_a_branch_that_has_waited_is_checked_against_the_present_usage(place: Place, limit: Limit | None, at_once: int) -> None:
    process = Process("round", Round, budget=Budget(case_tokens=20))
    asked: list[str] = []

    @process.node(writes="answers", limit=limit, retry=ONCE)
    async def answer(question: Item[str]) -> ModelResponse[Reply]:
        asked.append(question)
        return ModelResponse(Reply(text=question), "m", usage=Usage(input_tokens=10))

    process.rules(
        when("no answers", lambda c: c.answers is None, each(answer, over="questions", failures="record", concurrency=at_once)),
        otherwise(finish("done")),
    )

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start(process, Round(questions=tuple("abcdef")))).case
            await engine.idle()

            assert len(asked) == 2
            assert [row.input_tokens for row in await engine.reader.usage_of_case(case)] == [20]

    run(main())
