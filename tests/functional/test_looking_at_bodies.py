"""The cases of entrypoints are explained, and checked before a deploy, without calling anything."""

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pointsman import AtMostOnce, Context, Engine, Idempotent, Process, Retry, State, open_reader
from pointsman.cli.listing import ps
from pointsman.cli.looking import show
from pointsman.cli.places import PlaceUnknown, load_process, load_processes
from pointsman.functional import INJECTED, Entrypoint, entrypoint, pause, task
from pointsman.operations.check import Kind, Report, Verdict, check_cases
from pointsman.operations.draw import draw
from pointsman.operations.explain import Explanation, explain_case

CALLED: list[str] = []


@task
def classify_email(text: str) -> str:
    CALLED.append("classify_email")
    return "refund" if "not" in text else "other"


@task
def look_up(order: str) -> dict[str, str]:
    CALLED.append("look_up")
    if order == "broken":
        raise ValueError("no such order")
    return {"order": order}


@task
def count_words(text: str) -> int:
    CALLED.append("count_words")
    return len(text.split())


@task(safety=AtMostOnce())
async def charge(amount: int, *, ctx: Context = INJECTED) -> str:
    CALLED.append("charge")
    if amount < 5:
        return f"charged {amount}"
    raise TimeoutError("the bank does not answer")


def body(change: str = "") -> Entrypoint[str, str]:
    """A body, or another version of it."""

    @entrypoint(name="mails")
    def mails(text: str) -> str:
        kind = classify_email(text + "!" * (change == "arguments")).result()
        if change == "inserted":
            count_words(text).result()
        order = {"order": "A1"} if change == "left out" else look_up("broken" if text == "broken" else "A1").result()
        shown = {"kind": kind, **order, **({"more": "words"} if change == "shows" else {})}
        allowed = pause(shown, answer=bool, name="allow")
        if text == "paid":
            charge(4 if change == "other charge" else 3).result()
            pause("sent?", answer=bool, name="sent")
        return charge(5).result() if allowed else f"a {kind} that nobody allowed"

    return mails


def opened(path: Path, *texts: str, answer: bool | None = None) -> None:
    async def main() -> None:
        process = body().process
        async with Engine.open(path, [process]) as engine:
            for text in texts:
                started = await engine.start(process, {"invocation": {"input": text, "thread": text}})
                await engine.wait_until_resting(started.case)
                if answer is not None:
                    await engine.resume((await engine.pending(started.case)).token, answer, by="ann")
                    await engine.wait_until_resting(started.case)

    asyncio.run(main())
    CALLED.clear()


def explained(path: Path, *, change: str = "") -> Explanation:
    async def main() -> Explanation:
        with open_reader(path) as reader:
            return await explain_case(reader, [body(change).process], 1)

    told = asyncio.run(main())
    assert CALLED == []
    return told


def text_of(told: Explanation) -> str:
    return "\n".join(told.lines(told.case.updated_at))


def test_a_waiting_body_tells_what_it_waits_for_and_which_calls_are_recorded(tmp_path: Path) -> None:
    opened(tmp_path / "cases.db", "not here")

    told = explained(tmp_path / "cases.db")

    text = text_of(told)
    assert [(call.name, call.how) for call in told.calls] == [("classify_email", "returned"), ("look_up", "returned"), ("allow", "open")]
    assert "✓ classify_email returned: refund" in text
    assert '… allow has no outcome yet with {"kind": "refund", "order": "A1"}' in text
    assert "charge: not called yet; it will be called when the body asks for it (AtMostOnce)" in text
    assert "rule" not in text
    assert text.startswith("Case 1 waits at allow, because the body pauses, since ")
    assert told.as_json(0.0)["calls"][0]["value"] == "refund"


def test_a_body_parked_by_a_failure_tells_what_a_redrive_does(tmp_path: Path) -> None:
    opened(tmp_path / "cases.db", "broken")

    told = explained(tmp_path / "cases.db")

    assert "Branches" not in text_of(told)
    assert "! look_up failed: ValueError: no such order" in text_of(told)
    assert text_of(told).startswith("Case 1 is parked at its body, since ")
    assert told.redrive == "a redrive calls look_up again, and repeats no other call"


def test_a_list_of_cases_names_no_step_that_the_author_did_not_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(tmp_path / "cases.db", "broken")

    ps(db=str(tmp_path / "cases.db"))
    show(1, db=str(tmp_path / "cases.db"))

    listed, shown = capsys.readouterr().out.split("case 1 of", 1)
    assert re.search(r"\bits tasks\b", listed)
    assert not re.search(r"\b(?<!its )tasks\b", listed)
    assert shown.startswith(" mails (version 1): parked, ")


def test_a_call_of_a_body_in_doubt_is_told_with_its_key(tmp_path: Path) -> None:
    opened(tmp_path / "cases.db", "not here", answer=True)

    told = explained(tmp_path / "cases.db")

    assert told.calls[-1][:4] == ("charge", told.calls[-1].call, "effect", "open")
    assert "in doubt" in told.effects["charge"]
    assert told.history.effects[0].key in told.effects["charge"]


def checked(path: Path, change: str) -> Report:
    async def main() -> Report:
        with open_reader(path) as reader:
            return await check_cases(reader, [body(change).process])

    report = asyncio.run(main())
    assert CALLED == []
    return report


