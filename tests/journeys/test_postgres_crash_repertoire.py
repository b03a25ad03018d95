"""Whatever crashes on PostgreSQL: each story of the repertoire ends as its twin on a file does, and nothing is lost or repeated."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from postgres_server import Server
from tiers import figure, seed

WORLD = Path(__file__).with_name("postgres_repertoire.py")


def killed(postgres: Server, kills: int, *control: str) -> dict[str, Any]:
    command = [sys.executable, str(WORLD), postgres.url, str(seed()), str(kills), *control]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_kill_at_a_point_of_the_repertoire_on_postgres_loses_and_repeats_nothing(
    postgres: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    kills = figure("STORY_KILLS", 2)

    report = killed(postgres, kills)

    with capsys.disabled():
        told = f"{report['lost']} lost, {report['duplicated']} duplicated"
        print(
            f"\n{report['killed']} kills at {report['points']} points of {report['stories']} stories on PostgreSQL: {told} (seed {seed()})"
        )
    assert report["failures"] == []
    assert (report["lost"], report["duplicated"]) == (0, 0)
    assert report["killed"] >= report["stories"] * kills * 0.8


def test_with_messages_that_nobody_recognises_they_repeat_something(postgres: Server) -> None:
    """The control: what is compared notices a message that was taken in twice."""
    report = killed(postgres, 2, "no identity")

    assert report["killed"] == 2
    assert report["duplicated"] >= 2
