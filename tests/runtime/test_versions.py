"""Deploys: a database of one version, opened by the code of another one."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from letters import World
from places import Place, definitions_with, run

from pointsman import (
    AtMostOnce,
    Context,
    DefinitionError,
    Idempotent,
    NotWaiting,
    Process,
    Refused,
    Retry,
    Stale,
    State,
    Status,
    compensate,
    finish,
    otherwise,
    parallel,
    when,
)
from pointsman.definition.pauses import Expire
from pointsman.errors import VersionNotAccepted
from pointsman.kernel.ledger import EffectStatus
from pointsman.runtime.registry import Registry
from pointsman.store.sqlite import open_sqlite
from pointsman.store.sqlite_file import APPLICATION_ID
from pointsman.store.statements import migrations
from pointsman.testing.clock import ManualClock


class Ask1(State):
    message: str
    draft: str | None = None
    answer: str | None = None
    receipt: str | None = None


class Ask2(State):
    """The state of version 2: the message has a language, and the draft is called `reply`."""

    message: dict[str, str]
    reply: str | None = None
    answer: str | None = None
    receipt: str | None = None


def to_2(fields: Any) -> Any:
    moved = {**fields, "message": {"text": fields["message"], "language": "en"}}
    if "draft" in moved:
        moved["reply"] = moved.pop("draft")
    return moved


def ask_1(version: int = 1, **settings: Any) -> Process[Ask1]:
    """Write, ask, post."""
    process = Process("ask", Ask1, version=version, **settings)

    @process.node(writes="draft")
    async def write(message: str) -> str:
        return f"re: {message}"

    ask = process.pause(writes="answer", answer=str, shows=("draft",))

    @process.effect(writes="receipt", safety=AtMostOnce())
    async def post(draft: str, *, ctx: Context, world: World) -> str:
        return await world.post(ctx.key)

    process.rules(
        when("no draft", lambda c: c.draft is None, write),
        when("not asked", lambda c: c.answer is None, ask),
        when("not posted", lambda c: c.receipt is None, post),
        otherwise(finish("posted")),
    )
    return process


def ask_2(version: int = 2, accepts: Any = None) -> Process[Ask2]:
    process = Process("ask", Ask2, version=version, accepts={1: to_2} if accepts is None else accepts)

    @process.node(writes="reply")
    async def write(message: dict[str, str]) -> str:
        return f"re: {message['text']} ({message['language']})"

    ask = process.pause(writes="answer", answer=str, shows=("reply",))

    @process.effect(writes="receipt", safety=AtMostOnce())
    async def post(reply: str, message: dict[str, str], *, ctx: Context, world: World) -> str:
        return await world.post(ctx.key)

    process.rules(
        when("no reply", lambda c: c.reply is None, write),
        when("not asked", lambda c: c.answer is None, ask),
        when("not posted", lambda c: c.receipt is None, post),
        otherwise(finish("posted")),
    )
    return process


async def start_asked(place: Place, *, process: Process[Any] | None = None) -> tuple[int, str]:
    """A case of version 1 that waits for an answer, and the token of its pause."""
    process = process or ask_1()
    async with place.open(process, resources={"world": World()}) as engine:
        started = await engine.start(process, {"message": "hello"})
        await engine.wait_until_resting(started.case)
        return started.case, (await engine.pending(started.case)).token


async def told(engine: Any, case: int) -> list[str]:
    return [event.kind for event in await engine.reader.events(case=case)]


def test_an_answer_brings_a_waiting_case_to_the_new_version_in_the_same_commit(place: Place) -> None:
    async def main() -> Any:
        process, world = ask_1(), World()
        case, token = await start_asked(place)
        settled = ask_1(2, accepts={1: None})
        async with place.open(settled, resources={"world": world}) as engine:
            before = await engine.case(case)
            await engine.resume(token, "yes", by="anna")
            await engine.wait_until_resting(case)
            events = await engine.reader.events(case=case)
            return process, before, await engine.case(case), events, await engine.state(case, Ask1)

    _, before, row, events, state = run(main())

    migrated = next(event for event in events if event.kind == "migrated")
    resumed = next(event for event in events if event.kind == "resumed")
    facts = json.loads(migrated.facts)
    assert (before.version, row.version, row.outcome) == (1, 2, "posted")
    assert migrated.revision == resumed.revision
    assert (facts["since"], facts["to"], facts["fields"]) == (1, 2, [])
    assert state.answer == "yes"


def test_a_migration_of_what_was_shown_makes_the_answer_stale(place: Place) -> None:
    async def main() -> Any:
        case, token = await start_asked(place)
        async with place.open(ask_2(), resources={"world": World()}) as engine:
            state_before = await engine.state(case, Ask2)
            version_before = (await engine.case(case)).version
            with pytest.raises(Stale) as stale:
                await engine.resume(token, "yes", by="anna")
            await engine.resume(stale.value.current.token, "yes", by="anna")
            row = await engine.wait_until_resting(case)
            fields = {row.field: row for row in await engine.reader.fields(case)}
            return state_before, version_before, stale.value.current, row, fields, await told(engine, case)

    state, version, pending, row, fields, kinds = run(main())

    assert (state.message, state.reply, version) == ({"text": "hello", "language": "en"}, "re: hello", 1)
    assert pending.shown == {"reply": "re: hello"}
    assert (row.status, row.outcome, row.version) == (Status.DONE, "posted", 2)
    assert "draft" not in fields
    assert (fields["message"].text, fields["message"].writer) == ('{"text":"hello","language":"en"}', "")
    assert kinds.count("migrated") == 1
    assert "field.cleared" not in kinds


def test_migrations_are_run_one_after_the_other_up_to_the_present_version(place: Place) -> None:
    async def main() -> Any:
        case, _ = await start_asked(place)
        english = {1: to_2, 2: lambda fields: {**fields, "message": {**fields["message"], "language": "fr"}}, 3: None}
        async with place.open(ask_2(4, english), resources={"world": World()}) as engine:
            pending = await engine.pending(case)
            await engine.resume(pending.token, "yes", by="anna")
            row = await engine.wait_until_resting(case)
            return row, await engine.state(case, Ask2), await told(engine, case)

    row, state, kinds = run(main())

    assert (row.version, row.outcome, state.message["language"]) == (4, "posted", "fr")
    assert kinds.count("migrated") == 1


def test_a_case_that_no_version_accepts_is_blocked_until_code_accepts_it(place: Place) -> None:
    async def main() -> Any:
        case, token = await start_asked(place)
        async with place.open(ask_2(2, {}), resources={"world": World()}) as engine:
            blocked = await engine.wait_until_resting(case)
            listed = [row.id for row in await engine.reader.cases(status=Status.BLOCKED)]
            counts = await engine.reader.counts()
            with pytest.raises(NotWaiting) as refused:
                await engine.resume(token, "yes", by="anna")
            with pytest.raises(Refused, match="not parked"):
                await engine.redrive(case, by="anna", why="try")
            with pytest.raises(VersionNotAccepted):
                await engine.state(case)
        async with place.open(ask_2(), resources={"world": World()}) as engine:
            await engine.idle()
            waiting = await engine.case(case)
            await engine.resume((await engine.pending(case)).token, "yes", by="anna")
            done = await engine.wait_until_resting(case)
            return blocked, listed, counts, str(refused.value), waiting, done, await told(engine, case)

    blocked, listed, counts, refused, waiting, done, kinds = run(main())

    assert (blocked.status, blocked.version) == (Status.BLOCKED, 1)
    assert "no registered code accepts version 1 of 'ask'" in blocked.reason
    assert "add 1 to accepts=" in blocked.reason
    assert listed == [blocked.id]
    assert counts == {Status.BLOCKED: 1}
    assert blocked.reason in refused
    assert (waiting.status, waiting.version) == (Status.WAITING, 2)
    assert done.outcome == "posted"
    assert [kind for kind in kinds if kind in {"blocked", "unblocked", "migrated"}] == ["blocked", "unblocked", "migrated"]


def test_a_case_of_a_newer_version_is_blocked_until_the_newer_code_is_back(place: Place) -> None:
    async def main() -> Any:
        newer = ask_1(3)
        case, _ = await start_asked(place, process=newer)
        async with place.open(ask_1(2, accepts={1: None}), resources={"world": World()}) as engine:
            blocked = await engine.case(case)
        async with place.open(newer, resources={"world": World()}) as engine:
            await engine.idle()
            return blocked, await engine.case(case)

    blocked, back = run(main())

    assert blocked.status is Status.BLOCKED
    assert blocked.reason == "no registered code accepts version 3 of 'ask' (version 2 also accepts 1); open the newer code"
    assert (back.status, back.version) == (Status.WAITING, 3)


def test_a_blocked_case_can_be_cancelled(place: Place) -> None:
    async def main() -> Any:
        case, _ = await start_asked(place)
        async with place.open(ask_2(2, {}), resources={"world": World()}) as engine:
            return await engine.cancel(case, by="anna", why="no longer wanted")

    assert run(main()).status is Status.CANCELLED


def test_the_next_opening_leaves_a_blocked_case_unchanged(place: Place) -> None:
    async def main() -> Any:
        case, _ = await start_asked(place)
        for _ in range(2):
            async with place.open(ask_2(2, {}), resources={"world": World()}) as engine:
                row = await engine.case(case)
        return row, await told(engine, case) if place.store else None

    row, kinds = run(main())

    assert row.status is Status.BLOCKED
    assert kinds is None or kinds.count("blocked") == 1


def wrong(fields: Any) -> Any:
    return {**fields, "message": fields["massage"]}


@pytest.mark.parametrize(
    ("migration", "reason"),
    [
        (wrong, "the migration of 'ask' from version 1 raised KeyError: 'massage'; correct it"),
        (lambda fields: {**fields, "message": 7}, "after its migrations the stored value of field 'message' no longer fits its type"),
        (lambda fields: {**to_2(fields), "replies": "x"}, "gives 'replies', which is not a field of Ask2; correct it"),
        (lambda fields: {**to_2(fields), "reply": float("nan")}, "raised ValueError"),
        (lambda fields: None, "raised TypeError"),
        (None, "the stored value of field 'message' no longer fits its type"),
    ],
)
def test_a_migration_that_fails_blocks_the_case_with_its_reason_and_changes_nothing(place: Place, migration: Any, reason: str) -> None:
    async def main() -> Any:
        case, token = await start_asked(place)
        async with place.open(ask_2(2, {1: migration}), resources={"world": World()}) as engine:
            before = {row.field: row.text for row in await engine.reader.fields(case)}
            with pytest.raises(VersionNotAccepted) as refused:
                await engine.resume(token, "yes", by="anna")
            row = await engine.case(case)
            after = {row.field: row.text for row in await engine.reader.fields(case)}
        async with place.open(ask_2(), resources={"world": World()}) as engine:
            await engine.idle()
            return str(refused.value), row, before == after, await engine.case(case)

    refused, row, unchanged, back = run(main())

    assert reason in refused
    assert (row.status, row.version) == (Status.BLOCKED, 1)
    assert row.reason in refused
    assert unchanged
    assert (back.status, back.version) == (Status.WAITING, 2)


def test_several_versions_run_side_by_side_and_new_cases_get_the_highest(place: Place) -> None:
    async def main() -> Any:
        case, token = await start_asked(place)
        async with place.open(ask_2(), ask_1(), resources={"world": World()}) as engine:
            await engine.resume(token, "yes", by="anna")
            old = await engine.wait_until_resting(case)
            new = await engine.start("ask", {"message": {"text": "hi", "language": "en"}})
            await engine.wait_until_resting(new.case)
            return old, await engine.case(new.case), await engine.state(new.case, Ask2)

    old, new, state = run(main())

    assert (old.version, old.outcome, new.version) == (1, "posted", 2)
    assert state.reply == "re: hi (en)"


def test_a_case_continues_under_the_lowest_version_that_accepts_it() -> None:
    processes = [ask_1(5, accepts={4: None}), ask_1(4, accepts={2: None, 3: None}), ask_1(3, accepts={2: None, 1: None})]

    registry = Registry(processes)

    chosen = {version: registry.accepting("ask", version) for version in range(7)}
    assert {version: process and process.version for version, process in chosen.items()} == {
        0: None, 1: 3, 2: 3, 3: 3, 4: 4, 5: 5, 6: None,
    }  # fmt: skip
    assert registry.for_start("ask").version == 5


def test_a_version_is_registered_once() -> None:
    with pytest.raises(DefinitionError, match="two processes are called 'ask' and have version 2; give one"):
        Registry([ask_1(2), ask_2()])


def test_a_parked_case_keeps_its_version_until_somebody_acts(place: Place) -> None:
    async def main() -> Any:
        process = ask_1()
        async with place.open(process, resources={"world": World(ConnectionError("gone"))}) as engine:
            started = await engine.start(process, {"message": "hello"})
            await engine.wait_until_resting(started.case)
            await engine.resume((await engine.pending(started.case)).token, "yes", by="anna")
            parked = await engine.wait_until_resting(started.case)
        async with place.open(ask_2(2, {}), resources={"world": World()}) as engine:
            unaccepted = await engine.case(started.case)
            await engine.redrive(started.case, by="anna", why="the post is back")
            blocked = await engine.wait_until_resting(started.case)
        world = World()
        async with place.open(ask_1(2, accepts={1: None}), resources={"world": world}) as engine:
            back = await engine.wait_until_resting(started.case)
            entry = (await engine.reader.effects(started.case))[0]
            await engine.resolve(entry.key, happened=False, by="anna", why="asked the post office")
            return parked, unaccepted, blocked, back, await engine.wait_until_resting(started.case), world.keys, entry.key

    parked, unaccepted, blocked, back, done, keys, key = run(main())

    assert parked.status is unaccepted.status is Status.PARKED
    assert unaccepted.reason == parked.reason
    assert blocked.status is Status.BLOCKED
    assert back.status is Status.PARKED
    assert (done.outcome, done.version) == ("posted", 2)
    assert keys == [key]


def without_post(*, former_names: str | None = None, accepts: Any = None) -> Process[Ask1]:
    """The effect `post` is removed, or renamed to `send` with `former_names`."""
    process = Process("ask", Ask1, version=2, accepts={1: None} if accepts is None else accepts)

    @process.node(writes="draft")
    async def write(message: str) -> str:
        return f"re: {message}"

    ask = process.pause(writes="answer", answer=str, shows=("draft",))
    named = {"former_names": former_names} if former_names else {}

    @process.effect(writes="receipt", safety=Idempotent(), **named)
    async def send(draft: str, *, ctx: Context, world: World) -> str:
        return await world.post(ctx.key)

    process.rules(
        when("no draft", lambda c: c.draft is None, write),
        when("not asked", lambda c: c.answer is None, ask),
        when("not sent", lambda c: c.receipt is None, send),
        otherwise(finish("sent")),
    )
    return process


async def left_in_doubt(place: Place) -> int:
    """A case of version 1 whose effect `post` is in doubt, and which is ready to look it up."""
    process = ask_1()
    safe = process.steps["post"]
    object.__setattr__(safe, "safety", Idempotent())
    clock = ManualClock()
    async with place.open(process, resources={"world": World(ConnectionError("gone"))}, clock=clock) as engine:
        started = await engine.start(process, {"message": "hello"})
        await engine.wait_until_resting(started.case)
        await engine.resume((await engine.pending(started.case)).token, "yes", by="anna")
        await engine.idle(horizon_seconds=0)
    return started.case


def test_an_effect_in_doubt_that_the_code_no_longer_has_blocks_its_case(place: Place) -> None:
    async def main() -> Any:
        case, world, clock = await left_in_doubt(place), World(), ManualClock(2_000_000.0)
        async with place.open(without_post(), resources={"world": world}, clock=clock) as engine:
            blocked = await engine.wait_until_resting(case)
        async with place.open(without_post(), resources={"world": world}, clock=clock) as engine:
            still = await engine.case(case)
            doubts = [entry.effect for entry in await engine.reader.in_doubt()]
        async with place.open(without_post(former_names="post"), resources={"world": world}, clock=clock) as engine:
            done = await engine.wait_until_resting(case)
            return blocked, still, doubts, done, world.keys, await engine.reader.effects(case)

    blocked, still, doubts, done, keys, entries = run(main())

    assert blocked.status is still.status is Status.BLOCKED
    assert blocked.version == 1
    assert "effect 'post' with key" in blocked.reason
    assert "this code no longer has it" in blocked.reason
    assert doubts == ["post"]
    assert (done.outcome, done.version) == ("sent", 2)
    assert [entry.key for entry in entries] == keys


def letters(name: str, *, former_names: tuple[str, ...] = (), **settings: Any) -> Process[Ask1]:
    """Post the draft, then ask; the effect is called `name`."""
    process = Process("letters", Ask1, **settings)

    @process.node(writes="draft")
    async def write(message: str) -> str:
        return f"re: {message}"

    @process.effect(writes="receipt", safety=AtMostOnce(), name=name, former_names=former_names)
    async def post(draft: str, *, ctx: Context, world: World) -> str:
        return await world.post(ctx.key)

    ask = process.pause(writes="answer", answer=str, shows=("message",))
    process.rules(
        when("no draft", lambda c: c.draft is None, write),
        when("not posted", lambda c: c.receipt is None, post),
        when("not asked", lambda c: c.answer is None, ask),
        otherwise(finish("posted")),
    )
    return process


@pytest.mark.parametrize(("former_names", "calls"), [(("post", "mail"), 1), ((), 2)])
def test_a_renamed_effect_that_is_settled_is_not_called_again(place: Place, former_names: tuple[str, ...], calls: int) -> None:
    async def main() -> Any:
        world, process = World(), letters("post")
        async with place.open(process, resources={"world": world}) as engine:
            case = (await engine.start(process, {"message": "hello"})).case
            await engine.wait_until_resting(case)
            token = (await engine.pending(case)).token
        forgetful = letters("send", former_names=former_names, version=2, accepts={1: lambda fields: {**fields, "receipt": None}})
        async with place.open(forgetful, resources={"world": world}) as engine:
            await engine.resume(token, "yes", by="anna")
            return await engine.wait_until_resting(case), world.keys, (await engine.state(case, Ask1)).receipt

    row, keys, receipt = run(main())

    assert (row.outcome, receipt) == ("posted", "posted")
    assert len(keys) == calls


def test_each_definition_that_an_engine_was_opened_with_is_stored(place: Place) -> None:
    async def main() -> Any:
        case, _ = await start_asked(place)
        for process in (ask_1(), ask_2(), ask_2()):
            async with place.open(process, resources={"world": World()}) as engine:
                definitions = await definitions_with(engine, process)
                accepted = json.loads((await engine.reader.events(case=case))[0].facts)
        return definitions, accepted

    definitions, accepted = run(main())

    assert [(row.process, row.version, row.fingerprint) for row in definitions] == [
        ("ask", 1, ask_1().fingerprint),
        ("ask", 2, ask_2().fingerprint),
    ]
    assert (accepted["version"], accepted["fingerprint"]) == (1, ask_1().fingerprint[:12])


def test_a_pause_keeps_its_token_and_its_timer_while_its_case_is_blocked(place: Place) -> None:
    async def main() -> Any:
        clock = ManualClock()
        process = ask_1()
        object.__setattr__(process.steps["answer"], "ladder", (Expire(3_600.0, default="no"),))
        async with place.open(process, resources={"world": World()}, clock=clock) as engine:
            case, late = [(await engine.start(process, {"message": "hello"})).case for _ in range(2)]
            await engine.idle(horizon_seconds=0)
            before = await engine.pending(case)
        clock.advance(1_800.0)
        async with place.open(ask_2(2, {}), resources={"world": World()}, clock=clock) as engine:
            blocked = [await engine.case(number) for number in (case, late)]
            with pytest.raises(NotWaiting, match="it is blocked"):
                await engine.resume(before.token, "yes", by="anna")
        async with place.open(process, resources={"world": World()}, clock=clock) as engine:
            await engine.idle(horizon_seconds=0)
            after, back = await engine.pending(case), await engine.case(case)
            await engine.resume(before.token, "yes", by="anna")
            answered = await engine.wait_until_resting(case)
            clock.advance(1_800.0)
            await engine.idle(horizon_seconds=0)
            return blocked, before, after, back, answered, await engine.case(late), await told(engine, case)

    blocked, before, after, back, answered, late, kinds = run(main())

    assert [(row.status, row.wake_at) for row in blocked] == [(Status.BLOCKED, None)] * 2
    assert after == before
    assert back.wake_at == 1_000_000.0 + 3_600.0
    assert (answered.outcome, late.outcome) == ("posted", "posted")
    assert kinds.count("paused") == 1


def test_a_pause_that_the_code_no_longer_has_is_closed_when_its_case_is_woken(place: Place) -> None:
    async def main() -> Any:
        case, token = await start_asked(place, process=ask_1(2))
        async with place.open(ask_1(), resources={"world": World()}):
            pass
        async with place.open(without_pause(), resources={"world": World()}) as engine:
            row = await engine.wait_until_resting(case)
            with pytest.raises(NotWaiting):
                await engine.resume(token, "yes", by="anna")
            return row, await engine.reader.pause(case)

    row, pause = run(main())

    assert row.outcome == "nobody was asked"
    assert pause.closed == "void"


def without_pause() -> Process[Ask1]:
    process = Process("ask", Ask1, version=2)

    @process.node(writes=("draft", "answer", "receipt"))
    async def write(message: str) -> tuple[str, str, str]:
        return message, "", ""

    process.rules(when("no draft", lambda c: c.draft is None, write), otherwise(finish("nobody was asked")))
    return process


class Both(State):
    message: str
    left: str | None = None
    right: str | None = None


def both(calls: list[str], *, fails: bool, version: int = 1, name: str = "left", **settings: Any) -> Process[Both]:
    """Two branches, of which the second one may fail; `settings` are those of the process, `former_names` that of the first branch."""
    former_names = settings.pop("former_names", ())
    process = Process("both", Both, version=version, **settings)

    @process.node(writes="left", name=name, former_names=former_names)
    async def left(message: str) -> str:
        calls.append("left")
        return f"{message}, left of version {version}"

    @process.node(writes="right", retry=Retry(first_seconds=60.0, jitter=0.0))
    async def right(message: str) -> str:
        calls.append("right")
        if fails:
            raise ConnectionError("gone")
        return message

    process.rules(when("open", lambda c: c.right is None, parallel(left, right)), otherwise(finish("both")))
    return process


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"accepts": {1: None}}, "hello, left of version 1"),
        ({"accepts": {1: None}, "name": "west", "former_names": "left"}, "hello, left of version 1"),
        ({"accepts": {1: lambda fields: {**fields, "message": "good day"}}}, "good day, left of version 2"),
        (
            {"accepts": {1: lambda fields: {**fields, "message": "good day"}}, "name": "west", "former_names": "left"},
            "good day, left of version 2",
        ),
    ],
)
def test_a_branch_that_has_ended_counts_in_the_new_version_unless_the_state_was_migrated(
    place: Place, settings: dict[str, Any], left: str
) -> None:
    async def main() -> Any:
        calls: list[str] = []
        clock, process = ManualClock(), both(calls, fails=True)
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, {"message": "hello"})).case
            await engine.idle(horizon_seconds=0)
        clock.advance(60.0)
        async with place.open(both(calls, fails=False, version=2, **settings), clock=clock) as engine:
            await engine.wait_until_resting(case)
            return await engine.state(case, Both), await engine.case(case), calls

    state, row, calls = run(main())

    assert (row.outcome, row.version, state.left) == ("both", 2, left)
    assert calls.count("left") == (1 if "version 1" in left else 2)
    assert calls.count("right") == 2


def test_a_kill_at_any_point_of_a_deploy_leaves_each_case_in_one_version_and_repeats_no_effect(capsys: pytest.CaptureFixture[str]) -> None:
    script = Path(__file__).with_name("deploying.py")
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, env=paths)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    with capsys.disabled():
        print("\n" + "; ".join(f"{told['killed']} kills of a deploy over cases that were {name}" for name, told in report.items()))
    for told in report.values():
        assert told["killed"] > 20
        assert {"store.begin", "store.commit", "store.committed", "effect.call", "effect.called"} <= set(told["labels"])
        assert told["ends"] == [
            {
                "ends": [["done", "posted", 3]] * 2,
                "migrated": [1, 1],
                "messages": [{"text": "hello 0"}, {"text": "hello 1"}],
                "left": [["answer", "message", "receipt", "reply"]] * 2,
                "keys": [1, 1],
                "called": 2,
            }
        ]


GOLDEN = Path(__file__).with_name("golden") / "0.1.0.sql"


@pytest.fixture
def golden(tmp_path: Path) -> Place:
    """A database of the first release, with a waiting case, a parked one, one with an effect in doubt, and one that has ended."""
    path = tmp_path / "cases.db"
    with closing(sqlite3.connect(path)) as connection:
        [(number, tables), *_] = migrations("sqlite")
        connection.executescript(f"{tables}\n{GOLDEN.read_text(encoding='utf-8')}")
        connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number};")
    return Place(path)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_cases_of_the_first_release_continue_under_the_present_code_and_newer_versions(golden: Place, version: int) -> None:
    process = ask_1() if version == 1 else ask_2(version, {1: to_2} if version == 2 else {1: to_2, 2: None})
    object.__setattr__(process.steps["post"], "safety", Idempotent())
    world, clock = World(), ManualClock(2_000_000.0)

    async def main() -> Any:
        async with golden.open(process, resources={"world": world}, clock=clock, random=Random(8)) as engine:
            await engine.idle()
            doubtful = await engine.case(3)
            if doubtful.status is Status.PARKED:
                [entry] = await engine.reader.effects(3)
                await engine.resolve(entry.key, happened=True, by="anna", why="it was in the box", outcome="posted")
            await engine.redrive(2, by="anna", why="the word is there now")
            await engine.idle()
            for case in (1, 2):
                await engine.resume((await engine.pending(case)).token, "yes", by="anna")
            await engine.idle()
            return doubtful, [await engine.case(case) for case in (1, 2, 3, 4)], await engine.reader.effects(3)

    doubtful, rows, effects = run(main())

    assert [(row.status, row.outcome) for row in rows] == [(Status.DONE, "posted")] * 4
    assert [row.version for row in rows] == [version, version, version, 1]
    assert [entry.status for entry in effects] == [EffectStatus.DONE]
    if version == 1:
        assert world.keys.count(effects[0].key) == 1
    else:
        # A field that the effect reads was renamed, so its key is unknown: a person resolves the effect.
        assert doubtful.version == 1
        assert "may or may not have happened" in doubtful.reason
        assert effects[0].key not in world.keys
    assert len(set(world.keys)) == len(world.keys) == (3 if version == 1 else 2)


def test_cases_of_the_first_release_are_blocked_if_no_version_accepts_them(golden: Place) -> None:
    async def main() -> Any:
        async with golden.open(ask_2(2, {}), resources={"world": World()}, clock=ManualClock(2_000_000.0)) as engine:
            await engine.idle()
            return [(await engine.case(case)).status for case in (1, 2, 3, 4)]

    assert run(main()) == [Status.BLOCKED, Status.PARKED, Status.BLOCKED, Status.DONE]


class Trip1(State):
    where: str
    hotel: str | None = None
    answer: str | None = None


class Trip2(State):
    city: str
    room: str | None = None
    answer: str | None = None


def trips(version: int, taken_back: list[tuple[str, str]]) -> Process[Any]:
    """Book, ask, and compensate the booking; version 2 renames the fields."""

    def renamed(fields: Any) -> Any:
        return {"city": fields["where"], "room": fields.get("hotel")}

    if version == 1:
        process: Process[Any] = Process("trips", Trip1)

        @process.compensation(safety=Idempotent())
        async def cancel_hotel(where: str, hotel: str, *, ctx: Context) -> None:
            taken_back.append((where, hotel))

        @process.effect(writes="hotel", safety=Idempotent(), undo=cancel_hotel)
        async def book(where: str, *, ctx: Context) -> str:
            return f"hotel in {where}"

    else:
        process = Process("trips", Trip2, version=2, accepts={1: renamed})

        @process.compensation(safety=Idempotent())
        async def cancel_room(city: str, room: str, *, ctx: Context) -> None:
            taken_back.append((city, room))

        @process.effect(writes="room", safety=Idempotent(), undo=cancel_room, name="book_room", former_names="book")
        async def book(city: str, *, ctx: Context) -> str:
            return f"room in {city}"

    ask = process.pause(writes="answer", answer=str, shows=())
    process.rules(
        when("not booked", lambda c: (c.hotel if version == 1 else c.room) is None, book),
        when("not asked", lambda c: c.answer is None, ask),
        otherwise(compensate("called off")),
    )
    return process


def test_a_newer_version_compensates_effects_of_an_older_one_with_the_fields_of_their_time(place: Place) -> None:
    async def main() -> Any:
        taken_back: list[tuple[str, str]] = []
        process = trips(1, taken_back)
        async with place.open(process) as engine:
            case = (await engine.start(process, {"where": "Oslo"})).case
            await engine.wait_until_resting(case)
            token = (await engine.pending(case)).token
        async with place.open(trips(2, taken_back)) as engine:
            await engine.resume(token, "no", by="anna")
            return await engine.wait_until_resting(case), taken_back

    row, taken_back = run(main())

    assert (row.outcome, row.version) == ("called off", 2)
    assert taken_back == [("Oslo", "hotel in Oslo")]


def test_finding_the_versions_of_waiting_cases_looks_at_one_of_each(on_disk: Place) -> None:
    async def plan() -> str:
        store = await open_sqlite(on_disk.path, now=1.0)
        rows = store.core.connection.execute(f"EXPLAIN QUERY PLAN {store._sql['select_versions']}", {"process": "ask"}).fetchall()
        await store.close()
        return "\n".join(row[3] for row in rows)

    looks = [line for line in run(plan()).splitlines() if " cases" in line]

    assert len(looks) == 2
    assert all("SEARCH cases USING INDEX cases_versions (process=?" in line for line in looks), looks
    assert "version>?" in looks[1]
