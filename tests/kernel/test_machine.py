"""The case machine alone: walks of seeded cases, happenings that do not fit, and the table of statuses."""

import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest
from directed_walks import asked, comings, walks
from misfits import misfits
from pure_walk import PROCESSES, walk

from pointsman.kernel.machine import _HANDLERS, NEXT, Plan, Refusal
from pointsman.kernel.snapshot import Status
from tiers import figure, seed

WALKS = figure("WALKS", 800)
CHUNK = 5_000


def walked(first: int, last: int) -> tuple[int, list[tuple[int, str]], float]:
    """The crashes and the violations of these walks, and the seconds of a processor that they took."""
    begun = time.process_time()
    walks = [walk(number) for number in range(first, last)]
    violations = [(first + place, told) for place, one in enumerate(walks) for told in one.violations]
    return sum(one.crashes for one in walks), violations, time.process_time() - begun


def test_no_walk_loses_doubles_or_strands_anything(capsys: pytest.CaptureFixture[str]) -> None:
    first = seed()
    chunks = [(start, min(start + CHUNK, first + WALKS)) for start in range(first, first + WALKS, CHUNK)]
    if len(chunks) == 1:
        results = [walked(*chunks[0])]
    else:
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(walked, *zip(*chunks, strict=True)))
    crashes, bad = sum(found[0] for found in results), [one for found in results for one in found[1]]

    with capsys.disabled():
        rate = WALKS / sum(found[2] for found in results)
        print(
            f"\n{WALKS} schedules of the machine alone, {crashes} crashes: {len(bad)} violations, {rate:.0f} schedules a second of a processor"
        )
    assert not bad, bad[:3]
    assert crashes > WALKS / 10


def test_no_happening_raises_in_any_status_and_what_does_not_fit_is_refused() -> None:
    walks = [walk(number, tries=True) for number in range(300)]

    assert [told for one in walks for told in one.violations] == []
    assert sum(one.refused for one in walks) > 500


def test_the_table_has_each_transition_that_is_seen_and_no_other() -> None:
    directed = list(walks())
    seen = {one for walk in directed for one in walk.seen}
    for come in comings():
        plan = asked(come)
        assert isinstance(plan, Plan), plan
        assert plan.transition is not None
        seen.add((type(come.happening).__name__, come.case.row.status, plan.transition.status))

    assert [told for walk in directed for told in walk.violations] == []
    assert seen == {
        (kind.__name__, status, target) for kind, table in NEXT.items() for status, targets in table.items() for target in targets
    }


def test_each_happening_is_taken_or_refused_in_each_status_as_the_table_says(capsys: pytest.CaptureFixture[str]) -> None:
    taken: Counter[tuple[type, Status]] = Counter()
    refused: Counter[tuple[type, Status]] = Counter()
    for come in (*misfits(), *comings()):
        answer = asked(come)
        pair = type(come.happening), come.case.row.status
        if isinstance(answer, Refusal):
            assert answer.reason
            refused[pair] += 1
            continue
        taken[pair] += 1
        assert answer.transition is None or answer.transition.status in NEXT[pair[0]][pair[1]], (come, answer.transition)

    pairs = {(kind, status) for kind in NEXT for status in Status}
    with capsys.disabled():
        print(f"\n{len(pairs)} pairs of happening and status, {taken.total()} happenings taken and {refused.total()} refused")
    assert taken.keys() | refused.keys() == pairs
    assert taken.keys() == {(kind, status) for kind, table in NEXT.items() for status, targets in table.items() if targets}


def test_walks_end_in_each_way_in_which_a_case_rests() -> None:
    walks = [walk(number) for number in range(60 * len(PROCESSES))]

    assert {one.case.row.status for one in walks} == {"done", "cancelled", "parked"}


def test_every_happening_of_the_table_has_its_handler() -> None:
    assert set(NEXT) == set(_HANDLERS)
