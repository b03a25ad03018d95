"""Why a case stands where it stands, and what would happen if it went on now; nothing is run to find out."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pointsman import (
    AtLeastOnce,
    AtMostOnce,
    ChildEnd,
    Context,
    Engine,
    Guard,
    Idempotent,
    Item,
    ModelResponse,
    NotSent,
    Process,
    Reconcile,
    Rejected,
    Retry,
    Safety,
    State,
    Status,
    compensate,
    each,
    explain_case,
    export_case,
    finish,
    format_time,
    history_of,
    otherwise,
    when,
)
from pointsman.definition.process import AnyProcess
from pointsman.operations.explain import Explanation, explain
from pointsman.testing.clock import ManualClock

BEGIN = ManualClock().now()
TIMEOUT = 30.0
SETTLE = 120.0


class Letter(State):
    message: str
    reply: str | None = None
    verdict: str | None = None
    approval: bool | None = None
    receipt: str | None = None


def draft(message: str) -> str:
    return message.upper()


def check(reply: str) -> str:
    return f"checked {reply}"


def deliver(message: str) -> str:
    return f"sent {message}"


def letter(
    draft: Callable[[str], str] = draft,
    deliver: Callable[[str], str] = deliver,
    safety: Safety | None = None,
    attempts_max: int = 1,
    asks: bool = True,
) -> Process[Letter]:
    """Draft, check, approve if it `asks` for it, send."""
    process = Process("letter", Letter)
    retry = Retry(attempts_max=attempts_max, first_seconds=10.0, jitter=0.0)

    def write(message: str) -> str:
        return draft(message)

    def send(message: str, reply: str, *, ctx: Context) -> str:
        return deliver(reply)

    writes, checks = process.node(write, writes="reply", retry=retry), process.node(check, writes="verdict")
    approve = process.pause(name="approve", writes="approval", answer=bool, shows=("reply",), edits=("reply",), beside=("verdict",))
    sends = process.effect(send, writes="receipt", safety=safety or Idempotent(), timeout_seconds=TIMEOUT, retry=retry)
    process.rules(
        when("no reply", lambda c: c.reply is None, writes),
        when("unchecked", lambda c: c.verdict is None, checks),
        when("open", lambda c: c.approval is None and (asks or c.message == "ask"), approve),
        when("refused", lambda c: c.approval is False, finish("refused")),
        when("unsent", lambda c: c.receipt is None, sends),
        otherwise(finish("sent")),
    )
    return process


@asynccontextmanager
async def engine_on(path: Path, process: AnyProcess) -> AsyncIterator[Engine]:
    async with Engine.open(path / "cases.db", [process], clock=ManualClock(), random=random.Random(7)) as engine:
        yield engine


async def told_by(engine: Engine, process: AnyProcess, case: int) -> Explanation:
    return explain(process, await history_of(engine.reader, case))


def explained(path: Path, process: AnyProcess, *, until: str, under: AnyProcess | None = None) -> Explanation:
    """Start a case, let it come to an event of this kind, and explain it under the same process or another one."""

    async def main() -> Explanation:
        async with engine_on(path, process) as engine:
            case = (await engine.start(process, {"message": "hello"})).case
            async for event in engine.events():
                if event.kind == until:
                    break
            return await told_by(engine, under or process, case)

    return asyncio.run(main())


def answered(path: Path, process: AnyProcess, then: Callable[[Engine, int], Awaitable[Any]] | None = None) -> Explanation:
    """Start a case, approve it, and explain it where it comes to rest."""

    async def main() -> Explanation:
        async with engine_on(path, process) as engine:
            case = (await engine.start(process, {"message": "hello"})).case
            await engine.wait_until_resting(case)
            await engine.resume((await engine.pending(case)).token, True, by="anna")
            await engine.wait_until_resting(case)
            if then is not None:
                await then(engine, case)
            return await told_by(engine, process, case)

    return asyncio.run(main())


# Waiting for a person.


def test_a_waiting_case_names_the_rule_and_the_fields_that_decided(tmp_path: Path) -> None:
    told = explained(tmp_path, letter(), until="paused")

    assert (told.case.status, told.case.step, told.case.rule) == (Status.WAITING, "approve", "open")
    assert told.reads == {"reply": "HELLO", "verdict": "checked HELLO", "approval": None}
    assert [(rule.name, rule.holds) for rule in told.rules] == [
        ("no reply", False), ("unchecked", False), ("open", True), ("refused", False), ("unsent", True), ("otherwise", True),
    ]  # fmt: skip
    assert told.obstacles == ()
    assert told.case.wake_at is None


def test_a_waiting_case_tells_which_rules_depend_on_the_answer_and_which_follow_in_any_case(tmp_path: Path) -> None:
    told = explained(tmp_path, letter(), until="paused")

    following = {rule.name: rule.certain for rule in told.following}
    assert (following["open"], following["refused"], following["unsent"]) == (False, False, True)
    assert "otherwise" not in following
    assert {rule.name: rule.step for rule in told.following}["unsent"] == "send"


def test_a_rule_that_an_edit_in_the_answer_brings_back_is_shown_too(tmp_path: Path) -> None:
    """The answer may rewrite the reply, which clears its verdict: then it is checked again before anything else."""
    told = explained(tmp_path, letter(), until="paused")

    assert "unchecked" in [rule.name for rule in told.following]


def test_a_waiting_case_tells_what_would_not_be_repeated(tmp_path: Path) -> None:
    told = explained(tmp_path, letter(), until="paused")

    assert told.stands == {"write": ("reply",), "check": ("verdict",)}


def test_an_effect_that_was_not_called_yet_is_shown_with_its_policy(tmp_path: Path) -> None:
    told = explained(tmp_path, letter(safety=AtMostOnce()), until="paused")

    assert list(told.effects) == ["send"]
    assert told.effects["send"].startswith("not called yet")
    assert "AtMostOnce" in told.effects["send"]


def test_an_explanation_runs_nothing_and_writes_nothing(tmp_path: Path) -> None:
    calls: list[str] = []

    def counted(message: str) -> str:
        calls.append(message)
        return message

    process = letter(draft=counted, deliver=counted)

    async def main() -> None:
        async with engine_on(tmp_path, process) as engine:
            case = (await engine.start(process, {"message": "hello"})).case
            await engine.wait_until_resting(case)
            before = await history_of(engine.reader, case)
            first, second = await told_by(engine, process, case), await told_by(engine, process, case)

            assert first == second
            assert await history_of(engine.reader, case) == before
            assert calls == ["hello"]

    asyncio.run(main())


def test_an_explanation_is_plain_json(tmp_path: Path) -> None:
    told = explained(tmp_path, letter(), until="paused")

    read = json.loads(json.dumps(told.as_json(BEGIN)))
    assert read == told.as_json(BEGIN)

    assert (read["status"], read["step"], read["rule"]) == ("waiting", "approve", "open")
    assert read["stands"] == {"write": ["reply"], "check": ["verdict"]}
    assert read["rules"][0] == {
        "name": "no reply", "step": "write", "holds": False, "reads": ["reply"], "problem": None, "stands": "fails",
        "certain": True, "likely": True, "note": None,
    }  # fmt: skip


# Done.


def test_a_case_that_is_done_tells_that_nothing_follows_and_no_effect_is_called_again(tmp_path: Path) -> None:
    told = answered(tmp_path, letter())

    assert (told.case.status, told.case.step, told.case.rule) == (Status.DONE, "finish('sent')", "otherwise")
    assert told.following == ()
    assert told.obstacles == ()
    assert told.effects["send"].startswith("done; it will not be called again")
    assert told.stands == {"write": ("reply",), "check": ("verdict",), "approve": ("approval",), "send": ("receipt",)}


def test_an_ended_case_promises_no_call(tmp_path: Path) -> None:
    async def main() -> list[Explanation]:
        process = letter(deliver=broken, safety=AtMostOnce())
        async with engine_on(tmp_path, process) as engine:
            told = []
            for answer in (None, True):
                case = (await engine.start(process, {"message": "hello"})).case
                await engine.wait_until_resting(case)
                if answer is not None:
                    await engine.resume((await engine.pending(case)).token, answer, by="anna")
                    await engine.wait_until_resting(case)
                await engine.cancel(case, by="anna", why="no longer wanted")
                told.append(await told_by(engine, process, case))
            return told

    uncalled, in_doubt = asyncio.run(main())

    assert uncalled.effects["send"] == "not called (AtMostOnce)"
    assert in_doubt.effects["send"].startswith(
        "in doubt (cannot read HELLO); the case has ended, and an operator can still say whether it happened"
    )


class Cast(State):
    size: int
    cooled_at: float | None = None


class Ordered(State):
    size: int
    cast: ChildEnd | None = None


def test_a_case_that_waits_for_no_person_says_what_it_waits_for(tmp_path: Path) -> None:
    def size_of(size: int) -> dict[str, int]:
        return {"size": size}

    casting, ordering = Process("casting", Cast), Process("ordering", Ordered)
    cool = casting.sleep(writes="cooled_at", seconds="1h", name="cool")
    cast = ordering.child(casting, size_of, writes="cast", name="have it cast")
    casting.rules(when("hot", lambda c: c.cooled_at is None, cool), otherwise(finish("cast")))
    ordering.rules(when("not cast", lambda c: c.cast is None, cast), otherwise(finish("made")))

    async def main() -> tuple[str, str]:
        async with Engine.open(tmp_path / "cases.db", [casting, ordering], clock=ManualClock()) as engine:
            case = (await engine.start(ordering, {"size": 2})).case
            await engine.idle(horizon_seconds=1.0)
            [child] = await engine.reader.children(case)
            parents, childs = await told_by(engine, ordering, case), await told_by(engine, casting, child.id)
            return "\n".join(parents.lines(BEGIN)), "\n".join(childs.lines(BEGIN))

    of_parent, of_child = asyncio.run(main())

    assert "What can come next, after the end of the child:\n  finish('made')  (by otherwise)\n  less likely: have it cast" in of_parent
    assert "What can come next, after the end of the sleep:\n  finish('cast')  (by otherwise)\n  less likely: cool" in of_child


# Parked, and in doubt.


def broken(text: str) -> str:
    raise ValueError(f"cannot read {text}")


def test_a_parked_case_tells_the_reason_and_what_would_be_tried_again(tmp_path: Path) -> None:
    told = explained(tmp_path, letter(draft=broken), until="parked")

    assert told.case.status is Status.PARKED
    assert len(told.obstacles) == 1
    assert "'write' failed after 1 attempt: cannot read hello" in told.obstacles[0]
    assert [(rule.name, rule.step, rule.certain) for rule in told.following] == [("no reply", "write", True)]
    assert told.stands == {}


def test_a_call_in_doubt_is_shown_with_its_key_and_who_decides(tmp_path: Path) -> None:
    told = answered(tmp_path, letter(deliver=broken, safety=AtMostOnce()))

    assert told.case.status is Status.PARKED
    assert "may or may not have happened" in told.obstacles[0]
    assert told.effects["send"].startswith("in doubt (cannot read HELLO)")
    assert "an operator must decide" in told.effects["send"]
    assert "(key " in told.effects["send"]
    assert told.following[0].note == "in doubt (cannot read HELLO); an operator must decide whether to call it again"


def test_a_compensation_that_has_begun_comes_next_whatever_the_rules_choose(tmp_path: Path) -> None:
    class Trip(State):
        where: str
        hotel: str | None = None

    process = Process("trip", Trip)

    def room(where: str) -> str:
        return f"a room in {where}"

    def cancel(hotel: str) -> None:
        raise OSError("the line went dead")

    undo = process.compensation(safety=AtMostOnce())(cancel)
    book = process.effect(room, writes="hotel", safety=AtLeastOnce("it is cheap"), undo=undo, name="book")
    process.accept(str, writes="where", correlate=lambda where: "one")
    process.rules(
        when("no hotel", lambda c: c.hotel is None, book),
        when("rain", lambda c: c.where == "Oslo", compensate("called off")),
        otherwise(finish("packed")),
    )

    async def main() -> Explanation:
        async with engine_on(tmp_path, process) as engine:
            case = (await engine.start(process, {"where": "Oslo"}, correlation="one")).case
            await engine.wait_until_resting(case)
            await engine.send(process, "Rome")
            await engine.idle()
            assert (await engine.state(case, Trip)).where == "Rome"
            return await told_by(engine, process, case)

    told = asyncio.run(main())

    assert [(rule.name, rule.step) for rule in told.following] == [("rain", "compensate('called off')")]
    assert told.effects["cancel"].startswith("in doubt")


def refused(text: str) -> str:
    raise Rejected(f"no such address for {text}")


def test_a_rejected_effect_is_shown_as_never_called_again(tmp_path: Path) -> None:
    told = answered(tmp_path, letter(deliver=refused))

    assert told.case.status is Status.PARKED
    assert told.effects["send"].startswith("rejected: no such address for HELLO")
    assert "not be called again" in told.effects["send"]


def unsent(text: str) -> str:
    raise NotSent(f"nobody listens for {text}")


def test_a_rejection_does_not_count_for_an_effect_that_reads_something_else_now(tmp_path: Path) -> None:
    async def correct(engine: Engine, case: int) -> None:
        await engine.redrive(case, by="anna", why="a typo", fields={"message": "ask"})
        await engine.wait_until_resting(case)
        assert (await engine.case(case)).step == "approve"

    told = answered(tmp_path, letter(deliver=refused), then=correct)

    assert [(rule.step, rule.note) for rule in told.following if rule.step == "send"] == [("send", None)]
    assert told.effects["send"].startswith("rejected: no such address for HELLO")


def test_an_effect_that_was_not_sent_is_shown_as_called_again(tmp_path: Path) -> None:
    told = answered(tmp_path, letter(deliver=unsent))

    assert told.case.status is Status.PARKED
    assert told.effects["send"].startswith("not sent (nobody listens for HELLO); it will be called again")
    assert told.following[0].note == "not sent (nobody listens for HELLO); it will be called again once the case goes on"


def test_a_call_that_is_tried_again_tells_when_and_how_often(tmp_path: Path) -> None:
    told = explained(tmp_path, letter(deliver=unsent, attempts_max=3, asks=False), until="effect.not_sent")

    assert told.case.status is Status.READY
    assert told.case.wake_at is not None
    assert told.following[0].note == (
        f"not sent (nobody listens for HELLO); it will be called again at {format_time(told.case.wake_at)}, call 2 of 3"
    )
    lines = [*told.lines(told.case.wake_at - 90.0)]
    assert f"  due at {format_time(told.case.wake_at)}, in 1 minute 30 seconds" in lines
    assert f"  send  (by unsent): {told.following[0].note}" in lines


def test_a_call_is_shown_under_the_policy_that_it_was_made_under(tmp_path: Path) -> None:
    """Whoever looks may have another way out in the settings than the engine that called."""
    told = explained(tmp_path, letter(deliver=broken, safety=AtMostOnce(), asks=False), until="parked", under=letter(safety=Idempotent()))

    assert "AtMostOnce" in told.effects["send"]
    assert "an operator must decide" in told.effects["send"]


# Waiting for a time.


def test_a_case_that_is_tried_again_later_tells_when_and_what(tmp_path: Path) -> None:
    told = explained(tmp_path, letter(draft=broken, attempts_max=3), until="node.retried")

    assert (told.case.status, told.case.step, told.case.rule, told.case.wake_at) == (Status.READY, "write", "no reply", BEGIN + 10.0)
    assert told.obstacles == ()
    assert [(rule.name, rule.certain) for rule in told.following] == [("no reply", True)]


def look(reply: str) -> object:
    raise AssertionError("an explanation asks nobody")


def test_a_case_that_waits_for_its_look_up_shows_until_when(tmp_path: Path) -> None:
    process = letter(deliver=broken, safety=Reconcile(look, SETTLE), asks=False)

    told = explained(tmp_path, process, until="effect.in_doubt")

    assert (told.case.status, told.case.step, told.case.wake_at) == (Status.READY, "send", BEGIN + TIMEOUT + SETTLE)
    assert told.effects["send"].startswith("in doubt (cannot read HELLO)")
    assert [rule.name for rule in told.following] == ["unsent"]
    assert told.following[0].note == (
        f"in doubt (cannot read HELLO); a look-up finds out whether it happened at {format_time(BEGIN + TIMEOUT + SETTLE)}, "
        "and it will not be called again before that"
    )


# Under changed code.


def test_a_case_whose_rules_would_decide_otherwise_now_says_so(tmp_path: Path) -> None:
    told = explained(tmp_path, letter(), until="paused", under=letter(asks=False))

    assert len(told.obstacles) == 1
    assert "rule 'unsent' would choose send instead of approve" in told.obstacles[0]


def test_the_rule_that_decided_is_shown_with_the_fields_that_it_read_then(
    tmp_path: Path,
) -> None:
    told = explained(tmp_path, letter(), until="paused", under=letter(asks=False))

    assert told.case.rule == "open"
    assert set(told.reads) == {"reply", "verdict", "approval"}


def test_a_case_that_is_done_has_no_obstacle_in_other_rules(tmp_path: Path) -> None:
    process = letter()

    async def main() -> Explanation:
        async with engine_on(tmp_path, process) as engine:
            case = (await engine.start(process, {"message": "hello"})).case
            await engine.wait_until_resting(case)
            await engine.resume((await engine.pending(case)).token, False, by="anna")
            await engine.wait_until_resting(case)
            return await told_by(engine, letter(asks=False), case)

    told = asyncio.run(main())

    assert (told.case.status, told.obstacles, told.following) == (Status.DONE, (), ())


def test_a_stored_value_that_no_longer_fits_is_an_obstacle(tmp_path: Path) -> None:
    class Numbered(State):
        message: str
        reply: int | None = None
        verdict: str | None = None

    changed = Process("letter", Numbered)

    def count(message: str) -> int:
        return len(message)

    def judge(reply: int) -> str:
        return str(reply)

    counts, judges = changed.node(count, writes="reply"), changed.node(judge, writes="verdict")
    changed.rules(
        when("no reply", lambda c: c.reply is None, counts),
        when("unchecked", lambda c: c.verdict is None, judges),
        otherwise(finish("sent")),
    )

    told = explained(tmp_path, letter(), until="paused", under=changed)

    assert any("field 'reply' no longer fits its type" in obstacle for obstacle in told.obstacles)


def test_a_condition_that_raises_is_shown_with_its_problem(tmp_path: Path) -> None:
    changed = Process("letter", Letter)
    for function, field in ((draft, "reply"), (check, "verdict"), (deliver, "receipt")):
        changed.node(function, writes=field)
    changed.pause(name="approve", writes="approval", answer=bool, shows=("reply",))
    changed.rules(
        when("broken", lambda c: c.message.nonsense, finish("x")),
        *(when(f"rule of {name}", lambda c, n=name: c.message == n, step) for name, step in changed.steps.items()),
        otherwise(finish("sent")),
    )

    told = explained(tmp_path, letter(), until="paused", under=changed)

    assert (told.rules[0].name, told.rules[0].holds) == ("broken", None)
    assert told.rules[0].problem is not None
    assert "AttributeError" in told.rules[0].problem
    assert "rule 'broken' would choose park" in told.obstacles[0]


@pytest.mark.parametrize("until", ["parked", "node.failed"])
def test_an_effect_that_the_code_no_longer_has_is_still_shown_from_the_ledger(tmp_path: Path, until: str) -> None:
    class Short(State):
        message: str
        reply: str | None = None

    changed = Process("letter", Short)
    drafts = changed.node(draft, writes="reply")
    changed.rules(when("no reply", lambda c: c.reply is None, drafts), otherwise(finish("sent")))

    told = explained(tmp_path, letter(deliver=refused, asks=False), until=until, under=changed)

    assert told.effects["send"].startswith("rejected: no such address")


@pytest.mark.parametrize(
    ("guard", "asks", "rejected"),
    [
        ({"repairs_max": 1}, "its model 0 is asked for repair 1 (sorry: it does not say sorry)", "no"),
        ({"repairs_max": 0, "models": 2}, "its model 1 is asked afresh", ""),
    ],
)
def test_a_step_whose_guard_asks_again_tells_what_it_asks(tmp_path: Path, guard: dict[str, int], asks: str, rejected: str) -> None:
    class Note(State):
        mail: str
        reply: str | None = None

    def sorry(reply: str) -> str | None:
        return "it does not say sorry"

    def write(mail: str, *, ctx: Context) -> ModelResponse[str]:
        if ctx.violations or ctx.model:
            raise ConnectionError("later")
        return ModelResponse("no", "m", "no")

    process = Process("note", Note)
    node = process.node(write, writes="reply", guard=Guard(sorry, **guard), retry=Retry(attempts_max=2, first_seconds=3_600.0))
    process.rules(when("no reply", lambda c: c.reply is None, node), otherwise(finish("written")))

    async def main() -> Any:
        async with engine_on(tmp_path, process) as engine:
            case = (await engine.start(process, {"mail": "hi"})).case
            await engine.idle(horizon_seconds=0.0)
            return (await told_by(engine, process, case)).branches, (await export_case(engine.reader, case)).as_json()["branches"]

    told, [exported] = asyncio.run(main())

    assert told == {"write": f"has not ended; {asks}"}
    assert exported["guard"]["rejected"] == rejected


def test_the_branches_of_a_step_that_parked_are_shown(tmp_path: Path) -> None:
    class Cart(State):
        lines: list[str]
        prices: list[int] | None = None

    def price(line: Item[str]) -> int:
        return {"book": 20}[line]

    process = Process("cart", Cart)
    prices = process.node(price, writes="prices", retry=Retry(attempts_max=1))
    process.rules(when("open", lambda c: c.prices is None, each(prices, over="lines")), otherwise(finish("priced")))

    async def main() -> Any:
        async with engine_on(tmp_path, process) as engine:
            case = (await engine.start(process, {"lines": ["book", "ink"]})).case
            await engine.wait_until_resting(case)
            told = await told_by(engine, process, case)
            await engine.cancel(case, by="anna", why="no ink")
            return told, await engine.reader.branches(case)

    told, left = asyncio.run(main())

    assert told.branches["price[0]"] == "has succeeded; it would not run again"
    assert told.branches["price[1]"].startswith("has failed: 'ink'; a redrive")
    assert told.as_json(BEGIN)["branches"] == dict(told.branches)
    assert left == ()


@pytest.mark.parametrize(("safety", "differs"), [(AtMostOnce(), False), (Idempotent(), True)])
def test_a_definition_that_did_not_work_on_the_database_last_is_told_apart(safety: Safety, differs: bool, tmp_path: Path) -> None:
    async def main() -> Explanation:
        async with engine_on(tmp_path, letter(safety=AtMostOnce())) as engine:
            case = (await engine.start("letter", {"message": "hello"})).case
            await engine.wait_until_resting(case)
            return await explain_case(engine.reader, [letter(safety=safety)], case)

    told = asyncio.run(main())

    assert [obstacle for obstacle in told.obstacles if "has never been opened on the database" in obstacle] == (
        [*told.obstacles] if differs else []
    )
    assert bool(told.obstacles) is differs


def test_a_newer_definition_that_is_not_shown_is_told_apart_and_one_that_runs_beside_it_is_not(tmp_path: Path) -> None:
    def version(number: int) -> Process[Cast]:
        process = Process("cast", Cast, version=number)
        cool = process.sleep(writes="cooled_at", seconds="1h", name="cool")
        process.rules(when("hot", lambda c: c.cooled_at is None, cool), otherwise(finish(f"cast by {number}")))
        return process

    old, new = version(1), version(2)

    async def main() -> tuple[Explanation, Explanation]:
        case = 0
        for at, processes in enumerate(([old], [new], [old, new])):
            async with Engine.open(tmp_path / "cases.db", processes, clock=ManualClock(BEGIN + at)) as engine:
                if not case:
                    case = (await engine.start("cast", {"size": 1})).case
                await engine.idle(horizon_seconds=1.0)
                told = [await explain_case(engine.reader, given, case) for given in ([old], [old, new])]
        return told[0], told[1]

    alone, together = asyncio.run(main())

    [obstacle] = alone.obstacles
    assert "a newer definition" in obstacle
    assert "has been opened on the database; if an engine uses that one, its rules" in obstacle
    assert together.obstacles == ()
