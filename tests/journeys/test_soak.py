"""An engine in a process of its own is killed at any moment, again and again: nothing accepted is lost, nothing is done twice."""

import asyncio
from pathlib import Path

import pytest
from soak_world import Soak, Told

from tiers import figure, seed

EFFECTS_AN_ORDER = 4


def soaked(folder: Path, *, kills: int, effects: int, kind: str) -> Told:
    async def run() -> Told:
        soak = Soak(folder, orders=effects // EFFECTS_AN_ORDER, kills=kills, seed=seed(), kind=kind)
        async with asyncio.timeout(300 + 10 * kills):  # far beyond what it takes: one that hangs fails instead
            return await soak.run()

    return asyncio.run(run())


def test_an_engine_that_is_killed_all_the_time_loses_and_repeats_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kills, effects = figure("KILLS", 15), figure("EFFECTS", 160)

    told = soaked(tmp_path, kills=kills, effects=effects, kind="keeps intents")

    with capsys.disabled():
        print(f"\n{told.kills} kills, {told.effects} effects: {told.lost} lost, {told.duplicated} duplicated (seed {seed()})")
        print(f"  {told.terms} orderly ends, {told.stops} stops beyond the deadlines, {told.asked_again} questions asked again,")
        print(
            f"  {told.resolved} effects resolved by a person, {told.redriven} cases redriven; AtLeastOnce repeated {told.repeated_as_declared}"
        )
    assert (told.kills, told.effects) == (kills, effects)
    assert (told.lost, told.duplicated, told.wrong) == (0, 0, [])
    assert told.asked_again > 0
    assert told.resolved > 0, "no kill has left an effect in doubt: the soak proves nothing"


def test_kills_within_each_effect_without_committed_intents_repeat_effects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = soaked(tmp_path, kills=EFFECTS_AN_ORDER, effects=EFFECTS_AN_ORDER, kind="forgets intents")

    with capsys.disabled():
        print(f"\nwithout intents, {told.kills} kills, {told.effects} effects: {told.duplicated} duplicated (seed {seed()})")
    assert told.duplicated == 2, "all but the one that the provider recognises and the one that may be repeated"
