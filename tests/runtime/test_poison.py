"""A case whose step kills its engine again and again is parked after a number of interruptions."""

import random
import signal
from pathlib import Path
from typing import Any

import poisonous
import pytest
from places import Place, run
from poisonous import poisoned

import interpreter
from pointsman import State, Status
from pointsman.kernel.attempts import INTERRUPTIONS_MAX
from pointsman.runtime.scheduler import IN_VAIN_MAX
from pointsman.testing.crash import CrashAt, in_child


def begin(place: Place, kind: str, *names: str) -> None:
    """Start cases whose first step is not begun yet."""

    async def main() -> None:
        async with place.open(poisoned(kind), concurrency=0) as engine:
            for name in names:
                await engine.start("poisoned", {"name": name}, key=name)

    run(main())


def engines_die(place: Place, kind: str, calls: Path, *, at_most: int) -> int:
    """Open one engine after the other until one survives; how many have died."""
    for number in range(at_most + 1):
        if interpreter.run(poisonous.__file__, place.path, kind, calls).returncode == 0:
            return number
    return at_most + 1


@pytest.mark.parametrize("kind", ["node exit", "node killed", "thread segfault", "thread exit"])
def test_a_node_that_ends_its_engine_again_and_again_is_parked(on_disk: Place, tmp_path: Path, kind: str) -> None:
    calls = tmp_path / "calls"
    calls.touch()
    begin(on_disk, kind, "poison")

    died = engines_die(on_disk, kind, calls, at_most=INTERRUPTIONS_MAX)
    row, state, kinds = run(looked(on_disk, kind))

    assert died == len(calls.read_text().split()) == INTERRUPTIONS_MAX
    assert (row.status, state.result) == (Status.PARKED, None)
    assert "the engine died 8 times while step 'in_node' was running" in row.reason.replace("in_thread", "in_node")
    assert kinds[-2:] == ["node.interrupted", "parked"]


async def looked(place: Place, kind: str) -> Any:
    async with place.open(poisoned(kind)) as engine:
        row = await engine.wait_until_resting(1)
        return row, await engine.state(1, State), [event.kind for event in await engine.reader.events(case=1)]


def test_an_effect_that_ends_its_engine_is_called_as_its_policy_says(on_disk: Place, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.touch()
    begin(on_disk, "effect exit", "poison")

    died = engines_die(on_disk, "effect exit", calls, at_most=1)
    row, _, kinds = run(looked(on_disk, "effect exit"))

    assert died == len(calls.read_text().split()) == 1
    assert row.status is Status.PARKED
    assert kinds[-2:] == ["effect.in_doubt", "parked"]


def test_a_condition_that_ends_its_engine_is_found_out_too(on_disk: Place, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    begin(on_disk, "condition exit", "poison", "innocent")  # before there is poison in it
    calls.touch()

    died = engines_die(on_disk, "condition exit", calls, at_most=INTERRUPTIONS_MAX + IN_VAIN_MAX)
    row, _, kinds = run(looked(on_disk, "condition exit"))

    assert died == INTERRUPTIONS_MAX + IN_VAIN_MAX
    assert row.status is Status.PARKED
    assert "the engine died 10 times before it could continue step 'in_node'" in row.reason
    assert kinds[-1] == "parked"


@pytest.mark.parametrize("kind", ["node exit", "condition exit"])
def test_cases_that_run_beside_a_poisonous_case_are_not_parked(on_disk: Place, tmp_path: Path, kind: str) -> None:
    calls = tmp_path / "calls"
    begin(on_disk, kind, "innocent 1", "poison", "innocent 2", "innocent 3")
    calls.touch()

    engines_die(on_disk, kind, calls, at_most=30)

    async def main() -> Any:
        async with on_disk.open(poisoned(kind)) as engine:
            await engine.idle()
            return [(row.key, row.status) for row in await engine.reader.cases()]

    rows = dict(run(main()))

    assert rows.pop("poison") is Status.PARKED
    assert set(rows.values()) == {Status.DONE}


def test_poison_that_was_corrected_is_redriven_with_its_attempts_renewed(on_disk: Place, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.touch()
    begin(on_disk, "node exit", "poison")
    engines_die(on_disk, "node exit", calls, at_most=INTERRUPTIONS_MAX)

    async def main() -> Any:
        async with on_disk.open(poisoned("node exit")) as engine:
            await engine.redrive(1, by="anna", why="corrected")
            return await engine.wait_until_resting(1)

    assert run(main()).outcome == "survived"


def test_a_loop_of_kills_parks_no_healthy_case(on_disk: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = [f"innocent {number}" for number in range(120)]
    begin(on_disk, "node exit", *healthy)
    calls, chance, codes = tmp_path / "calls", random.Random(11), list[int]()
    calls.touch()
    monkeypatch.setattr(poisonous, "SLOW", 0.0)

    async def works(points: CrashAt) -> None:
        async with on_disk.open(poisoned("node exit"), failpoints=points, concurrency=2) as engine:
            await engine.idle()

    def dies() -> None:
        monkeypatch.setattr(poisonous, "CALLS", calls)
        # A kill from outside comes at any moment of a run, not always in its first ones.
        run(works(CrashAt(chance.randint(2, 60) if codes.count(-signal.SIGKILL) < 20 else 0)))

    async def look() -> Any:
        async with on_disk.open(poisoned("node exit"), concurrency=0) as engine:
            return await engine.reader.cases()

    while 0 not in codes and len(codes) < 40:
        codes.append(in_child(dies))
        chance.random()  # the child has drawn from a copy

    assert codes.count(-signal.SIGKILL) >= 15  # after as many, 498 points have been passed, and so many cases have 600 and more
    assert {row.key: row.status for row in run(look())} == dict.fromkeys(healthy, Status.DONE)
