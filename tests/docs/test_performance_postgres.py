"""The programs that measure on PostgreSQL run, and their rows are compared with each other."""

from dataclasses import replace

import pytest
from benchmarks.peers.postgres import VARIABLE
from benchmarks.results import gains, ratios
from benchmarks.trials import FLEETS, FLOOR_ON_POSTGRES, OURS_ON_POSTGRES, System, compared

from postgres_server import Server


@pytest.fixture(autouse=True)
def _server(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, postgres.url.rpartition("/")[0])


def test_our_engines_and_the_floor_take_steps_on_one_server() -> None:
    systems = [OURS_ON_POSTGRES, FLOOR_ON_POSTGRES, replace(FLEETS[0], parameters={"processes": 2})]

    rows = compared(systems, "W1", {"concurrency": 8, "seconds": 0.05}, rounds=1)

    assert [row.get("failed") for row in rows] == [None] * 3
    assert all(row["steps_per_s"] > 0 and row["of_floor"] > 0 for row in rows)
    assert all(row["cores_busy"] > 0 for row in rows)
    assert [row.get("processes") for row in rows] == [None, None, 2]


def test_our_engine_is_compared_with_a_peer_and_not_with_itself() -> None:
    systems = [OURS_ON_POSTGRES, FLEETS[0], FLOOR_ON_POSTGRES, System("peer", "postgres", "benchmarks.peers.nothing")]
    row = {"workload": "W1", "comparison": "W1 concurrency=256", "concurrency": 256, "durable_each_step": True}
    figures = (40.0, 70.0, 80.0, 10.0)

    [ratio] = ratios([{**row, "system": one.name, "steps_per_s": n, "each_round": [n]} for one, n in zip(systems, figures, strict=True)])

    assert (ratio.peer, ratio.times) == ("peer", 4.0)


def test_the_gain_of_several_processes_is_told_with_the_cores_that_they_keep_busy() -> None:
    row = {"workload": "W1", "comparison": "W1 concurrency=256"}
    one = {**row, "system": OURS_ON_POSTGRES.name, "each_round": [10.0, 20.0, 10.0]}
    two = {**row, "system": FLEETS[0].name, "processes": 2, "each_round": [15.0, 20.0, 16.0], "cores_busy": 1.98}

    [line] = gains([one, two], cores=2)

    assert line == "2 processes on PostgreSQL: 1.5 times the steps/s of one (1 to 1.6); they and the server keep 1.98 of 2 cores busy"
