"""Crashes: a process is killed in the middle of a step, and the next engine continues."""

from pathlib import Path
from typing import Any

import pytest
from crashing import BEGUN_AT, DIED, Deadly, FileWorld, deadly_process, die
from letters import POLICIES, SETTLE_SECONDS, TIMEOUT_SECONDS, letter
from places import Place, run, seen

from pointsman import AtMostOnce, Failure, State, Status
from pointsman.kernel.attempts import INTERRUPTIONS_MAX
from pointsman.kernel.ledger import EffectStatus
from pointsman.testing.clock import ManualClock


@pytest.mark.parametrize("number", [1, INTERRUPTIONS_MAX])
def test_a_node_that_kills_its_process_is_parked_after_so_many_deaths(on_disk: Place, tmp_path: Path, number: int) -> None:
    calls = tmp_path / "calls"
    for _ in range(number):
        assert die("work", on_disk.path, calls, "park") == DIED

    async def main() -> Any:
        deadly = Deadly(calls, kills=False)
        process = deadly_process("park")
        async with on_disk.open(process, resources={"deadly": deadly}) as engine:
            started = await engine.start(process, {"name": "m"}, key="k")
            return started.duplicate, await engine.wait_until_resting(started.case), deadly.calls()

    duplicate, row, lines = run(main())

    assert duplicate
    assert len(lines) == (2 if number == 1 else number)
    assert row.status is (Status.DONE if number == 1 else Status.PARKED)
    if number > 1:
        assert "the engine died 8 times while step 'work' was running" in row.reason


