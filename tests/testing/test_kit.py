"""The kit for authors: worlds in virtual time, and a crash before every step."""

import asyncio
from typing import Any

import pytest

from pointsman import (
    ABSENT,
    AnswerInvalid,
    AtLeastOnce,
    AtMostOnce,
    Context,
    DefinitionError,
    Found,
    Idempotent,
    NotSent,
    Peek,
    Process,
    Reconcile,
    Retry,
    Safety,
    State,
    Status,
    compensate,
    finish,
    otherwise,
    parallel,
    park,
    remind,
    when,
)
from pointsman.testing import Script, World, after, crash_everywhere


class Letter(State):
    text: str
    reply: str | None = None
    checked: str | None = None
    approval: str | None = None
    receipt: str | None = None


class Post:
    """A post office that knows keys."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}
        self.posted: list[str] = []

    async def post(self, key: str, reply: str) -> str:
        await asyncio.sleep(0.1)
        if key not in self.letters:
            self.letters[key] = reply
            self.posted.append(reply)
        return f"receipt for {reply}"


async def look_up(reply: str, *, office: Post, ctx: Context) -> Any:
    return Found(f"receipt for {reply}") if ctx.key in office.letters else ABSENT


async def look_away(reply: str, *, office: Post, ctx: Context) -> Any:
    return ABSENT


def answering(safety: Safety, *, deadline: str = "2d") -> Process[Letter]:
    process = Process("answering", Letter)

    @process.node(writes="reply")
    def draft(text: str) -> str:
        return f"re: {text}"

    @process.node(writes="checked", retry=Retry(first_seconds=60.0))
    async def check(text: str) -> str:
        await asyncio.sleep(1.0)
        return "fine"

    approve = process.pause(writes="approval", answer=str, shows=("reply",), deadline=deadline, ladder=[remind("4h"), park()])

    @process.effect(writes="receipt", safety=safety)
    async def send(reply: str, *, office: Post, ctx: Context) -> str:
        return await office.post(ctx.key, reply)

    process.accept(str, writes="text", correlate=lambda m: "one")
    process.rules(
        when("nothing yet", lambda c: c.reply is None or c.checked is None, parallel(draft, check)),
        when("not approved", lambda c: c.approval is None, approve),
        when("not sent", lambda c: c.receipt is None, send),
        otherwise(finish("sent")),
    )
    return process


POLICIES = [Idempotent(), Reconcile(look_up, 60.0), AtMostOnce(), AtLeastOnce("it is a test")]


@pytest.mark.parametrize("safety", POLICIES, ids=lambda safety: type(safety).__name__)
def test_a_kill_before_any_step_leaves_the_same_end(safety: Safety, capsys: pytest.CaptureFixture[str]) -> None:
    report = crash_everywhere(
        answering(safety), {"text": "hello"}, resources=lambda: {"office": Post()}, people={"approval": "yes"}
    )  # fmt: skip

    with capsys.disabled():
        print(f"\n{type(safety).__name__}: {report}")
    assert report.crashes == report.points > 50
    assert [end["outcome"] for end in report.ends] == ["sent"]


def test_a_story_may_send_messages_between_the_crashes() -> None:
    process = answering(Idempotent())

    async def story(world: World) -> None:
        case = await world.start(process, {"text": "first"}, correlation="one")
        await world.send(process, "second")
        await world.wait_until_resting()
        assert world.case(case).outcome == "sent"

    report = crash_everywhere(process, story, resources=lambda: {"office": Post()}, people={"approval": "yes"})

    assert [end["state"]["text"] for end in report.ends] == ["second"]


class Order(State):
    text: str
    answer: str | None = None
    noted_at: float | None = None


def ordering() -> Process[Order]:
    """A letter that a case of its own answers, and the time at which the answer was there."""
    process = Process("ordering", Order)
    letter = process.child(answering(Idempotent()), inputs_of_letter, writes="answer", result="receipt")

    @process.node(writes="noted_at")
    async def note(answer: str, *, ctx: Context) -> float:
        return ctx.now

    process.rules(
        when("unanswered", lambda c: c.answer is None, letter),
        when("not noted", lambda c: c.noted_at is None, note),
        otherwise(finish("answered")),
    )
    return process


def inputs_of_letter(text: str) -> dict[str, Any]:
    return {"text": text}


def test_the_processes_of_children_are_run_with_their_parent() -> None:
    office = {"resources": lambda: {"office": Post()}, "people": {"approval": "yes"}}

    report = crash_everywhere(ordering(), {"text": "hello"}, ignore={"noted_at"}, **office)

    assert [(end["process"], end["outcome"]) for end in report.ends] == [("answering", "sent"), ("ordering", "answered")]
    assert "noted_at" not in report.ends[1]["state"]
    with pytest.raises(AssertionError, match="noted_at"):
        crash_everywhere(ordering(), {"text": "hello"}, **office)


def test_one_point_can_be_repeated() -> None:
    report = crash_everywhere(
        answering(Idempotent()), {"text": "hello"}, resources={"office": Post()}, people={"approval": "yes"}, only=[7]
    )

    assert (report.crashes, report.points > 50) == (1, True)


class Twice(State):
    text: str
    first: str | None = None
    second: str | None = None


def draft(text: str, revision: int | None) -> str:
    return f"{text}, revision {revision or 0}"


def revise(approval: Peek[str]) -> int:
    return 1


def asking_twice() -> Process[Twice]:
    process = Process("asking-twice", Twice)
    first = process.pause(writes="first", answer=str, shows=("text",))
    second = process.pause(writes="second", answer=str, shows=("text", "first"))
    process.rules(
        when("first", lambda c: c.first is None, first),
        when("second", lambda c: c.second is None, second),
        otherwise(finish("answered")),
    )
    return process


def test_each_of_two_pauses_has_a_token_of_its_own_whatever_crashes() -> None:
    report = crash_everywhere(asking_twice(), {"text": "hello"}, people={"first": "yes", "second": "no"})

    assert [(end["state"]["first"], end["state"]["second"]) for end in report.ends] == [("yes", "no")]


class Revised(State):
    text: str
    revision: int | None = None
    reply: str | None = None
    approval: str | None = None


def test_a_pause_that_is_asked_twice_takes_both_answers_whatever_crashes() -> None:
    process = Process("revised", Revised)
    write, rewrite = process.node(draft, writes="reply"), process.node(revise, writes="revision")
    approve = process.pause(writes="approval", answer=str, shows=("reply",))
    process.rules(
        when("no reply", lambda c: c.reply is None, write),
        when("not approved", lambda c: c.approval is None, approve),
        when("once more", lambda c: c.approval == "once more", rewrite),
        otherwise(finish("approved")),
    )

    def answer(pending: Any) -> str:
        return "once more" if pending.shown["reply"] == "hello, revision 0" else "fine"

    report = crash_everywhere(process, {"text": "hello"}, people={"approval": answer})

    assert [(end["state"]["reply"], end["state"]["approval"]) for end in report.ends] == [("hello, revision 1", "fine")]


def test_a_look_up_that_looks_away_is_found_out() -> None:
    class Forgetful(Post):
        async def post(self, key: str, reply: str) -> str:
            self.posted.append(reply)
            return f"receipt for {reply}"

    with pytest.raises(AssertionError, match=r"only=\[\d+\] repeats it\): send.* was done 2 times instead of 1"):
        crash_everywhere(
            answering(Reconcile(look_away, 60.0)), {"text": "hello"}, resources=lambda: {"office": Forgetful()}, people={"approval": "yes"}
        )  # fmt: skip


def test_a_step_that_remembers_outside_its_fields_is_found_out() -> None:
    class Counted(State):
        text: str
        number: int | None = None

    process = Process("counted", Counted)

    @process.node(writes="number")
    async def count(text: str, *, counter: list[int]) -> int:
        counter.append(1)
        return len(counter)

    process.rules(when("no number", lambda c: c.number is None, count), otherwise(finish("done")))

    with pytest.raises(AssertionError, match=r"state is .*'number': 2.* instead of"):
        crash_everywhere(process, {"text": "x"}, resources=lambda: {"counter": []})


def test_time_is_skipped_up_to_an_answer_that_takes_its_time() -> None:
    process = answering(Idempotent())
    world = World(process, resources={"office": Post()}, people={"approval": after("1d", "yes")})

    case = world.run(lambda: world.start(process, {"text": "x"}))

    kinds = [event.kind for event in world.events(case)]
    assert "reminded" in kinds
    assert world.case(case).outcome == "sent"
    assert world.case(case).updated_at - world.case(case).created_at >= 86_400


def test_time_is_skipped_up_to_a_deadline_that_nobody_meets() -> None:
    process = answering(Idempotent())
    world = World(process, resources={"office": Post()})

    case = world.run(lambda: world.start(process, {"text": "x"}))

    assert world.case(case).status is Status.PARKED
    assert world.case(case).reason == "nobody answered in time"


def test_a_person_may_look_at_what_is_shown() -> None:
    process = answering(Idempotent())
    world = World(process, resources={"office": Post()}, people={"approval": lambda pending: pending.shown["reply"].upper()})

    case = world.run(lambda: world.start(process, {"text": "x"}))

    assert world.state(case)["approval"] == "RE: X"


def test_a_scripted_answer_that_does_not_fit_ends_the_run() -> None:
    process = answering(Idempotent())
    world = World(process, resources={"office": Post()}, people={"approval": 7})

    with pytest.raises(AnswerInvalid, match="does not fit str"):
        world.run(lambda: world.start(process, {"text": "x"}))


def test_a_script_answers_in_order_and_raises_what_is_an_exception() -> None:
    class Asked(State):
        text: str
        answer: str | None = None

    process = Process("asked", Asked)

    @process.node(writes="answer", retry=Retry(attempts_max=3, first_seconds=5))
    async def ask(text: str, *, model: Script) -> str:
        return str(await model.ask(text))

    process.rules(when("no answer", lambda c: c.answer is None, ask), otherwise(finish("done")))
    model = Script(NotSent("busy"), OSError("gone"), "forty-two")
    world = World(process, resources={"model": model})

    case = world.run(lambda: world.start(process, {"text": "?"}))

    assert world.state(case)["answer"] == "forty-two"
    assert [arguments for arguments, _ in model.asked] == [("?",)] * 3


def test_the_same_seed_is_the_same_life() -> None:
    def live() -> list[tuple[str, float]]:
        process = answering(Idempotent())
        world = World(process, resources={"office": Post()}, people={"approval": "yes"}, seed=7)
        case = world.run(lambda: world.start(process, {"text": "x"}))
        return [(event.kind, event.at) for event in world.events(case)]

    assert live() == live()


def test_the_fixtures_are_there(pointsman_world: Any, request: pytest.FixtureRequest) -> None:
    assert pointsman_world is World
    assert request.getfixturevalue("crash_everywhere") is crash_everywhere


class Booking(State):
    where: str
    hotel: str | None = None


def test_compensations_are_called_once_whatever_crashes() -> None:
    process = Process("booking", Booking)

    @process.compensation(safety=AtMostOnce())
    async def cancel(hotel: str) -> None:
        await asyncio.sleep(0.1)

    @process.effect(writes="hotel", safety=AtMostOnce(), undo=cancel)
    async def book(where: str) -> str:
        await asyncio.sleep(0.1)
        return f"hotel in {where}"

    process.rules(when("no hotel", lambda c: c.hotel is None, book), otherwise(compensate("called off")))

    report = crash_everywhere(process, {"where": "Rome"})

    assert [end["outcome"] for end in report.ends] == ["called off"]
    assert sorted(report.calls.values()) == [1, 1]


def test_an_engine_that_cannot_open_says_why() -> None:
    process = Process("asks", Asking)

    @process.node(writes="answer")
    async def ask(question: str, *, oracle: str) -> str:
        raise NotImplementedError

    process.rules(when("unanswered", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    world = World(process, resources={"oracle": 7})

    with pytest.raises(DefinitionError, match="resource 'oracle' is a int, but it asks for str"):
        world.run(lambda: world.start(process, {"question": "why?"}))


class Asking(State):
    question: str
    answer: str | None = None
