"""Messages: each reaches its case once, and no effect acts on a state computed before it."""

import asyncio
from typing import Any

import pytest
from places import Place, run, seen
from pydantic import BaseModel, ConfigDict, Field

from pointsman import (
    UNKNOWN,
    AtMostOnce,
    Context,
    DefinitionError,
    Engine,
    Found,
    Idempotent,
    Log,
    NotWaiting,
    Process,
    Reconcile,
    Stale,
    State,
    Status,
    finish,
    otherwise,
    park,
    when,
)
from pointsman.errors import InputInvalid, ValueRefused
from pointsman.testing.clock import ManualClock


class Mail(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    thread: str
    text: str
    at: int = 0


class Case(State):
    mail: Mail
    topic: str | None = None
    reply: str | None = None
    approval: str | None = None
    receipt: str | None = None


class Desk:
    """The world of a process: gates that hold its functions, and what was sent."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.line = asyncio.Event()
        self.line.set()
        self.called = asyncio.Event()
        self.sent: list[str] = []

    async def pass_(self) -> None:
        self.begun.set()
        await self.gate.wait()


def answering(while_open: Any = "supersede", *, approves: bool = True, **accepts: Any) -> Process[Case]:
    process = Process("answering", Case)

    @process.node(writes="topic")
    async def classify(mail: Mail, *, desk: Desk) -> str:
        await desk.pass_()
        return f"about {mail.text}"

    @process.node(writes="reply")
    async def draft(mail: Mail, topic: str) -> str:
        return f"re {mail.id}: {topic}"

    approve = process.pause(writes="approval", answer=str, shows=("mail", "reply"), name="approve")

    @process.effect(writes="receipt", safety=Idempotent(), timeout_seconds=30)
    async def send(mail: Mail, reply: str, *, desk: Desk, ctx: Context) -> str:
        desk.called.set()
        await desk.line.wait()
        desk.sent.append(reply)
        return ctx.key

    process.accept(Mail, writes="mail", correlate=lambda m: m.thread, key=lambda m: m.id, while_open=while_open, **accepts)
    rules = [
        when("not classified", lambda c: c.topic is None, classify),
        when("no reply", lambda c: c.reply is None, draft),
        when("not approved", lambda c: approves and c.approval is None, approve),
        when("not sent", lambda c: c.receipt is None, send),
        otherwise(finish("sent")),
    ]
    process.rules(*rules)
    return process


def mail(number: int, text: str = "", thread: str = "t", at: int = 0) -> Mail:
    return Mail(id=f"m{number}", thread=thread, text=text or f"text {number}", at=at)


async def kinds(engine: Engine, case: int) -> list[str]:
    return [event.kind for event in await engine.reader.events(case=case)]


def test_a_message_starts_a_case_and_the_same_one_again_is_a_duplicate(place: Place) -> None:
    async def main() -> None:
        async with place.open(answering(), resources={"desk": Desk()}) as engine:
            first = await engine.send("answering", mail(1))
            again = await engine.send("answering", mail(1))

            assert (first.how, again) == ("started", (first.case, "duplicate"))
            assert (await engine.wait_until_resting(first.case or 0)).status is Status.WAITING

    run(main())


def test_a_second_mail_voids_the_approval_that_was_asked_for_the_first(place: Place) -> None:
    async def main() -> None:
        desk = Desk()
        async with place.open(answering(), resources={"desk": desk}) as engine:
            case = (await engine.send("answering", mail(1))).case or 0
            await engine.wait_until_resting(case)
            old = await engine.pending(case)

            second = await engine.send("answering", mail(2))
            assert second == (case, "delivered")
            with pytest.raises(Stale):
                await engine.resume(old.token, "yes", by="anna")

            new = await engine.pending(case)
            assert new.shown["reply"] == "re m2: about text 2"
            await engine.resume(new.token, "yes", by="anna")
            assert (await engine.wait_until_resting(case)).outcome == "sent"
            assert desk.sent == ["re m2: about text 2"]
            assert "message.received" in await kinds(engine, case)

    run(main())


def test_a_result_is_dropped_and_computed_again_if_its_mail_was_superseded_during_the_step(place: Place) -> None:
    async def main() -> None:
        desk = Desk()
        async with place.open(answering(), resources={"desk": desk}) as engine:
            desk.gate.clear()
            case = (await engine.send("answering", mail(1))).case or 0
            await desk.begun.wait()
            assert (await engine.send("answering", mail(2))) == (case, "delivered")
            desk.gate.set()
            await engine.wait_until_resting(case)

            state = await engine.state(case)
            assert (state.topic, state.reply) == ("about text 2", "re m2: about text 2")
            assert "result.dropped" in await kinds(engine, case)

    run(main())


def test_a_mail_during_the_call_gets_its_own_reply_and_the_sent_reply_stays_in_the_ledger(place: Place) -> None:
    async def main() -> None:
        desk = Desk()
        async with place.open(answering(approves=False), resources={"desk": desk}) as engine:
            desk.line.clear()
            case = (await engine.send("answering", mail(3))).case or 0
            await desk.called.wait()
            await engine.send("answering", mail(4))
            desk.line.set()
            await engine.wait_until_resting(case)

            assert desk.sent == ["re m3: about text 3", "re m4: about text 4"]
            entries = await engine.reader.effects(case)
            assert all(entry.status == "done" for entry in entries)
            assert (await engine.state(case)).receipt in {entry.key for entry in entries}
            assert len(entries) == 2

    run(main())


def test_a_message_that_changes_nothing_that_was_shown_keeps_the_approval(place: Place) -> None:
    """A log that the pause does not show grows; the token stays valid."""

    class Noted(State):
        text: str
        notes: Log[str] = Field(default_factory=list)
        approval: str | None = None

    process = Process("noted", Noted)
    approve = process.pause(writes="approval", answer=str, shows=("text",))
    process.accept(str, writes="notes", correlate=lambda m: m.split(":")[0], while_open="append", starts=False)
    process.rules(when("not approved", lambda c: c.approval is None, approve), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start(process, Noted(text="x"), correlation="a")).case
            token = (await engine.pending(case)).token
            assert await engine.send(process, "a: one") == (case, "delivered")
            assert await engine.send(process, "a: two") == (case, "delivered")
            await engine.idle()

            assert (await engine.pending(case)).token == token
            assert (await engine.state(case)).notes == ["a: one", "a: two"]
            await engine.resume(token, "yes", by="anna")
            assert (await engine.wait_until_resting(case)).outcome == "done"

    run(main())


def test_an_early_message_waits_visibly_and_reaches_the_case_that_starts_with_its_key(place: Place) -> None:
    process = answering(starts=False)

    async def main() -> None:
        async with place.open(process, resources={"desk": Desk()}) as engine:
            assert await engine.send(process, mail(2)) == (None, "unmatched")
            assert [row.key for row in await engine.reader.unmatched()] == ["m2"]

            case = (await engine.start(process, Case(mail=mail(1)), correlation="t")).case
            await engine.idle()

            assert (await engine.state(case)).reply == "re m2: about text 2"
            assert await engine.reader.unmatched() == []

    run(main())


def test_an_early_message_reaches_a_case_that_begins_with_a_pause(place: Place) -> None:
    class Asked(State):
        text: str
        answer: str | None = None

    process = Process("asked", Asked)
    ask = process.pause(writes="answer", answer=str, shows=("text",))
    process.accept(str, writes="text", correlate=lambda m: "a", starts=False)
    process.rules(when("no answer", lambda c: c.answer is None, ask), otherwise(finish("done")))

    async def main() -> None:
        async with place.open(process) as engine:
            await engine.send(process, "newer")
            case = (await engine.start(process, Asked(text="old"), correlation="a")).case
            await engine.idle()

            assert (await engine.pending(case)).shown == {"text": "newer"}

    run(main())


def test_a_held_message_starts_the_next_case_when_the_open_one_has_ended(place: Place) -> None:
    process = answering("hold")

    async def main() -> None:
        async with place.open(process, resources={"desk": Desk()}) as engine:
            first = (await engine.send(process, mail(1))).case or 0
            await engine.wait_until_resting(first)
            assert await engine.send(process, mail(2)) == (first, "held")
            assert (await engine.state(first)).mail.id == "m1"
            await engine.resume((await engine.pending(first)).token, "yes", by="anna")
            await engine.idle()

            [_, second] = await engine.reader.cases()
            assert (await engine.state(second.id)).mail.id == "m2"

    run(main())


def test_a_held_message_is_not_forgotten_when_the_engine_ends_with_its_case(on_disk: Place) -> None:
    process = answering("hold")

    async def main() -> None:
        async with on_disk.open(process, resources={"desk": Desk()}) as engine:
            first = (await engine.send(process, mail(1))).case or 0
            await engine.wait_until_resting(first)
            await engine.send(process, mail(2))
            engine._holds_messages = False  # dies before it can deliver
            await engine.cancel(first, by="anna", why="test")
        async with on_disk.open(process, resources={"desk": Desk()}) as engine:
            await engine.idle()
            assert [row.status for row in await engine.reader.cases()] == [Status.CANCELLED, Status.WAITING]

    run(main())


def test_new_case_makes_each_message_a_case(place: Place) -> None:
    async def main() -> None:
        async with place.open(answering("new_case"), resources={"desk": Desk()}) as engine:
            first, second = await engine.send("answering", mail(1)), await engine.send("answering", mail(2))
            assert (first.how, second.how) == ("started", "started")
            assert first.case != second.case

    run(main())


def test_an_older_message_that_arrives_late_supersedes_nothing(place: Place) -> None:
    async def main() -> None:
        async with place.open(answering(order=lambda m: m.at), resources={"desk": Desk()}) as engine:
            case = (await engine.send("answering", mail(2, at=20))).case or 0
            await engine.wait_until_resting(case)
            token = (await engine.pending(case)).token
            await engine.send("answering", mail(1, at=10))
            await engine.idle()

            assert (await engine.state(case)).mail.id == "m2"
            assert (await engine.pending(case)).token == token

    run(main())


def test_a_message_returns_a_parked_case_to_the_backlog(place: Place) -> None:
    class Checked(State):
        text: str
        verdict: str | None = None

    process = Process("checked", Checked)

    @process.node(writes="verdict")
    async def judge(text: str) -> str:
        return "bad" if "bad" in text else "good"

    process.accept(str, writes="text", correlate=lambda m: "a")
    process.rules(
        when("no verdict", lambda c: c.verdict is None, judge),
        when("bad", lambda c: c.verdict == "bad", park("it is bad")),
        otherwise(finish("good")),
    )

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.send(process, "a bad one")).case or 0
            assert (await engine.wait_until_resting(case)).status is Status.PARKED
            await engine.send(process, "a better one")
            await engine.idle()
            assert (await engine.case(case)).outcome == "good"

    run(main())


def test_a_mail_during_a_call_that_ends_in_doubt_waits_until_the_effect_is_resolved(place: Place) -> None:
    process = Process("doubtful", Case)

    @process.effect(writes="receipt", safety=AtMostOnce())
    async def send(mail: Mail, *, desk: Desk) -> str:
        await desk.pass_()
        if mail.id == "m1":
            raise OSError("the line went dead")
        desk.sent.append(mail.id)
        return mail.id

    process.accept(Mail, writes="mail", correlate=lambda m: m.thread, key=lambda m: m.id)
    for name in ("topic", "reply", "approval"):
        process.node(lambda_of(name), writes=name, name=f"fill {name}")
    process.rules(
        when("a", lambda c: c.topic is None, process.steps["fill topic"]),
        when("b", lambda c: c.reply is None, process.steps["fill reply"]),
        when("c", lambda c: c.approval is None, process.steps["fill approval"]),
        when("not sent", lambda c: c.receipt is None, send),
        otherwise(finish("sent")),
    )

    async def main() -> None:
        desk = Desk()
        async with place.open(process, resources={"desk": desk}) as engine:
            desk.gate.clear()
            case = (await engine.send(process, mail(1))).case or 0
            await desk.begun.wait()
            await engine.send(process, mail(2))
            desk.gate.set()
            row = await engine.wait_until_resting(case)
            assert row.status is Status.PARKED
            [entry] = await engine.reader.effects(case)
            await engine.resolve(entry.key, happened=True, outcome="m1", by="anna", why="it is in the archive")
            await engine.idle()

            assert (await engine.case(case)).outcome == "sent"
            assert desk.sent == ["m2"], "the first mail's letter went out, and the second mail got its own"

    run(main())


class Post:
    """A post office that fails after it took the first letter, so that the effect is in doubt."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def take(self, letter: str) -> None:
        self.sent.append(letter)
        if len(self.sent) == 1:
            raise OSError("the line went dead")


def writing(safety: Any) -> Process[Case]:
    """A process that answers each mail with a letter, and whose effect may be in doubt."""
    process = Process("writing", Case)

    @process.node(writes="reply")
    async def draft(mail: Mail) -> str:
        return f"re {mail.id}"

    @process.effect(writes="receipt", safety=safety)
    async def send(reply: str, *, post: Post) -> str:
        post.take(reply)
        return reply

    process.accept(Mail, writes="mail", correlate=lambda m: m.thread, key=lambda m: m.id)
    process.node(lambda_of("none"), writes=("topic",), name="topic")
    process.node(lambda_of("none"), writes=("approval",), name="approval")
    process.rules(
        when("no reply", lambda c: c.reply is None, draft),
        when("no topic", lambda c: c.topic is None, process.steps["topic"]),
        when("no approval", lambda c: c.approval is None, process.steps["approval"]),
        when("not sent", lambda c: c.receipt is None, send),
        otherwise(finish("sent")),
    )
    return process


@pytest.mark.parametrize("happened", [True, False])
def test_a_message_waits_beside_an_effect_in_doubt_which_stays_as_it_was_sent(place: Place, happened: bool) -> None:
    async def main() -> None:
        post = Post()
        async with place.open(writing(AtMostOnce()), resources={"post": post}) as engine:
            case = (await engine.send("writing", mail(1))).case or 0
            assert (await engine.wait_until_resting(case)).status is Status.PARKED
            await engine.send("writing", mail(2))
            await engine.idle()

            row = await engine.case(case)
            assert (row.status, row.step) == (Status.PARKED, "send")
            assert (await engine.state(case, Case)).reply == "re m1", "nobody could tell any more what was sent"
            assert [waiting.key for waiting in await engine.reader.messages(case)] == ["m2"]
            [entry] = await engine.reader.effects(case)
            await engine.resolve(entry.key, happened=happened, outcome="re m1" if happened else None, by="anna", why="asked")
            await engine.idle()

            assert (await engine.case(case)).outcome == "sent"
            assert post.sent == ["re m1", "re m2"], "the second mail has its answer, and the first letter was not sent again"

    run(main())


@pytest.mark.parametrize("answer", ["found", "unknown"])
def test_an_effect_in_doubt_is_looked_up_before_a_message_is_taken_in(place: Place, answer: str) -> None:
    asked: list[str] = []

    async def look_up(reply: str) -> Any:
        asked.append(reply)
        return Found(reply) if answer == "found" else UNKNOWN

    async def main() -> None:
        post, clock = Post(), ManualClock()
        async with place.open(writing(Reconcile(look_up, propagation_seconds=60.0)), resources={"post": post}, clock=clock) as engine:
            case = (await engine.send("writing", mail(1))).case or 0
            await seen(engine, "effect.in_doubt")
            await engine.send("writing", mail(2))
            while (row := await engine.case(case)).status in {Status.READY, Status.RUNNING}:
                if row.status is Status.READY and row.wake_at is not None:
                    clock.advance(max(0.0, row.wake_at - clock.now()))
                await asyncio.sleep(0)

            assert set(asked) == {"re m1"}
            assert post.sent == (["re m1", "re m2"] if answer == "found" else ["re m1"])
            assert (row.status, (await engine.state(case, Case)).reply) == (
                (Status.DONE, "re m2") if answer == "found" else (Status.PARKED, "re m1")
            )

    run(main())


def test_a_message_that_a_cancelled_case_had_not_taken_in_starts_the_next_case(place: Place) -> None:
    async def main() -> None:
        post = Post()
        async with place.open(writing(AtMostOnce()), resources={"post": post}) as engine:
            case = (await engine.send("writing", mail(1))).case or 0
            await engine.wait_until_resting(case)
            await engine.send("writing", mail(2))
            await engine.idle()
            await engine.cancel(case, by="anna", why="answered by telephone")
            await engine.idle()

            rows = await engine.reader.cases()
            assert [(row.id == case, row.status) for row in rows] == [(True, Status.CANCELLED), (False, Status.DONE)]
            assert post.sent == ["re m1", "re m2"]
            assert (await engine.send("writing", mail(2))).how == "duplicate"

    run(main())


def lambda_of(value: str) -> Any:
    async def fill() -> str:
        return value

    return fill


def test_of_an_answer_and_a_message_at_once_one_wins(place: Place) -> None:
    async def main() -> None:
        desk = Desk()
        async with place.open(answering(), resources={"desk": desk}) as engine:
            for number in range(10):
                first = mail(2 * number, thread=f"t{number}")
                second = mail(2 * number + 1, thread=f"t{number}")
                case = (await engine.send("answering", first)).case or 0
                await engine.wait_until_resting(case)
                token = (await engine.pending(case)).token
                answered, delivered = await asyncio.gather(
                    engine.resume(token, "yes", by="anna"), engine.send("answering", second), return_exceptions=True
                )
                await engine.idle()
                row = await engine.case(case)
                if isinstance(answered, Exception):
                    assert isinstance(answered, Stale | NotWaiting)
                    assert row.status is Status.WAITING
                assert not isinstance(delivered, BaseException)

    run(main())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"while_open": "maybe"}, "while_open"),
        ({"while_open": "append"}, "Log"),
    ],
)
def test_an_impossible_declaration_is_refused(more: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        Process("p", Case).accept(Mail, writes="mail", correlate=lambda m: m.thread, **more)


def test_a_message_of_another_kind_is_refused(place: Place) -> None:
    async def main() -> None:
        async with place.open(answering(), resources={"desk": Desk()}) as engine:
            with pytest.raises(InputInvalid, match="mail"):
                await engine.send("answering", {"id": 1})
            with pytest.raises(InputInvalid, match="letter"):
                await engine.send("answering", mail(1), name="letter")

    run(main())


def test_a_message_that_json_cannot_hold_is_refused(place: Place) -> None:
    async def main() -> None:
        async with place.open(answering(), resources={"desk": Desk()}) as engine:
            with pytest.raises(ValueRefused, match="cannot be held as JSON"):
                await engine.send("answering", {"id": "m1", "thread": "t", "text": "\ud800"})

    run(main())
