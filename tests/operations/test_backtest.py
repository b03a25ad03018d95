"""`backtest`: the rules of changed code on the recorded decisions of cases."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import Field
from typer.testing import CliRunner

import tiers
from pointsman import Backtest, Context, Engine, Idempotent, Log, Private, Process, Selected, State, backtest, finish, otherwise, park, when
from pointsman.cli.main import app
from pointsman.definition.process import AnyProcess
from pointsman.errors import Refused, UnknownCase
from pointsman.functional.entrypoints import entrypoint
from pointsman.kernel.case import cells_of
from pointsman.kernel.decide import decide
from pointsman.store.base import Reader
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock

CASES = tiers.figure("BACKTEST_CASES", 120)
DAY = 86_400.0


class Mail(State):
    text: str
    amount: int
    risk: int | None = None
    looks: Log[str] | None = None
    reply: str | None = None
    approved: bool | None = None
    receipt: str | None = None


def mails(
    risky: Callable[[Any], object], *, state: type[State] = Mail, looks: int = 2, risky_name: str = "risky", **settings: Any
) -> AnyProcess:
    """Rate, look, draft, let a person approve what is `risky`, and send."""
    process = Process("mails", state, **settings)

    def rate(amount: int) -> int:
        return amount // 10

    def look(risk: int) -> str:
        return f"looked at {risk}"

    def draft(text: str, risk: int) -> str:
        return f"{text} {risk}"

    def send(reply: str, *, ctx: Context) -> str:
        return f"sent {reply}"

    rated, looked = process.node(rate, writes="risk"), process.node(look, writes="looks")
    drafted, sent = process.node(draft, writes="reply"), process.effect(send, writes="receipt", safety=Idempotent())
    approve = process.pause(writes="approved", answer=bool, shows=("reply",), edits=("reply",), name="approve")
    process.rules(
        when("not rated", lambda m: m.risk is None, rated),
        when("huge", lambda m: m.risk > 90, park("ask the board")),
        when("not looked at", lambda m: len(m.looks or ()) < looks, looked),
        when("no draft", lambda m: m.reply is None, drafted),
        when(risky_name, lambda m: risky(m) and m.approved is None, approve),
        when("refused", lambda m: m.approved is False, finish("refused")),
        when("not sent", lambda m: m.receipt is None, sent),
        otherwise(finish("sent")),
    )
    return process


OLD = mails(lambda m: m.risk >= 50)
STRICTER = mails(lambda m: m.risk >= 30 or "lawyer" in m.text)


async def fill(engine: Engine, process: AnyProcess, chance: Random, cases: int) -> None:
    """Cases that wait, are answered, corrected while they wait, parked, sent and refused."""
    for _ in range(cases):
        text = chance.choice(["a cup", "my lawyer", "a plate"])
        case = (await engine.start(process, {"text": text, "amount": chance.randrange(1_000)})).case
        await engine.wait_until_resting(case)
        if (await engine.reader.case(case)).status != "waiting":
            continue
        if chance.random() < 0.3:
            await engine.redrive(case, by="ada", why="another amount", fields={"amount": chance.randrange(1_000)})
            await engine.wait_until_resting(case)
        if (await engine.reader.case(case)).status == "waiting" and chance.random() < 0.8:
            await engine.resume((await engine.pending(case)).token, answer=chance.random() < 0.7, by="bob")
            await engine.wait_until_resting(case)


def with_engine(story: Callable[[Engine], Awaitable[Any]], process: AnyProcess = OLD, *, clock: ManualClock | None = None) -> Any:
    async def main() -> Any:
        async with Engine.open("", [process], store=MemoryStore(), clock=clock or ManualClock()) as engine:
            return await story(engine)

    return asyncio.run(main())


async def by_force(reader: Reader, process: AnyProcess) -> tuple[dict[int, tuple[str, str]], int, int]:
    """The first decision of each case that differs, with the fields of each revision read anew; and all decisions that differ, and all."""
    first: dict[int, tuple[str, str]] = {}
    others = decisions = 0
    for row in await reader.cases(limit=1_000_000):
        for event in await reader.events(case=row.id, limit=10_000):
            if event.kind != "decided":
                continue
            then = json.loads(event.facts)
            now = decide(process, cells_of(process, await reader.fields(row.id, revision=event.revision)))
            decisions += 1
            if now.step.name != then["step"]:
                others += 1
                first.setdefault(row.id, (then["rule"], now.rule))
    return first, others, decisions


def first_of(found: Backtest) -> dict[int, tuple[str, str]]:
    return {case: (pair.then.rule, pair.now.rule) for pair, group in found.groups.items() for case in group.cases}


def test_it_lists_exactly_what_deciding_on_each_stored_state_finds(capsys: pytest.CaptureFixture[str]) -> None:
    seed = tiers.seed()

    async def story(engine: Engine) -> tuple[Any, Backtest, Backtest, float]:
        await fill(engine, OLD, Random(seed), CASES)
        begun = time.process_time()
        found = await backtest(engine.reader, [STRICTER])
        seconds = time.process_time() - begun
        return await by_force(engine.reader, STRICTER), found, await backtest(engine.reader, [OLD]), seconds

    (first, others, decisions), found, control, seconds = with_engine(story)

    with capsys.disabled():
        print(
            f"\nbacktest, seed {seed}: {decisions:,} decisions of {CASES:,} cases in {seconds:.2f} s of CPU, {decisions / seconds:,.0f} a second; "
            f"{len(first):,} cases would have gone otherwise, {others - len(first):,} later differences"
        )
    assert first_of(found) == first
    assert first
    assert (found.decisions, found.same) == (decisions, decisions - others)
    assert sum(group.following for group in found.groups.values()) == others - len(first)
    assert (control.groups, control.same, control.fails) == ({}, decisions, False)


def after_three(process: AnyProcess) -> Callable[[Engine], Awaitable[Backtest]]:
    async def story(engine: Engine) -> Backtest:
        await three(engine)
        return await backtest(engine.reader, [process])

    return story


async def three(engine: Engine) -> None:
    """Case 1 was sent unseen, case 2 was approved, case 3 is parked."""
    for amount in (350, 700, 950):
        await engine.wait_until_resting((await engine.start(OLD, {"text": "a cup", "amount": amount})).case)
    await engine.resume((await engine.pending(2)).token, answer=True, by="bob")
    await engine.wait_until_resting(2)


def test_it_says_what_would_be_called_and_asked() -> None:
    loose = mails(lambda m: m.risk >= 80)

    async def story(engine: Engine) -> tuple[Backtest, Backtest]:
        await three(engine)
        return await backtest(engine.reader, [STRICTER]), await backtest(engine.reader, [loose])

    strict, less = with_engine(story)

    assert [(pair.then.text, pair.now.text, pair.means, group.cases) for pair, group in strict.groups.items()] == [
        ("'not sent' -> send", "'risky' -> approve", ("would pause at approve", "would no longer call send"), [1]),
        ("'otherwise' -> finish('sent')", "'risky' -> approve", ("would pause at approve",), []),
    ]
    assert [(pair.means, group.cases) for pair, group in less.groups.items()] == [
        (("would call send", "would no longer pause at approve"), [2])
    ]
    assert "1 case would have gone otherwise" in "\n".join(strict.lines())


def test_what_follows_from_the_first_difference_of_a_case_is_counted_apart() -> None:
    found = with_engine(after_three(mails(lambda m: True, looks=1)))

    assert first_of(found) == {1: ("not looked at", "no draft"), 2: ("not looked at", "no draft")}
    assert [(pair.then.rule, pair.now.rule, group.following) for pair, group in found.groups.items() if group.following] == [
        ("not sent", "risky", 1),
        ("otherwise", "risky", 1),
    ]


def test_the_same_step_by_another_rule_is_no_difference() -> None:
    found = with_engine(after_three(mails(lambda m: m.risk >= 50, risky_name="a risk")))

    assert {(pair.then.rule, pair.now.rule): count for pair, count in found.renamed.items()} == {("risky", "a risk"): 1}
    assert (found.groups, found.fails) == ({}, False)


def test_decisions_that_cannot_be_tried_are_counted_and_named() -> None:
    class Other(Mail):
        amount: int = Field(le=500)

    later = mails(lambda m: False, version=3)

    async def story(engine: Engine) -> tuple[Backtest, Backtest, Backtest]:
        await three(engine)
        unfit, unknown = await backtest(engine.reader, [mails(lambda m: False, state=Other)]), await backtest(engine.reader, [later])
        await engine.erase(1, by="ada", why="asked for it")
        return unfit, unknown, await backtest(engine.reader, [OLD])

    unfit, unknown, erased = with_engine(story)

    [(reason, one)] = unfit.untried.items()
    assert "the stored value of field 'amount' no longer fits its type" in reason
    assert (one.cases, one.decisions, unfit.decisions, unfit.fails) == ([2, 3], 9, 6, True)
    assert [reason.partition(" (")[0] for reason in unknown.untried] == ["no registered code accepts version 1 of 'mails'"]
    assert {reason: one.cases for reason, one in erased.untried.items()} == {"the content of the case was erased": [1]}
    assert not erased.fails


def test_fields_of_an_older_version_are_migrated_first() -> None:
    class Euros(Mail):
        amount: int
        currency: str

    newer = mails(lambda m: m.risk >= 50, state=Euros, version=2, accepts={1: lambda fields: {**fields, "currency": "EUR"}})
    pounds = mails(lambda m: m.currency == "GBP", state=Euros, version=2, accepts={1: lambda fields: {**fields, "currency": "GBP"}})

    async def story(engine: Engine) -> tuple[Backtest, Backtest]:
        await three(engine)
        return await backtest(engine.reader, [newer]), await backtest(engine.reader, [pounds])

    same, other = with_engine(story)

    assert (same.decisions, same.same, same.untried) == (15, 15, {})
    assert first_of(other) == {1: ("not sent", "risky")}


def test_the_rules_before_the_change_take_the_place_of_what_was_recorded() -> None:
    async def story(engine: Engine) -> Backtest:
        await three(engine)
        return await backtest(engine.reader, [STRICTER], before=[STRICTER])

    found = with_engine(story)

    assert (found.groups, found.drifted) == ({}, 2)


def test_cases_are_chosen_by_time_by_number_and_by_a_sample() -> None:
    clock = ManualClock()

    async def story(engine: Engine) -> list[Backtest]:
        await three(engine)
        clock.advance(2 * DAY)
        await engine.wait_until_resting((await engine.start(OLD, {"text": "a cup", "amount": 10})).case)
        chosen = (Selected(since=clock.now() - DAY), Selected(cases=(3, 1)), Selected(sample=2), Selected(sample=2), Selected(sample=99))
        with pytest.raises(UnknownCase):
            await backtest(engine.reader, [OLD], Selected(cases=(99,)))
        return [await backtest(engine.reader, [OLD], one) for one in chosen]

    recent, named, sample, again, every = with_engine(story, clock=clock)

    assert (recent.cases, recent.decisions) == (1, 6)
    assert (named.cases, named.decisions) == (2, 8)
    assert sample == again
    assert (sample.cases, every.cases) == (2, 4)


def test_private_texts_are_not_in_the_reasons() -> None:
    class Secret(Mail):
        text: Private[str] = Field(max_length=5)

    def fails(m: Any) -> object:
        raise ValueError(m.reply)

    async def story(engine: Engine) -> Backtest:
        await three(engine)
        await engine.wait_until_resting((await engine.start(OLD, {"text": "my lawyer", "amount": 10})).case)
        return await backtest(engine.reader, [mails(fails, state=Secret)])

    said = "\n".join(with_engine(story).lines())

    assert "raised ValueError: [private] 35" in said
    assert "the stored value of field 'text' no longer fits its type" in said
    assert "a cup" not in said
    assert "lawyer" not in said


def test_an_entrypoint_is_refused() -> None:
    async def story(engine: Engine) -> None:
        with pytest.raises(Refused, match="'body' is an entrypoint"):
            await backtest(engine.reader, [body.process])

    @entrypoint(name="body")
    def body(text: str) -> str:
        return text

    with_engine(story)


def test_the_command_fails_for_a_difference_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = tmp_path / "cases.db"

    async def main() -> None:
        async with Engine.open(db, [OLD], clock=ManualClock()) as engine:
            await three(engine)

    asyncio.run(main())
    monkeypatch.setattr("pointsman.cli.past.load_processes", lambda place: {"new": [STRICTER], "old": [OLD]}[place])
    before = db.read_bytes()

    def ran(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["backtest", *words, "--db", str(db)])
        return done.exit_code, done.stdout

    text, found = ran("--app", "new"), json.loads(ran("--app", "new", "--json")[1])

    assert text[0] == 0
    assert "1 of mails\n  then: 'not sent' -> send\n  now:  'risky' -> approve\n" in text[1]
    assert "  would pause at approve; would no longer call send" in text[1]
    assert (found["otherwise"], found["groups"][0]["means"]) == ([1], ["would pause at approve", "would no longer call send"])
    assert ran("--app", "new", "--fail-on-difference")[0] == 1
    assert ran("--app", "old", "--fail-on-difference")[0] == 0
    assert ran("--app", "new", "--process-from", "old", "--case", "1", "--fail-on-difference")[0] == 1
    assert db.read_bytes() == before