def test_a_deadly_node_is_recorded_as_failed_where_its_author_says_so(on_disk: Place, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    for _ in range(INTERRUPTIONS_MAX):
        die("work", on_disk.path, calls, "record")

    async def main() -> Any:
        process = deadly_process("record")
        async with on_disk.open(process, resources={"deadly": Deadly(calls, kills=False)}) as engine:
            await engine.wait_until_resting(1)
            return await engine.state(1, State)

    state = run(main())

    assert isinstance(state.result, Failure)
    assert (state.result.step, state.result.attempts) == ("work", INTERRUPTIONS_MAX)
    assert state.quick == "quick"


def test_a_branch_that_ended_is_kept_when_its_slow_sibling_dies_with_the_process(on_disk: Place, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    assert die("work", on_disk.path, calls, "branch") == DIED

    async def main() -> Any:
        process = deadly_process("branch")
        deadly = Deadly(calls, kills=False)
        async with on_disk.open(process, resources={"deadly": deadly, "readers": []}) as engine:
            row = await engine.wait_until_resting(1)
            return row, await engine.state(1, State), deadly.calls()

    row, state, lines = run(main())

    assert (row.outcome, state.quick, state.result) == ("survived", "quick", "survived")
    assert (lines.count("quick"), lines.count("work")) == (1, 2)


def test_a_branch_that_kills_its_process_again_and_again_parks_its_case_and_its_sibling_stays(on_disk: Place, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    for _ in range(INTERRUPTIONS_MAX):
        assert die("work", on_disk.path, calls, "branch") == DIED

    async def main() -> Any:
        deadly = Deadly(calls, kills=True)
        async with on_disk.open(deadly_process("branch"), resources={"deadly": deadly, "readers": []}) as engine:
            return await engine.wait_until_resting(1), deadly.calls()

    row, lines = run(main())

    assert row.status is Status.PARKED
    assert "the engine died 8 times" in row.reason
    assert (lines.count("quick"), lines.count("work")) == (1, INTERRUPTIONS_MAX)


AFTER_THE_CRASH = [
    # policy, where it died, calls in all, status of the case, ledger
    ("idempotent", "effect.call", 1, Status.DONE, EffectStatus.DONE),
    ("idempotent", "effect.called", 2, Status.DONE, EffectStatus.DONE),
    ("at least once", "effect.call", 1, Status.DONE, EffectStatus.DONE),
    ("at least once", "effect.called", 2, Status.DONE, EffectStatus.DONE),
    ("reconcile", "effect.call", 1, Status.DONE, EffectStatus.DONE),
    ("reconcile", "effect.called", 1, Status.DONE, EffectStatus.DONE),
    ("at most once", "effect.call", 0, Status.PARKED, EffectStatus.IN_DOUBT),
    ("at most once", "effect.called", 1, Status.PARKED, EffectStatus.IN_DOUBT),
]


@pytest.mark.parametrize(("policy", "label", "calls", "status", "ledger"), AFTER_THE_CRASH)
def test_after_a_crash_around_the_call_the_policy_says_whether_there_is_another(
    on_disk: Place, tmp_path: Path, policy: str, label: str, calls: int, status: Status, ledger: EffectStatus
) -> None:
    assert die("post", on_disk.path, tmp_path / "calls", policy, label) == DIED
    world, process = FileWorld(tmp_path / "calls"), letter(POLICIES[policy])
    clock = ManualClock(BEGUN_AT + TIMEOUT_SECONDS + SETTLE_SECONDS)

    async def main() -> Any:
        async with on_disk.open(process, resources={"world": world}, clock=clock) as engine:
            return await engine.wait_until_resting(1), await engine.reader.effects(1)

    row, entries = run(main())

    assert (row.status, [entry.status for entry in entries]) == (status, [ledger])
    assert world.calls() == [entries[0].key] * calls


def test_a_look_up_waits_until_the_interrupted_call_can_no_longer_arrive(on_disk: Place, tmp_path: Path) -> None:
    die("post", on_disk.path, tmp_path / "calls", "reconcile", "effect.called")
    world, process = FileWorld(tmp_path / "calls"), letter(POLICIES["reconcile"])
    clock = ManualClock(BEGUN_AT + 1)

    async def main() -> Any:
        async with on_disk.open(process, resources={"world": world}, clock=clock) as engine:
            await seen(engine, "effect.in_doubt")
            await engine.wait_until_resting((await engine.start(process, {"message": "another"})).case)
            waiting, early = await engine.case(1), world.look_ups
            clock.advance(TIMEOUT_SECONDS + SETTLE_SECONDS - 1)
            return waiting, early, await engine.wait_until_resting(1), await engine.reader.events(case=1)

    waiting, early, row, events = run(main())

    assert (waiting.status, waiting.wake_at) == (Status.READY, BEGUN_AT + TIMEOUT_SECONDS + SETTLE_SECONDS)
    assert (early, world.look_ups, row.outcome) == (0, 1, "posted")
    assert any(event.kind == "effect.settled" and '"found"' in event.facts for event in events)


def test_an_effect_that_kills_its_process_is_not_called_more_often_than_its_retries_allow(on_disk: Place, tmp_path: Path) -> None:
    for _ in range(3):
        assert die("post", on_disk.path, tmp_path / "calls", "idempotent", "effect.called") == DIED
    world, process = FileWorld(tmp_path / "calls"), letter(POLICIES["idempotent"])

    async def main() -> Any:
        async with on_disk.open(process, resources={"world": world}, clock=ManualClock(BEGUN_AT)) as engine:
            return await engine.wait_until_resting(1), await engine.reader.effects(1)

    row, entries = run(main())

    assert (row.status, entries[0].status) == (Status.PARKED, EffectStatus.IN_DOUBT)
    assert len(world.calls()) == 3


def test_an_effect_interrupted_in_its_call_is_listed_for_an_operator_who_resolves_it(on_disk: Place, tmp_path: Path) -> None:
    die("post", on_disk.path, tmp_path / "calls", "at most once", "effect.called")
    world, process = FileWorld(tmp_path / "calls"), letter(AtMostOnce())

    async def main() -> Any:
        async with on_disk.open(process, resources={"world": world}) as engine:
            await engine.wait_until_resting(1)
            (entry,) = await engine.reader.in_doubt()
            await engine.resolve(entry.key, happened=True, outcome="receipt 7", by="anna", why="saw it")
            return await engine.wait_until_resting(1), await engine.state(1, State), await engine.reader.in_doubt()

    row, state, in_doubt = run(main())

    assert (row.outcome, state.receipt, in_doubt) == ("posted", "receipt 7", [])
    assert len(world.calls()) == 1
