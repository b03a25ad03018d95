"""Cases of every kind that are killed on a file, moved and killed on the way, end on PostgreSQL as their twins on a file do."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from postgres_server import Server
from tiers import figure, seed

WORLD = Path(__file__).with_name("moving_repertoire.py")


def moved(postgres: Server, moves: int, *control: str) -> dict[str, Any]:
    command = [sys.executable, str(WORLD), postgres.url, str(seed()), str(moves), *control]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_cases_that_are_killed_and_moved_end_as_those_that_stay(postgres: Server, capsys: pytest.CaptureFixture[str]) -> None:
    report = moved(postgres, figure("MOVES", 4))

    with capsys.disabled():
        told = f"{report['lost']} lost, {report['duplicated']} duplicated"
        print(f"\n{report['moves']} moves of killed engines, {report['killed']} kills: {told} (seed {seed()})")
    assert report["failures"] == []
    assert (report["lost"], report["duplicated"]) == (0, 0)
    assert report["killed"] >= report["moves"]


def test_without_the_ledger_they_do_not(postgres: Server) -> None:
    """The control: what is compared notices a table that does not move."""
    assert moved(postgres, 2, "effects")["failures"] != []
