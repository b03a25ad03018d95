"""Logs: an item that a step adds stays and is added once, whatever is rewritten, late, answered or killed."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from places import Place, run
from pydantic import BaseModel, Field, create_model

from pointsman import (
    ABSENT,
    AtMostOnce,
    Context,
    DefinitionError,
    Engine,
    Failure,
    Found,
    Guard,
    Idempotent,
    Item,
    Log,
    Peek,
    Process,
    Reconcile,
    Rejected,
    Safety,
    State,
    Status,
    finish,
    otherwise,
    parallel,
    when,
)
from pointsman.testing import World, crash_everywhere


class Mail(BaseModel):
    id: str
    text: str


class Sent(BaseModel):
    mail: str
    reply: str


class Case(State):
    mail: Mail
    receipt: str | None = None
    sent: Log[Sent] = Field(default_factory=list)
    answer: str | None = None


class Line:
    """The world outside: what was sent, a gate that holds a call, and what ends one."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()
        self.posted: dict[str, Sent] = {}
        self.error: Exception | None = None

    async def post(self, key: str, sent: Sent) -> None:
        self.called.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.posted.setdefault(key, sent)


async def look_up(mail: Mail, *, line: Line, ctx: Context) -> Any:
    return Found(("receipt " + mail.id, line.posted[ctx.key])) if ctx.key in line.posted else ABSENT


def corresponding(safety: Safety, *, until: int = 1) -> Process[Case]:
    """Each mail is answered, except those that ask for a person; the case ends when so many answers are sent."""
    process = Process("corresponding", Case)

    @process.effect(writes=("receipt", "sent"), safety=safety, timeout_seconds=30)
    async def send(mail: Mail, *, line: Line, ctx: Context) -> tuple[str, Sent]:
        sent = Sent(mail=mail.id, reply=f"re: {mail.text}")
        await line.post(ctx.key, sent)
        return f"receipt {mail.id}", sent

    ask = process.pause(writes="answer", answer=str, shows=("mail", "receipt"))
    process.accept(Mail, writes="mail", correlate=lambda m: "one", key=lambda m: f"{m.id} {m.text}")
    process.rules(
        when("it asks for a person", lambda c: c.mail.text == "a person", ask),
        when("not answered", lambda c: c.receipt is None, send),
        when("not all of it", lambda c: len(c.sent) < until, ask),
        otherwise(finish("answered")),
    )
    return process


async def begun(engine: Engine, **mail: str) -> int:
    state = Case(mail=Mail(**{"id": "m1", "text": "hello", **mail}))
    return (await engine.start("corresponding", state, correlation="one")).case


async def sent(engine: Engine, case: int) -> list[str]:
    return [one.mail for one in (await engine.state(case, Case)).sent]


def test_an_item_that_an_effect_added_stays_when_a_newer_mail_clears_its_receipt(place: Place) -> None:
    process = corresponding(Idempotent(), until=3)

    async def main() -> None:
        async with place.open(process, resources={"line": Line()}) as engine:
            case = await begun(engine)
            await engine.wait_until_resting(case)
            await engine.send(process, Mail(id="m2", text="a person"))
            await engine.wait_until_resting(case)

            state = await engine.state(case, Case)
            assert (state.receipt, state.sent) == (None, [Sent(mail="m1", reply="re: hello")])

            await engine.send(process, Mail(id="m3", text="again"))
            await engine.wait_until_resting(case)
            assert await sent(engine, case) == ["m1", "m3"]
            assert (await engine.state(case, Case)).receipt == "receipt m3"

    run(main())


def test_an_item_that_an_effect_adds_stays_when_a_mail_arrives_during_the_call(place: Place) -> None:
    process = corresponding(Idempotent(), until=2)

    async def main() -> None:
        line = Line()
        line.gate.clear()
        async with place.open(process, resources={"line": line}) as engine:
            case = await begun(engine)
            await line.called.wait()
            await engine.send(process, Mail(id="m2", text="one more thing"))
            line.gate.set()
            row = await engine.wait_until_resting(case)

            assert row.outcome == "answered"
            assert await sent(engine, case) == ["m1", "m2"]
            dropped = [event for event in await engine.reader.events(case=case) if event.kind == "result.dropped"]
            assert [event.facts for event in dropped] == ['{"fields":["receipt"]}']

    run(main())


def test_an_outcome_that_is_adopted_again_is_not_added_again(place: Place) -> None:
    """The mail comes back to what it was: the same effect under the same key, which has been done."""
    process = corresponding(Idempotent(), until=2)

    async def main() -> None:
        line = Line()
        async with place.open(process, resources={"line": line}) as engine:
            case = await begun(engine)
            await engine.wait_until_resting(case)
            await engine.send(process, Mail(id="m2", text="a person"))
            await engine.wait_until_resting(case)
            await engine.send(process, Mail(id="m1", text="hello"))
            await engine.wait_until_resting(case)

            state = await engine.state(case, Case)
            assert (state.receipt, [one.mail for one in state.sent]) == ("receipt m1", ["m1"])
            assert len(line.posted) == 1

    run(main())


@pytest.mark.parametrize("cancelled", [False, True], ids=["parked", "cancelled"])
def test_an_outcome_that_an_operator_tells_of_is_added_once(place: Place, cancelled: bool) -> None:
    process = corresponding(AtMostOnce())

    async def main() -> None:
        line = Line()
        line.error = ConnectionResetError("reset")
        async with place.open(process, resources={"line": line}) as engine:
            case = await begun(engine)
            assert (await engine.wait_until_resting(case)).status is Status.PARKED
            if cancelled:
                await engine.cancel(case, by="anna", why="withdrawn")
            [entry] = await engine.reader.effects(case)
            outcome = ("receipt m1", Sent(mail="m1", reply="re: hello"))
            await engine.resolve(entry.key, happened=True, outcome=outcome, by="anna", why="the customer has it")
            row = await engine.wait_until_resting(case)

            assert row.outcome == (None if cancelled else "answered")
            assert row.status is (Status.CANCELLED if cancelled else Status.DONE)
            assert await sent(engine, case) == ["m1"]

    run(main())


