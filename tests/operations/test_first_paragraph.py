"""The first paragraph of an explanation: where the case stands, whom it waits for, what happens next, and what to type."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pointsman import (
    AtMostOnce,
    ChildEnd,
    CircuitBreaker,
    Context,
    Engine,
    Explanation,
    Limit,
    Process,
    Rejected,
    Retry,
    State,
    Status,
    answer_with,
    explain_case,
    finish,
    format_duration,
    format_time,
    otherwise,
    park,
    reassign,
    remind,
    when,
)
from pointsman.definition.process import AnyProcess
from pointsman.operations.around import NOTHING_AROUND
from pointsman.operations.paragraph import NOTHING_TO_DO, Paragraph
from pointsman.store.base import Engines
from pointsman.testing.clock import ManualClock

BEGIN = ManualClock().now()
HOUR = 3_600.0


class Bare(State):
    text: str


class Asked(State):
    text: str
    allowed: bool | None = None


class Assessed(State):
    text: str
    amount: int | None = None


class Paid(State):
    text: str
    receipt: str | None = None


class Cooled(State):
    text: str
    cooled_at: float | None = None


class Parent(State):
    text: str
    ended: ChildEnd | None = None


class Both(State):
    text: str
    amount: int | None = None
    receipt: str | None = None


def told_at_rest(
    path: Path,
    processes: AnyProcess | list[AnyProcess],
    then: Callable[[Engine, int], Awaitable[Any]] | None = None,
    *,
    horizon: float = 0.0,
) -> Explanation:
    """Start a case, let it come to rest, and explain it while the engine is open."""
    given = processes if isinstance(processes, list) else [processes]

    async def main() -> Explanation:
        async with Engine.open(path / "cases.db", given, clock=ManualClock()) as engine:
            case = (await engine.start(given[0], {"text": "fire"})).case
            await engine.idle(horizon_seconds=horizon)
            if then is not None:
                await then(engine, case)
                await engine.idle(horizon_seconds=horizon)
            return await explain_case(engine.reader, given, case)

    return asyncio.run(main())


def without_engine(told: Explanation, **engines: Any) -> Explanation:
    return replace(told, around=replace(told.around, engines=Engines(open=False, **engines)))


def asking(*ladder: Any, **terms: Any) -> Process[Asked]:
    process = Process("claims", Asked)
    allow = process.pause(name="allow", writes="allowed", answer=bool, shows=("text",), ladder=[*ladder], **terms)
    process.rules(when("undecided", lambda c: c.allowed is None, allow), otherwise(finish("decided")))
    return process


def broken(text: str) -> int:
    raise ValueError("the line is dead")


def assessed(text: str) -> int:
    return 1


def same(text: str) -> dict[str, str]:
    return {"text": text}


def calling(function: Callable[..., Any], *, attempts: int = 1, limit: Limit | None = None) -> Process[Assessed]:
    process = Process("claims", Assessed)
    node = process.node(
        function, writes="amount", name="assess", limit=limit, retry=Retry(attempts_max=attempts, first_seconds=60.0, jitter=0.0)
    )
    process.rules(when("not assessed", lambda c: c.amount is None, node), otherwise(finish("assessed")))
    return process


def paying(function: Callable[..., Any]) -> Process[Paid]:
    process = Process("claims", Paid)
    pay = process.effect(function, writes="receipt", name="pay", safety=AtMostOnce(), retry=Retry(attempts_max=1))
    process.rules(when("unpaid", lambda c: c.receipt is None, pay), otherwise(finish("paid")))
    return process


# Waiting.


def test_a_pause_names_who_is_asked_the_next_rung_the_deadline_and_the_command(tmp_path: Path) -> None:
    told = told_at_rest(tmp_path, asking(remind("1h"), reassign("2h", "bo"), answer_with(False), deadline="24h", assignee="ada"))

    first = told.paragraph(BEGIN + 600.0)

    assert first.stands == f"Case 1 waits at allow, by rule 'undecided', since {format_time(BEGIN)} (10 minutes)."
    assert first.waits == (
        "It waits for ada to answer; nobody has answered yet. "
        f"Next on its ladder, a reminder is due at {format_time(BEGIN + HOUR)} (in 50 minutes). "
        f"Its deadline is {format_time(BEGIN + 24 * HOUR)} (in 1 day): then the deadline answers False."
    )
    assert first.follows == "After the answer it goes on with finish('decided')."
    assert (first.do, first.commands) == ("ada answers. See what to decide on:", ("pointsman answer 1",))


@pytest.mark.parametrize(
    ("ladder", "due", "what"),
    [
        ((remind("1h"), reassign("2h", "bo")), HOUR, "a reminder"),
        ((reassign("2h", "bo"),), 2 * HOUR, "reassignment to bo"),
        ((), 24 * HOUR, "the deadline"),
    ],
)
def test_a_timer_says_what_it_is_for(tmp_path: Path, ladder: tuple[Any, ...], due: float, what: str) -> None:
    told = told_at_rest(tmp_path, asking(*ladder, deadline="24h"))

    assert f"  due at {format_time(BEGIN + due)}, in {format_duration(due)}: {what}" in [*told.lines(BEGIN)]


def test_a_rung_that_nobody_climbs_says_that_no_engine_is_there(tmp_path: Path) -> None:
    told = told_at_rest(tmp_path, asking(reassign("2h", "bo"), park("nobody cared"), deadline="3h"))

    first = without_engine(told).paragraph(BEGIN + 4 * HOUR)

    assert f"it passes to bo at {format_time(BEGIN + 2 * HOUR)} (2 hours ago, and it has not been taken up)" in first.waits
    assert f"Its deadline is {format_time(BEGIN + 3 * HOUR)} (1 hour ago, and it has not been taken up): then the case parks" in first.waits
    assert first.commands == ("pointsman worker", "pointsman answer 1")


def test_a_sleep_names_its_end(tmp_path: Path) -> None:
    process = Process("claims", Cooled)
    cool = process.sleep(writes="cooled_at", seconds="1h", name="cool")
    process.rules(when("hot", lambda c: c.cooled_at is None, cool), otherwise(finish("cold")))

    told = told_at_rest(tmp_path, process)

    assert told.paragraph(BEGIN).waits == f"It sleeps until {format_time(BEGIN + HOUR)} (in 1 hour)."
    assert told.paragraph(BEGIN).do == NOTHING_TO_DO
    assert without_engine(told).paragraph(BEGIN + 2 * HOUR).commands == ("pointsman worker",)


def test_a_case_that_waits_for_a_child_names_it_and_why_that_stands_still(tmp_path: Path) -> None:
    child, parent = calling(broken), Process("parents", Parent)
    runs = parent.child(child, same, writes="ended", name="assess it")
    parent.rules(when("open", lambda c: c.ended is None, runs), otherwise(finish("over")))

    told = told_at_rest(tmp_path, [parent, child])

    first = told.paragraph(BEGIN)
    assert first.waits == "It waits for the end of case 2 of claims, which is parked: 'assess' failed after 1 attempt: the line is dead."
    assert first.commands == ("pointsman explain 2",)


# In the backlog, and running.


def test_the_next_attempt_says_when_and_what_the_last_one_failed_with(tmp_path: Path) -> None:
    told = told_at_rest(tmp_path, calling(broken, attempts=3))

    first = told.paragraph(BEGIN)

    assert first.stands.startswith("Case 1 is at assess, by rule 'not assessed', and waits for its next attempt, since ")
    assert first.waits == "The last attempt failed: the line is dead."
    assert first.follows == f"The next attempt of assess, number 2 of 3, begins at {format_time(BEGIN + 60.0)} (in 1 minute)."
    assert (first.commands, first.do.startswith("There is nothing to do")) == ((), True)


def test_a_due_case_without_an_engine_says_to_start_one(tmp_path: Path) -> None:
    told = told_at_rest(tmp_path, calling(broken, attempts=3))

    first = without_engine(told).paragraph(BEGIN + HOUR)

    assert "is in the backlog" in first.stands
    assert (first.do, first.commands) == ("No engine has the database open. Start one:", ("pointsman worker",))


def test_an_open_breaker_says_until_when(tmp_path: Path) -> None:
    told = told_at_rest(
        tmp_path, calling(broken, attempts=5, limit=Limit("bank", breaker=CircuitBreaker(failures=1, cooldown_seconds=900)))
    )

    first = replace(told, history=replace(told.history, case=told.case._replace(needs="bank"))).paragraph(BEGIN)

    assert "waits for a permit of 'bank'" in first.stands
    assert "Its circuit breaker is open, because 1 call in a row failed." in first.waits
    assert first.follows == f"It runs assess when 'bank' has a permit, not before {format_time(BEGIN + 900)} (in 15 minutes)."
    assert told.as_json(BEGIN)["limits"]["bank"]["open_until"] == BEGIN + 900


RUNNERS = [
    (Engines(True, "engine 7", False, BEGIN + 30), "It waits for the call in engine 7, whose lease runs until ", ()),
    (Engines(True, "engine 7", True, BEGIN + 30), "Engine 7 ran it, and is gone.", ()),
    (Engines(False, "process 12", True), "Process 12 ran it, and is gone.", ("pointsman worker",)),
]


@pytest.mark.parametrize(("engines", "waits", "commands"), RUNNERS)
def test_a_running_case_names_its_engine_and_what_follows_if_that_is_gone(
    engines: Engines, waits: str, commands: tuple[str, ...], tmp_path: Path
) -> None:
    found: list[Explanation] = []

    async def assess(text: str) -> int:
        found.append(await explain_case(reader, [process], 1))
        return 1

    process = calling(assess)

    async def main() -> None:
        nonlocal reader
        async with Engine.open(tmp_path / "cases.db", [process], clock=ManualClock()) as engine:
            reader = engine.reader
            await engine.start(process, {"text": "fire"})
            await engine.idle()

    reader: Any = None
    asyncio.run(main())

    [told] = found
    assert told.case.status is Status.RUNNING
    assert told.around.engines is not None
    assert (told.around.engines.open, told.around.engines.lost) == (True, False)
    first = replace(told, around=replace(told.around, engines=engines)).paragraph(BEGIN)
    assert first.waits.startswith(waits)
    assert first.commands == commands
    assert ("takes the case over" in first.follows) is engines.lost


# Parked and blocked.


def test_a_failed_step_says_to_redrive(tmp_path: Path) -> None:
    first = told_at_rest(tmp_path, calling(broken)).paragraph(BEGIN)

    assert first.stands == f"Case 1 is parked at assess, since {format_time(BEGIN)}: 'assess' failed after 1 attempt: the line is dead."
    assert first.follows == "Redriven, it goes on with assess, with new attempts."
    assert first.commands == ("pointsman redrive 1 --why TEXT",)


def test_a_park_of_a_rule_says_that_a_redrive_alone_does_not_help(tmp_path: Path) -> None:
    process = Process("claims", Bare)
    process.rules(when("it burns", lambda c: c.text == "fire", park("call the brigade")), otherwise(finish("fine")))

    first = told_at_rest(tmp_path, process).paragraph(BEGIN)

    assert first.follows == "A redrive alone parks it again, because rule 'it burns' still holds (it reads text)."
    assert first.commands == ("pointsman redrive 1 --why TEXT --set FIELD=VALUE", "pointsman cancel 1 --why TEXT")


def test_a_rule_without_a_field_says_to_correct_the_rule_or_the_field(tmp_path: Path) -> None:
    process = Process("claims", Both)

    def pay(amount: int) -> str:
        return f"paid {amount}"

    pays, assesses = process.node(pay, writes="receipt"), process.node(broken, writes="amount", name="assess")
    process.rules(
        when("unpaid", lambda c: c.receipt is None, pays),
        when("not assessed", lambda c: c.amount is None, assesses),
        otherwise(finish("paid")),
    )

    first = told_at_rest(tmp_path, process).paragraph(BEGIN)

    assert "rule 'unpaid' chose 'pay', which needs field 'amount'" in first.stands
    assert first.follows == "A redrive alone parks it again, for the same reason."
    assert first.do == "Correct the rule and start the engine with it, or correct a field:"


def test_an_effect_in_doubt_says_to_resolve_it_with_its_key_and_does_not_repeat_the_commands(tmp_path: Path) -> None:
    def pay(text: str, *, ctx: Context) -> str:
        raise OSError("the line went dead")

    told = told_at_rest(tmp_path, paying(pay))

    first, [key] = told.paragraph(BEGIN), told.ledger.keys("in doubt")
    assert first.stands.endswith("its call may or may not have happened, and its policy forbids another one (the line went dead).")
    assert first.commands == (
        f"pointsman resolve {key} --happened --outcome JSON --why TEXT",
        f"pointsman resolve {key} --call-again --why TEXT",
    )


def test_a_rejected_effect_says_that_a_redrive_alone_does_not_help(tmp_path: Path) -> None:
    def pay(text: str, *, ctx: Context) -> str:
        raise Rejected("no such account")

    first = told_at_rest(tmp_path, paying(pay)).paragraph(BEGIN)

    assert first.follows == "A redrive alone parks it again, because pay was rejected and is not called again under its key."
    assert first.commands[0] == "pointsman redrive 1 --why TEXT --set FIELD=VALUE"
    assert first.commands[1].startswith("pointsman resolve ")


def test_a_blocked_case_names_the_version_and_how_to_try_code(tmp_path: Path) -> None:
    told = told_at_rest(tmp_path, calling(broken))

    row = told.case._replace(status=Status.BLOCKED, reason="no registered code accepts version 1 of 'claims'")
    first = replace(told, history=replace(told.history, case=row)).paragraph(BEGIN)

    assert first.waits == "It waits for an engine whose code accepts version 1 of claims, and then goes on by itself."
    assert first.commands == ("pointsman check", "pointsman worker")


# Ended.


def test_an_ended_case_says_that_nothing_follows_and_what_is_done(tmp_path: Path) -> None:
    def pay(text: str, *, ctx: Context) -> str:
        return "paid"

    first = told_at_rest(tmp_path, paying(pay)).paragraph(BEGIN)

    assert first == Paragraph(
        f"Case 1 ended as 'paid' at {format_time(BEGIN)}.",
        "",
        "Nothing follows.",
        "Done, and never called again: the effect pay.",
        NOTHING_TO_DO,
    )


def test_a_cancelled_case_with_an_effect_in_doubt_says_to_resolve_it(tmp_path: Path) -> None:
    def pay(text: str, *, ctx: Context) -> str:
        raise OSError("the line went dead")

    async def cancel(engine: Engine, case: int) -> None:
        await engine.cancel(case, by="ada", why="withdrawn")

    first = told_at_rest(tmp_path, paying(pay), cancel).paragraph(BEGIN)

    assert first.stands.startswith("Case 1 was cancelled (withdrawn) at ")
    assert first.follows == "Nothing follows, but nobody knows whether pay happened."
    assert first.commands[0].startswith("pointsman resolve ")


def test_an_erased_case_says_who_erased_it(tmp_path: Path) -> None:
    async def erase(engine: Engine, case: int) -> None:
        await engine.erase(case, by="ada", why="a wish")

    first = told_at_rest(tmp_path, calling(assessed), erase).paragraph(BEGIN)

    assert first.text == f"The content of case 1 is erased: by ada at {format_time(BEGIN)} (a wish). {NOTHING_TO_DO}"


# The rest of the text.


def test_exactly_one_rule_wins_and_those_behind_it_that_hold_lose(tmp_path: Path) -> None:
    process = Process("claims", Bare)
    process.rules(
        when("cold", lambda c: c.text == "ice", park("melt it")),
        when("hot", lambda c: c.text == "fire", park("cool it")),
        when("any", lambda c: c.text != "", park("look at it")),
        when("broken", lambda c: c.text > 1, park("too much")),
        otherwise(finish("fine")),
    )

    told = told_at_rest(tmp_path, process)

    assert [rule.stands for rule in told.rules] == ["fails", "wins", "would hold", "not reached", "would hold"]
    lines = "\n".join(told.lines(BEGIN, " --db x"))
    assert lines.count("✓") == 1
    assert "  - any -> park  (text)  would hold, but an earlier rule wins" in lines
    assert "\n    broken -> park  (text)\n" in lines
    assert "  pointsman redrive 1 --why TEXT --set FIELD=VALUE --db x\n" in lines


def test_the_key_of_the_effect_that_comes_next_is_the_key_that_it_is_called_with(tmp_path: Path) -> None:
    def pay(text: str, *, ctx: Context) -> str:
        return "paid"

    before, process = Process("claims", Bare), paying(pay)
    before.rules(otherwise(park("not yet")))

    async def main() -> tuple[list[str], list[str]]:
        async with Engine.open(tmp_path / "cases.db", [before], clock=ManualClock()) as engine:
            await engine.start(before, {"text": "fire"})
            await engine.idle()
        async with Engine.open(tmp_path / "cases.db", [process], clock=ManualClock()) as engine:
            told = await explain_case(engine.reader, [process], 1)
            await engine.redrive(1, by="ada", why="other rules")
            await engine.idle()
            return told.ledger.keys("to be called"), [entry.key for entry in await engine.reader.effects(1)]

    foretold, called = asyncio.run(main())

    assert foretold == called
    assert len(called) == 1


def test_without_a_look_around_nothing_is_said_about_engines(tmp_path: Path) -> None:
    told = replace(told_at_rest(tmp_path, calling(broken, attempts=3)), around=NOTHING_AROUND)

    assert told.paragraph(BEGIN + HOUR).do.startswith("There is nothing to do: an engine runs it by itself")