@pytest.mark.parametrize(
    ("change", "verdict", "says"),
    [
        ("", None, None),
        (
            "arguments",
            Verdict.ANEW,
            lambda message: message == "classify_email would be called again, because the body gives other arguments",
        ),
        ("inserted", Verdict.CHANGED, lambda message: message == "allow ('the body pauses') -> count_words"),
        ("left out", Verdict.LEFT_OUT, lambda message: message.startswith("the body has not asked for look_up, which is recorded")),
        ("shows", Verdict.ASKED_AGAIN, None),
    ],
)
def test_new_code_is_tried_on_every_open_thread(
    tmp_path: Path, change: str, verdict: Verdict | None, says: Callable[[str], bool] | None
) -> None:
    opened(tmp_path / "cases.db", "not here")

    report = checked(tmp_path / "cases.db", change)

    assert [kind.verdict for kind in report.found] == ([] if verdict is None else [verdict])
    assert says is None or [says(kind.message) for kind in report.found] == [True]


def test_code_that_leaves_the_record_of_an_open_thread_would_break_it(tmp_path: Path) -> None:
    opened(tmp_path / "cases.db", "paid", answer=True)

    report = checked(tmp_path / "cases.db", "other charge")

    assert report.breaks
    (kind,) = report.found
    assert kind.verdict is Verdict.BROKEN
    assert kind.message.startswith("charge[")
    assert "which could repeat it; correct the body" in kind.message


def test_a_body_that_asks_for_another_effect_than_the_one_in_doubt_is_found(tmp_path: Path) -> None:
    def paying(amount: int) -> Entrypoint[str, str]:
        @task(name="pay", safety=Idempotent(), retry=Retry(first_seconds=3600))
        async def pay(amount: int) -> str:
            raise TimeoutError("the bank does not answer")

        @entrypoint(name="paying")
        def paying(text: str) -> str:
            return pay(amount).result()

        return paying

    async def main() -> list[list[Verdict]]:
        async with Engine.open(tmp_path / "cases.db", [paying(5).process]) as engine:
            await engine.start("paying", {"invocation": {"input": "", "thread": "t"}})
            changed = engine.changed  # before each look: what is committed during a look must not be missed
            while not await engine.reader.in_doubt():
                async for _ in engine.changes(since=changed):
                    break
                changed = engine.changed
            return [[kind.verdict for kind in (await check_cases(engine.reader, [paying(amount).process])).found] for amount in (5, 6)]

    assert asyncio.run(main()) == [[], [Verdict.BROKEN]]


def test_a_body_that_asks_for_another_effect_than_the_one_under_way_is_found(tmp_path: Path) -> None:
    """Its engine may die during the call, and then the start with the new code parks the case."""
    begun, ends = asyncio.Event(), asyncio.Event()

    def paying(amount: int) -> Entrypoint[str, str]:
        @task(name="pay", safety=AtMostOnce())
        async def pay(amount: int) -> str:
            begun.set()
            await ends.wait()
            return "paid"

        @entrypoint(name="paying")
        def paying(text: str) -> str:
            return pay(amount).result()

        return paying

    async def main() -> list[Kind]:
        async with Engine.open(tmp_path / "cases.db", [paying(5).process]) as engine:
            await engine.start("paying", {"invocation": {"input": "", "thread": "t"}})
            await begun.wait()
            same, other = [await check_cases(engine.reader, [paying(amount).process]) for amount in (5, 6)]
            ends.set()
            assert not same.found
            return [*other.found]

    [kind] = asyncio.run(main())
    assert kind.verdict is Verdict.BROKEN
    assert "may or may not have happened, and the case would go on with pay" in kind.message


def test_an_app_names_entrypoints_like_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    mails, other = body(), Process("other", State)
    module = ModuleType("mail_programs")
    module.__dict__.update(mails=mails, all=[mails, other], nothing=[mails, 5])
    monkeypatch.setitem(sys.modules, "mail_programs", module)

    assert load_process("mail_programs:mails") is mails.process
    assert load_processes("mail_programs:mails") == [mails.process]
    assert load_processes("mail_programs:all") == [mails.process, other]
    with pytest.raises(PlaceUnknown, match="has a int, not a Process or an entrypoint"):
        load_processes("mail_programs:nothing")


def test_a_body_is_drawn_with_what_it_may_call() -> None:
    lines = draw(body().process).splitlines()

    assert lines[:2] == ["flowchart TD", '    b(["mails"])']
    assert sorted(line.partition("s")[2][1:] for line in lines[2:]) == [
        '["classify_email"]',
        '["count_words"]',
        '["look_up"]',
        '[["charge"]]',
    ]


def test_many_calls_are_told_as_their_first_and_their_last(tmp_path: Path) -> None:
    @task
    def square(number: int) -> int:
        return number * number

    @entrypoint(name="mails")
    def squares(text: str) -> int:
        return sum(future.result() for future in [square(number) for number in range(100)])

    async def main() -> Explanation:
        async with Engine.open(tmp_path / "cases.db", [squares.process]) as engine:
            started = await engine.start(squares.process, {"invocation": {"input": "", "thread": "t"}})
            await engine.wait_until_resting(started.case)
            return await explain_case(engine.reader, [squares.process], started.case)

    told = asyncio.run(main())

    assert len(told.calls) == 100
    assert text_of(told).count("✓ square[") == 40
    assert "(60 calls are left out here; --json has them)" in text_of(told)
