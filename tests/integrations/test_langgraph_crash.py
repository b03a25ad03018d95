"""Whatever crashes: a LangGraph program goes on, and its effects happen once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tiers import kills_of

WORLD = Path(__file__).with_name("langgraph_world.py")


def report_of(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(WORLD), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("durability", ["async", "sync"])
def test_a_kill_at_any_point_of_a_program_loses_and_repeats_nothing(durability: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of(durability)

    with capsys.disabled():
        figures = f"{report['lost']} lost, {report['duplicated']} duplicated"
        print(f"\n{durability}: {report['killed']} kills at about {report['points']} points: {figures}")
    assert (report["lost"], report["duplicated"], report["other_ends"]) == (0, 0, 0), report["at"]
    assert report["killed"] >= kills_of(56)
    assert {"store.begin", "store.commit", "store.committed", "effect.call", "world.reached", "world.took"} <= set(report["labels"])


def test_the_same_kills_on_langgraphs_saver_with_plain_functions_repeat_some() -> None:
    report = report_of("sync", "--control")

    print(f"control: {report['points']} points: {report['lost']} lost, {report['duplicated']} duplicated ({report['killed']} kills)")
    assert report["duplicated"] > 0
