"""The programs that measure on PostgreSQL run, and their rows are compared with each other."""

from dataclasses import replace

import pytest
from benchmarks.peers.postgres import VARIABLE
from benchmarks.results import ratios
from benchmarks.trials import FLOOR_ON_POSTGRES, FOUR_ON_POSTGRES, OURS_ON_POSTGRES, System, compared

from postgres_server import Server


@pytest.fixture(autouse=True)
def _server(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, postgres.url.rpartition("/")[0])


def test_our_engines_and_the_floor_take_steps_on_one_server() -> None:
    systems = [OURS_ON_POSTGRES, FLOOR_ON_POSTGRES, replace(FOUR_ON_POSTGRES, parameters={"processes": 4})]

    rows = compared(systems, "W1", {"concurrency": 8, "seconds": 0.05}, rounds=1)

    assert [row.get("failed") for row in rows] == [None] * 3
    assert all(row["steps_per_s"] > 0 and row["of_floor"] > 0 for row in rows)
    assert [row.get("processes") for row in rows] == [None, None, 4]


def test_our_engine_is_compared_with_a_peer_and_not_with_itself() -> None:
    systems = [OURS_ON_POSTGRES, FOUR_ON_POSTGRES, FLOOR_ON_POSTGRES, System("peer", "postgres", "benchmarks.peers.nothing")]
    row = {"workload": "W1", "comparison": "W1 concurrency=256", "concurrency": 256, "durable_each_step": True}
    figures = (40.0, 70.0, 80.0, 10.0)

    [ratio] = ratios([{**row, "system": one.name, "steps_per_s": n, "each_round": [n]} for one, n in zip(systems, figures, strict=True)])

    assert (ratio.peer, ratio.times) == ("peer", 4.0)
