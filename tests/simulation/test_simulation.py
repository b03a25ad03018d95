"""Nothing is lost, doubled, stuck or stale, whatever dies and whenever: the real kernel and runtime in thousands of seeded schedules.

A failing seed is replayed by `python tests/simulation/run.py --seed SEED`. POINTSMAN_SCHEDULES sets how many are run.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mutants import KILLERS, MUTANTS
from mutants import OF_ENTRYPOINTS as MUTANTS_OF_ENTRYPOINTS
from schedule import run

from tiers import figure

SCHEDULES = figure("SCHEDULES", 200)
OF_ENTRYPOINTS = max(SCHEDULES // 30, 20)  # so many as take a twentieth of the time; in a short run, more
WORKERS = os.cpu_count() or 1
RUN = Path(__file__).parent / "run.py"
FOUND = (54312, 67592, 128080, 158192)  # a cancel that span while its case was between a claim and its task
FOUND_WITH_ENTRYPOINTS = (
    272,  # a parent that waited for the child that it had called off: it took in its cancel between two reads
    970,  # a body that went on with the answer of somebody who came too late
)
REPLAY = "python tests/simulation/run.py --seed"


def schedules(count: int, *more: str) -> list[dict]:
    """Run the seeds from 0 on, shared among processes."""
    shares = [(first, len(range(first, count, WORKERS))) for first in range(WORKERS)]
    commands = [
        [sys.executable, str(RUN), "--seed", str(first), "--step", str(WORKERS), "--count", str(share), *more]
        for first, share in shares
        if share
    ]
    with ThreadPoolExecutor(WORKERS) as waiting:  # so that each one's pipe is read
        outputs = list(waiting.map(lambda command: subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout, commands))
    return [json.loads(line) for output in outputs for line in output.splitlines()]


def counted(results: list[dict]) -> tuple[Counter[str], list[tuple[int, str]], str]:
    """The sums of all schedules, their violations, and how many of each kind those are, in words."""
    total = Counter[str]()
    for result in results:
        total.update({name: result[name] for name in ("crashes", "pauses", "points")})
    bad = [(result["seed"], violation) for result in results for violation in result["violations"]]
    kinds = Counter(violation.split(":")[0] for _, violation in bad)
    return total, bad, ", ".join(f"{kinds.pop(kind, 0)} {kind}" for kind in ("lost", "duplicated", "stuck", "stale"))


def test_no_schedule_loses_duplicates_or_strands_a_case_or_acts_on_stale_data(capsys: pytest.CaptureFixture[str]) -> None:
    results = schedules(SCHEDULES)

    total, bad, told = counted(results)
    with capsys.disabled():
        print(f"\n{len(results)} schedules, {total['crashes']} crashes, {total['points']} points: {told}")
    assert len(results) == SCHEDULES
    assert not bad, f"{len(bad)} violations, the first ones {bad[:3]}; replay the first with `{REPLAY} {bad[0][0]}`"
    assert total["crashes"] > SCHEDULES
    assert total["pauses"] > SCHEDULES


def test_no_schedule_of_entrypoints_does_so(capsys: pytest.CaptureFixture[str]) -> None:
    results = schedules(OF_ENTRYPOINTS, "--entrypoints")

    total, bad, told = counted(results)
    with capsys.disabled():
        print(f"\n{len(results)} schedules of entrypoints, {total['crashes']} crashes, {total['points']} points: {told}")
    assert not bad, f"{len(bad)} violations, the first ones {bad[:3]}; replay the first with `{REPLAY} {bad[0][0]} --entrypoints`"
    assert total["crashes"] > OF_ENTRYPOINTS
    assert total["pauses"] > OF_ENTRYPOINTS


def test_the_schedules_that_kill_mutants_find_nothing_in_the_protocol_itself() -> None:
    killers = [(seed, MUTANTS[name] in MUTANTS_OF_ENTRYPOINTS) for name, seed in KILLERS.items()]
    beyond = [(seed, entrypoints) for seed, entrypoints in killers if seed >= (OF_ENTRYPOINTS if entrypoints else SCHEDULES)]

    found = {seed: run(seed, entrypoints=entrypoints).violations for seed, entrypoints in beyond}

    assert not any(found.values()), found


@pytest.mark.parametrize("seed", FOUND)
def test_a_fault_that_a_schedule_found_once_stays_fixed(seed: int) -> None:
    assert run(seed).violations == []


@pytest.mark.parametrize("seed", FOUND_WITH_ENTRYPOINTS)
def test_a_fault_that_a_schedule_of_entrypoints_found_once_stays_fixed(seed: int) -> None:
    assert run(seed, entrypoints=True).violations == []


def test_a_schedule_is_the_same_each_time_it_is_run() -> None:
    which = [(seed, entrypoints) for seed in range(3) for entrypoints in (False, True)]
    first = [run(seed, entrypoints=entrypoints) for seed, entrypoints in which]

    again = [run(seed, entrypoints=entrypoints) for seed, entrypoints in which]

    assert first == again