def test_an_effect_that_only_adds_and_is_chosen_again_under_its_key_parks_the_case(place: Place) -> None:
    class Bare(State):
        text: str
        sent: Log[str] | None = None

    process = Process("bare", Bare)

    @process.effect(writes="sent", safety=AtMostOnce())
    async def send(text: str) -> str:
        return text

    process.rules(when("for ever", lambda c: c.text == "for ever", send), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(process) as engine:
            row = await engine.wait_until_resting((await engine.start(process, Bare(text="for ever"))).case)

            assert row.status is Status.PARKED
            assert "'send' is done already" in (row.reason or "")
            assert (await engine.state(row.id, Bare)).sent == ["for ever"]

    run(main())


@pytest.mark.parametrize("safety", [Idempotent(), Reconcile(look_up, 60.0), AtMostOnce()], ids=lambda one: type(one).__name__)
def test_a_kill_before_any_step_leaves_each_item_once(safety: Safety) -> None:
    process = corresponding(safety, until=2)

    async def story(world: World) -> None:
        await world.start(process, Case(mail=Mail(id="m1", text="hello")), key="one", correlation="one")
        await world.wait_until_resting()
        await world.send(process, Mail(id="m2", text="again"))
        await world.wait_until_resting()

    report = crash_everywhere(process, story, resources=lambda: {"line": Line()})

    [end] = report.ends
    assert [one["mail"] for one in end["state"]["sent"]] == ["m1", "m2"]
    assert report.crashes == report.points > 20


class Trail(State):
    text: str
    seen: Log[str] | None = None
    left: str | None = None
    right: str | None = None
    answers: Log[str] = Field(default_factory=list)
    errors: Log[str | Failure] | None = None


def test_nodes_branches_and_answers_add_too(place: Place) -> None:
    process = Process("trail", Trail)

    @process.node(writes=("left", "seen"))
    async def to_left(text: str) -> tuple[str, str]:
        return text, "left"

    @process.node(writes="right")
    async def to_right(text: str) -> str:
        return text

    def holds(seen: str) -> str | None:
        return None if seen.startswith("x after") else f"{seen} is no item"

    @process.node(writes="seen", guard=Guard(holds))
    def look(text: str, seen: Peek[list[str]]) -> str:
        return f"{text} after {len(seen)}"

    @process.effect(writes="errors", safety=AtMostOnce(), on_failure="record")
    async def refuse(text: str) -> str:
        raise Rejected("no")

    ask = process.pause(writes="answers", answer=str, shows=("text",))
    process.rules(
        when("both", lambda c: c.left is None, parallel(to_left, to_right)),
        when("twice", lambda c: len(c.seen or ()) < 3, look),
        when("two answers", lambda c: len(c.answers) < 2, ask),
        when("no error", lambda c: c.errors is None, refuse),
        otherwise(finish("done")),
    )

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start(process, Trail(text="x"))).case
            for answer in ("one", "two"):
                await engine.wait_until_resting(case)
                await engine.resume((await engine.pending(case)).token, answer, by="anna")
            row = await engine.wait_until_resting(case)

            state = await engine.state(case, Trail)
            assert (row.outcome, state.seen) == ("done", ["left", "x after 1", "x after 2"])
            assert state.answers == ["one", "two"]
            [failure] = state.errors or ()
            assert isinstance(failure, Failure)

    run(main())


def test_an_item_that_does_not_fit_is_refused_and_named(place: Place) -> None:
    class Counts(State):
        text: str
        counts: Log[Annotated[int, Field(gt=0)]] | None = None

    process = Process("counts", Counts)

    @process.node(writes="counts")
    def count(text: str) -> int:
        return len(text)

    process.rules(when("open", lambda c: c.counts is None, count), otherwise(finish("done")))

    async def main() -> str | None:
        async with place.open(process) as engine:
            return (await engine.wait_until_resting((await engine.start(process, Counts(text=""))).case)).reason

    assert "an item of counts: Input should be greater than 0" in (run(main()) or "")


def _whole(text: str) -> list[str]:
    return [text]


def _item(text: str) -> str:
    return text


@pytest.mark.parametrize(
    ("annotation", "function", "told"),
    [
        (Log[str] | None, _whole, "it returns list[str], but an item of the log 'log' takes str"),
        (Log[int] | None, _item, "it returns str, but an item of the log 'log' takes int"),
        (Log[str] | int | None, _item, "it is a Log or something else"),
        (Annotated[Log[str], Field(max_length=3)], _item, "a Log has no bounds of its own"),
    ],
)  # fmt: skip
def test_a_log_that_a_step_cannot_add_to_is_refused_at_definition(annotation: Any, function: Callable[..., Any], told: str) -> None:
    odd = create_model("Odd", __base__=State, text=(str, ...), log=(annotation, None))

    with pytest.raises(DefinitionError) as refused:
        Process("odd", odd).node(function, writes="log")

    assert told in str(refused.value)


def test_each_goes_over_a_log_but_does_not_write_one() -> None:
    class Letters(State):
        texts: Log[str]
        lengths: Log[int] | None = None

    def measure(one: Item[str]) -> int:
        return len(one)

    with pytest.raises(DefinitionError) as refused:
        Process("letters", Letters).node(measure, writes="lengths")

    assert "write `lengths: list[int] | None = None`" in str(refused.value)
