"""Pauses: typed answers, taken once, to what was shown; everything else is refused and changes nothing."""

import asyncio
from typing import Any

import pytest
from places import Place, held, run
from pydantic import BaseModel, ConfigDict

from pointsman import (
    AlreadyAnswered,
    AnswerInvalid,
    Engine,
    NotWaiting,
    PointsmanError,
    Process,
    Stale,
    State,
    Status,
    finish,
    otherwise,
    park,
    when,
)
from pointsman.errors import ValueRefused


class Approval(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: str
    score: float = 1.0


class Mail(State):
    message: str
    reply: str | None = None
    checked: str | None = None
    approval: Approval | None = None


class Answered(State):
    message: str
    approval: Approval | None = None
    reply: str | None = None


def approving(shows: tuple[str, ...] = ("reply",), end: Any = None) -> Process[Mail]:
    """A draft is checked and approved; the verdict "again" asks for another approval of what stands then."""
    process = Process("approving", Mail)

    @process.node(writes="reply")
    async def draft(message: str) -> str:
        return f"re: {message}"

    @process.node(writes="checked")
    async def check(reply: str) -> str:
        return f"checked {reply!r}"

    approve = process.pause(name="approve", writes="approval", answer=Approval, shows=shows, edits=("reply",), beside=("checked",))
    process.rules(
        when("no reply", lambda c: c.reply is None, draft),
        when("unchecked", lambda c: c.checked is None, check),
        when("unapproved", lambda c: c.approval is None or c.approval.verdict == "again", approve),
        otherwise(end or finish("approved")),
    )
    return process


async def waiting(engine: Engine, message: str = "hello") -> int:
    case = (await engine.start("approving", {"message": message})).case
    await engine.wait_until_resting(case)
    return case


def test_a_pending_pause_comes_with_the_fields_that_it_shows(place: Place) -> None:
    process = approving()

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await waiting(engine)
            return case, await engine.case(case), await engine.pending(case), held()

    case, row, pending, tasks = run(main())

    assert (row.status, row.step, tasks) == (Status.WAITING, "approve", [])
    assert (pending.case, pending.pause, pending.answer) == (case, "approve", Approval)
    assert pending.shown == {"reply": "re: hello"}
    assert pending.beside == {"checked": "checked 're: hello'"}


def test_an_answer_is_validated_typed_and_drives_the_case_on(place: Place) -> None:
    process = approving()

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await waiting(engine)
            pending = await engine.pending(case)
            await engine.resume(pending.token, {"verdict": "yes", "score": "0.5"}, by="anna")
            return await engine.wait_until_resting(case), await engine.state(case, State)

    row, state = run(main())

    assert (row.status, row.outcome) == (Status.DONE, "approved")
    assert state.approval == Approval(verdict="yes", score=0.5)


REFUSED_ANSWERS: list[tuple[Any, Any, str]] = [
    ({}, None, "verdict"),
    ({"verdict": 5}, None, "verdict"),
    ({"verdict": "yes", "note": "n"}, None, "note"),
    ("yes", None, "Approval"),
    (None, None, "Approval"),
    ({"verdict": "a\0b"}, None, "NUL"),
    ({"verdict": "a\udce9b"}, None, "surrogate"),
    ({"verdict": "yes", "score": float("nan")}, None, "nan"),
    ({"verdict": "yes"}, {"message": "other"}, "'message'"),
    ({"verdict": "yes"}, {"checked": "fine"}, "'checked'"),
    ({"verdict": "yes"}, {"reply": 5}, "reply"),
    ({"verdict": "yes"}, {"reply": "a\0b"}, "reply"),
]


@pytest.mark.parametrize(("answer", "edits", "named"), REFUSED_ANSWERS)
def test_an_answer_that_does_not_fit_is_refused_in_words_and_changes_nothing(place: Place, answer: Any, edits: Any, named: str) -> None:
    process = approving()

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await waiting(engine)
            token = (await engine.pending(case)).token
            before = place.dump()
            with pytest.raises(AnswerInvalid) as raised:
                await engine.resume(token, answer, by="anna", edits=edits)
            after = place.dump()
            await engine.resume(token, {"verdict": "yes"}, by="anna")
            return str(raised.value), before, after, await engine.wait_until_resting(case)

    text, before, after, row = run(main())

    assert named in text
    assert "\n" not in text
    assert before == after
    assert row.outcome == "approved"


def test_an_invalid_answer_to_a_choice_of_types_is_refused_in_words(place: Place) -> None:
    class Choice(State):
        message: str
        answer: Approval | int | None = None

    process = Process("choice", Choice)
    ask = process.pause(writes="answer", answer=Approval | int, shows=("message",))  # type: ignore[arg-type]
    process.rules(when("open", lambda c: c.answer is None, ask), otherwise(finish("answered")))

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            token = (await engine.pending(case)).token
            with pytest.raises(AnswerInvalid, match="Approval"):
                await engine.resume(token, "neither", by="anna")

    run(main())


@pytest.mark.parametrize("concurrency", [1, 64])
def test_of_two_answers_at_once_one_wins_and_the_other_names_the_winner(place: Place, concurrency: int) -> None:
    process = approving()

    async def main() -> Any:
        async with place.open(process, concurrency=concurrency) as engine:
            case = await waiting(engine)
            token = (await engine.pending(case)).token
            answers = [engine.resume(token, {"verdict": by}, by=by) for by in ("anna", "bert")]
            told = await asyncio.gather(*answers, return_exceptions=True)
            await engine.wait_until_resting(case)
            return told, (await engine.state(case, State)).approval.verdict, await engine.reader.events(case=case)

    told, verdict, events = run(main())

    refused = [answer for answer in told if isinstance(answer, AlreadyAnswered)]
    assert len(refused) == 1
    assert (refused[0].by, verdict in str(refused[0])) == (verdict, True)
    assert [event.kind for event in events].count("resumed") == 1


def test_a_second_answer_is_not_sent_on_to_the_next_question(place: Place) -> None:
    class Twice(State):
        text: str
        first: str | None = None
        second: str | None = None

    process = Process("twice", Twice)
    asks = [process.pause(writes=name, answer=str, shows=("text",), name=f"the {name}") for name in ("first", "second")]
    process.rules(
        when("not asked", lambda c: c.first is None, asks[0]),
        when("not asked again", lambda c: c.second is None, asks[1]),
        otherwise(finish("asked")),
    )

    async def main() -> None:
        async with place.open(process) as engine:
            case = (await engine.start(process, Twice(text="?"))).case
            await engine.wait_until_resting(case)
            token = (await engine.pending(case)).token
            await engine.resume(token, "yes", by="anna")
            assert (await engine.pending(case)).pause == "the second"
            with pytest.raises(AlreadyAnswered) as refused:
                await engine.resume(token, "no", by="bert")
            assert refused.value.by == "anna"

    run(main())


@pytest.mark.parametrize("nobody", ["", "  "])
def test_an_answer_without_a_name_is_refused_and_the_pause_stays_open(place: Place, nobody: str) -> None:
    async def main() -> Any:
        async with place.open(approving()) as engine:
            case = await waiting(engine)
            token = (await engine.pending(case)).token
            with pytest.raises(ValueRefused, match="by: it is empty; name who does it"):
                await engine.resume(token, {"verdict": "yes"}, by=nobody)
            with pytest.raises(ValueRefused, match="by: it is empty"):
                await engine.cancel(case, by=nobody, why="no longer wanted")
            return token == (await engine.pending(case)).token

    assert run(main())


def test_a_token_is_used_once_also_after_reopening(place: Place) -> None:
    process = approving()

    async def answer(by: str) -> None:
        async with place.open(process) as engine:
            token = tokens[0] if tokens else (await engine.pending(await waiting(engine))).token
            tokens.append(token)
            await engine.resume(token, {"verdict": "yes"}, by=by)

    tokens: list[str] = []
    run(answer("anna"))

    with pytest.raises(AlreadyAnswered) as raised:
        run(answer("bert"))

    assert raised.value.by == "anna"


def test_an_answer_to_a_rewritten_draft_is_stale_and_returns_the_current_draft(place: Place) -> None:
    process = approving()

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await waiting(engine)
            old = (await engine.pending(case)).token
            await engine.resume(old, {"verdict": "again"}, by="anna", edits={"reply": "edited"})
            await engine.wait_until_resting(case)
            before = place.dump()
            with pytest.raises(Stale) as raised:
                await engine.resume(old, {"verdict": "yes"}, by="bert")
            after = place.dump()
            await engine.resume(raised.value.current.token, {"verdict": "yes"}, by="bert")
            return raised.value.current, before == after, await engine.wait_until_resting(case)

    current, unchanged, row = run(main())

    assert current.shown == {"reply": "edited"}
    assert unchanged
    assert row.outcome == "approved"


def test_an_answer_is_stale_if_the_new_code_shows_something_different(place: Place) -> None:
    old, new = approving(), approving(shows=("message", "reply"))

    async def wait() -> tuple[int, str]:
        async with place.open(old) as engine:
            case = await waiting(engine)
            return case, (await engine.pending(case)).token

    async def answer(case: int, token: str) -> Any:
        async with place.open(new) as engine:
            with pytest.raises(Stale) as raised:
                await engine.resume(token, {"verdict": "yes"}, by="anna")
            current = raised.value.current
            await engine.resume(current.token, {"verdict": "yes"}, by="anna")
            return current.shown, await engine.wait_until_resting(case)

    shown, row = run(answer(*run(wait())))

    assert shown == {"message": "hello", "reply": "re: hello"}
    assert row.outcome == "approved"


def test_an_edit_clears_what_was_computed_from_the_draft_and_keeps_the_approval_given_with_it(place: Place) -> None:
    process = approving()

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await waiting(engine)
            token = (await engine.pending(case)).token
            await engine.resume(token, {"verdict": "yes"}, by="anna", edits={"reply": "edited"})
            row = await engine.wait_until_resting(case)
            return row, await engine.state(case, State), await engine.reader.events(case=case)

    row, state, events = run(main())

    assert (row.outcome, state.reply, state.checked) == ("approved", "edited", "checked 'edited'")
    assert state.approval == Approval(verdict="yes")
    assert [event.facts for event in events if event.kind == "field.cleared"] == ['{"fields":["checked"]}']


def test_an_answer_before_the_case_has_come_to_the_pause_is_too_early(place: Place) -> None:
    process, reached = Process("approving", Answered), asyncio.Event()

    @process.node(writes="reply")
    async def draft(message: str) -> str:
        reached.set()
        await asyncio.Event().wait()
        return message

    ask = process.pause(name="ask", writes="approval", answer=Approval, shows=("reply",))
    process.rules(when("no reply", lambda c: c.reply is None, draft), otherwise(ask))

    async def main() -> str:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await reached.wait()
            with pytest.raises(NotWaiting) as raised:
                await engine.pending(case)
            return str(raised.value)

    text = run(main())

    assert text == "case 1 is not waiting for an answer: it is running at 'draft'."


@pytest.mark.parametrize("end", [finish("approved"), park("for the lead")], ids=["done", "parked"])
def test_an_answer_after_the_pause_is_refused_and_names_who_answered(place: Place, end: Any) -> None:
    process = approving(end=end)

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await waiting(engine)
            token = (await engine.pending(case)).token
            await engine.resume(token, {"verdict": "yes"}, by="anna")
            row = await engine.wait_until_resting(case)
            before = place.dump()
            with pytest.raises(AlreadyAnswered, match="anna"):
                await engine.resume(token, {"verdict": "no"}, by="bert")
            with pytest.raises(NotWaiting, match=str(row.status)):
                await engine.pending(case)
            return before, place.dump()

    before, after = run(main())

    assert before == after


def test_an_answer_to_a_cancelled_case_is_too_late(place: Place) -> None:
    process = approving()

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await waiting(engine)
            token = (await engine.pending(case)).token
            await engine.cancel(case, by="carl", why="the customer withdrew")
            before = place.dump()
            with pytest.raises(NotWaiting) as raised:
                await engine.resume(token, {"verdict": "yes"}, by="anna")
            return str(raised.value), before == place.dump()

    text, unchanged = run(main())

    assert "cancelled" in text
    assert "the customer withdrew" in text
    assert unchanged


@pytest.mark.parametrize("token", ["", "0" * 20, "' OR 1=1 --", "a\0b", "\udce9"])
def test_an_unknown_token_is_refused_in_words(place: Place, token: str) -> None:
    process = approving()

    async def main() -> None:
        async with place.open(process) as engine:
            await waiting(engine)
            with pytest.raises(NotWaiting, match="no pause has this token"):
                await engine.resume(token, {"verdict": "yes"}, by="anna")

    run(main())


def test_a_name_that_json_cannot_hold_is_refused_and_the_pause_stays_open(place: Place) -> None:
    process = approving()

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await waiting(engine)
            token = (await engine.pending(case)).token
            with pytest.raises(PointsmanError):
                await engine.resume(token, {"verdict": "yes"}, by="an\udce9na")
            return await engine.case(case)

    assert run(main()).status is Status.WAITING


def test_a_case_waits_through_a_closed_engine_under_the_same_token(place: Place) -> None:
    process = approving()

    async def wait() -> tuple[int, str]:
        async with place.open(process) as engine:
            case = await waiting(engine)
            return case, (await engine.pending(case)).token

    async def answer(case: int, token: str) -> Any:
        async with place.open(process) as engine:
            await engine.idle()
            same = (await engine.pending(case)).token == token
            await engine.resume(token, {"verdict": "yes"}, by="anna")
            return same, await engine.wait_until_resting(case)

    same, row = run(answer(*run(wait())))

    assert same
    assert row.outcome == "approved"


def test_many_answers_at_once_run_no_more_cases_than_the_concurrency(place: Place) -> None:
    inside: list[int] = []
    most: list[int] = []
    gate = asyncio.Event()
    process = Process("approving", Answered)
    ask = process.pause(writes="approval", answer=Approval, shows=("message",))

    @process.node(writes="reply")
    async def draft(message: str) -> str:
        inside.append(1)
        most.append(len(inside))
        await gate.wait()
        inside.pop()
        return message

    process.rules(
        when("unapproved", lambda c: c.approval is None, ask),
        when("no reply", lambda c: c.reply is None, draft),
        otherwise(finish("approved")),
    )

    async def main() -> Any:
        async with place.open(process, concurrency=2) as engine:
            cases = [await waiting(engine) for _ in range(8)]
            tokens = [(await engine.pending(case)).token for case in cases]
            await asyncio.gather(*(engine.resume(token, {"verdict": "yes"}, by="anna") for token in tokens))
            gate.set()
            await engine.idle()
            return await engine.reader.counts()

    counts = run(main())

    assert max(most) <= 2
    assert counts == {Status.DONE: 8}
