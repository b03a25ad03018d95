"""A limit that twelve workers share on one PostgreSQL is never exceeded, whoever of them dies."""

import asyncio

import pytest
from narrow_fleet import crowd

from postgres_server import Server
from tiers import figure, seed

WORKERS, HANDS = 12, 3


def test_twelve_workers_never_make_a_fourth_call_although_callers_are_killed(
    postgres: Server, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kills, cases = figure("CROWD_KILLS", 1), figure("CROWD_CASES", 30)

    counted = asyncio.run(
        crowd(postgres, postgres_url, workers=WORKERS, cases=cases, kills=kills, seed=seed(), hands=HANDS, together=HANDS)
    )

    with capsys.disabled():
        told = f"{counted['calls']} calls of {cases} cases by {WORKERS} workers under a limit of {HANDS}, {kills} callers killed"
        print(f"\n{told}: at most {counted['most']} at a time (seed {seed()})")
    assert counted["most"] == HANDS
    assert cases <= counted["calls"]


def test_without_the_limit_they_do(postgres: Server, postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    counted = asyncio.run(crowd(postgres, postgres_url, workers=2, cases=30, kills=0, seed=seed(), hands=None, together=HANDS + 1))

    with capsys.disabled():
        print(f"\nwithout the limit, 2 workers: at most {counted['most']} calls at a time")
    assert counted["most"] > HANDS
