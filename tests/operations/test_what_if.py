"""`explain --set`: what a case would do with other fields. Nothing is run, and nothing is stored."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

import interpreter
from pointsman import Change, Context, Engine, Idempotent, Process, State, explain_change, finish, history_of, otherwise, park, when
from pointsman.cli.given import JsonInvalid, assigned
from pointsman.errors import Refused
from pointsman.testing.clock import ManualClock

ROOT = Path(__file__).parents[1]


class Mail(State):
    text: str
    risk: Literal["low", "high"] | None = None
    reply: str | None = None
    approved: bool | None = None
    receipt: str | None = None


mails = Process("mails", Mail)


@mails.node(writes="risk")
def classify(text: str) -> Literal["low", "high"]:
    return "high" if "lawyer" in text else "low"


@mails.node(writes="reply")
def draft(text: str, risk: str | None) -> str:
    return f"{text}: {risk}"


approve = mails.pause(writes="approved", answer=bool, shows=("reply",), name="approve")


@mails.effect(writes="receipt", safety=Idempotent())
def send(reply: str, *, ctx: Context) -> str:
    return f"sent {reply}"


mails.rules(
    when("unclassified", lambda m: m.risk is None, classify),
    when("no draft", lambda m: m.reply is None, draft),
    when("risky", lambda m: m.risk == "high" and m.approved is None, approve),
    when("rejected", lambda m: m.approved is False, finish("rejected")),
    when("unsent", lambda m: m.receipt is None, send),
    when("odd", lambda m: m.text == "odd", park("look at it")),
    otherwise(finish("sent")),
)


async def fill(path: Path, text: str, *, approved: bool | None = None) -> None:
    async with Engine.open(path / "cases.db", [mails], clock=ManualClock()) as engine:
        case = (await engine.start(mails, {"text": text})).case
        await engine.wait_until_resting(case)
        if approved is not None:
            await engine.resume((await engine.pending(case)).token, approved, by="ada")
            await engine.wait_until_resting(case)


def changed(path: Path, text: str, fields: Mapping[str, object], *, approved: bool | None = None) -> Change:
    """Start a mail, and say what it would do with other fields where it rests; the journal is as long after that as before."""

    async def main() -> Change:
        await fill(path, text, approved=approved)
        async with Engine.open(path / "cases.db", [mails], clock=ManualClock(), concurrency=0) as engine:
            before = await history_of(engine.reader, 1)
            change = await explain_change(engine.reader, [mails], 1, fields)
            assert await history_of(engine.reader, 1) == before
            return change

    return asyncio.run(main())


def test_the_new_winner_stands_beside_the_present_one_and_what_is_computed_again_is_named(tmp_path: Path) -> None:
    change = changed(tmp_path, "a lawyer", {"risk": "low"})

    assert (change.now.rule, change.now.step) == ("risky", "approve")
    assert (change.then.rule, change.then.step) == ("no draft", "draft")
    assert change.anew == {"draft": ("reply",)}
    assert change.calls is None
    assert change.applies
    assert [*change.lines()] == [
        "With risk = low, case 1 would do this:",
        "  without it: rule 'risky' -> approve",
        "  with it:    rule 'no draft' -> draft",
        "  computed again: draft, which has written reply",
        "Nothing was run, and nothing is stored.",
    ]


def test_an_answer_says_which_effect_would_be_called_under_which_key(tmp_path: Path) -> None:
    change = changed(tmp_path, "a lawyer", {"approved": True})

    assert (change.then.step, change.anew, change.applies) == ("send", {}, False)
    assert change.calls is not None
    effect, key = change.calls
    assert effect == "send"

    async def answer() -> list[str]:
        async with Engine.open(tmp_path / "cases.db", [mails], clock=ManualClock()) as engine:
            await engine.resume((await engine.pending(1)).token, True, by="ada")
            await engine.wait_until_resting(1)
            return [entry.key for entry in await engine.reader.effects(1)]

    assert asyncio.run(answer()) == [key]


def test_a_correction_after_the_call_says_that_the_key_changes_and_the_effect_is_called_once_more(tmp_path: Path) -> None:
    change = changed(tmp_path, "odd", {"reply": "another"})

    [other] = change.keys
    assert (change.now.step, change.then.step) == ("park", "send")
    assert (other.effect, other.called, other.after) == ("send", True, change.calls[1] if change.calls else None)
    assert change.anew == {"send": ("receipt",)}
    assert f"  other key: send: {other.before[:12]}… -> {other.after[:12]}…; " in "\n".join(change.lines())
    assert "its call under the old key stays as it is, and it would be called once more" in "\n".join(change.lines())


def test_a_correction_of_what_was_shown_asks_again(tmp_path: Path) -> None:
    class Short(State):
        text: str
        approved: bool | None = None

    process = Process("mails", Short)
    asks = process.pause(writes="approved", answer=bool, shows=("text",), name="approve")
    process.rules(when("open", lambda m: m.approved is None, asks), otherwise(park("look at it")))

    async def main() -> Change:
        async with Engine.open(tmp_path / "cases.db", [process], clock=ManualClock()) as engine:
            case = (await engine.start(process, {"text": "hello"})).case
            await engine.wait_until_resting(case)
            await engine.resume((await engine.pending(case)).token, True, by="ada")
            await engine.wait_until_resting(case)
            return await explain_change(engine.reader, [process], case, {"text": "hello you"})

    change = asyncio.run(main())

    assert (change.then.step, change.asks_again, change.opens) == ("approve", ("approve",), "approve")
    assert "  asked again: approve; its answer is withdrawn" in change.lines()


REFUSED = [
    ({"colour": "red"}, "'colour' is not a field of Mail"),
    ({"risk": "medium"}, "the correction was refused"),
    ({"approved": "perhaps"}, "the value was refused"),
]


@pytest.mark.parametrize(("fields", "problem"), REFUSED)
def test_an_unknown_field_and_an_unfit_value_are_refused(fields: dict[str, object], problem: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=problem):
        changed(tmp_path, "a lawyer", fields)


def test_no_field_changes_an_ended_case(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has ended"):
        changed(tmp_path, "hello", {"risk": "high"})


VALUES = [("risk=low", "low"), ("risk=null", None), ('risk="null"', "null"), ("n=3", 3), ("text=a = b", "a = b"), ('x={"a": 1}', {"a": 1})]


@pytest.mark.parametrize(("given", "value"), VALUES)
def test_a_value_is_json_or_a_plain_text(given: str, value: object) -> None:
    assert [*assigned([given]).values()] == [value]


@pytest.mark.parametrize("given", ["risk", 'x={"a": ', "x="])
def test_what_begins_like_json_has_to_be_json(given: str) -> None:
    with pytest.raises(JsonInvalid):
        assigned([given])


def explained(path: Path, *options: str) -> Any:
    command = ("-m", "pointsman.cli.main", "explain", "1", "--db", path / "cases.db", "--app", "operations.test_what_if:mails")
    return interpreter.run(*command, *options, cwd=ROOT)


def test_the_command_prints_the_change_as_text_and_as_json_and_how_to_make_it(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path, "a lawyer"))

    text, read, refused = (
        explained(tmp_path, "--set", "risk=low"),
        explained(tmp_path, "--set", "risk=low", "--json"),
        explained(tmp_path, "--set", "x=1"),
    )

    assert "  with it:    rule 'no draft' -> draft\n" in text.stdout
    assert f"\n  pointsman redrive 1 --why TEXT --set risk=low --db {tmp_path / 'cases.db'}" in text.stdout
    assert json.loads(read.stdout)["then"] == {"rule": "no draft", "step": "draft"}
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "'x' is not a field of Mail" in refused.stderr
