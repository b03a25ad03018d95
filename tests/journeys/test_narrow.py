"""A downstream that can work on four calls at a time never has a fifth, whoever dies meanwhile."""

import asyncio
from pathlib import Path

import pytest
from narrow_world import HANDS, squeeze

from tiers import figure, seed


def test_a_slow_service_never_sees_a_fifth_call_although_engines_die_during_four(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kills, cases = figure("NARROW_KILLS", 1), figure("NARROW_CASES", 12)

    counted = asyncio.run(squeeze(tmp_path, cases=cases, kills=kills, seed=seed(), kind="keeps permits"))

    with capsys.disabled():
        told = f"{counted['calls']} calls of {cases} cases under a limit of {HANDS}, {kills} kills with {HANDS} under way"
        print(f"\n{told}: at most {counted['most']} at a time (seed {seed()})")
    assert counted["most"] == HANDS
    assert cases <= counted["calls"] <= cases + HANDS * kills
    assert counted["ended"] == cases


def test_the_same_kills_without_kept_permits_overwhelm_it(tmp_path: Path) -> None:
    counted = asyncio.run(squeeze(tmp_path, cases=12, kills=1, seed=seed(), kind="forgets permits"))

    assert counted["most"] > HANDS
