"""Whatever crashes: a message is taken in once, an author's row is there once, and what effects do is neither lost nor repeated."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORLD = Path(__file__).with_name("repertoire_world.py")
HALVES = (
    ("supersede", "early and append", "time", "child superseded", "transaction"),
    ("hold", "new case", "child joined", "child cancelled", "compensation", "items"),
)
CONTROLS = {
    "no identity": "early and append",  # a message has no key, and comes again from a sender that got no answer
    "rows apart": "transaction",  # an author's rows have a commit of their own
}


def begin(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, str(WORLD), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def report_of(process: "subprocess.Popen[str]") -> dict[str, Any]:
    told, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(told)


def test_a_kill_at_any_point_of_the_repertoire_loses_and_repeats_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    reports = [report_of(half) for half in [begin(*stories) for stories in HALVES]]

    total = {name: sum(report[name] for report in reports) for name in reports[0] if name not in {"labels", "failures"}}
    with capsys.disabled():
        told = f"{total['lost']} lost, {total['duplicated']} duplicated, {total['different_ends']} different ends"
        print(f"\n{total['tried']} of {total['points']} points of {total['processes']} processes: {told} ({total['killed']} kills)")

    assert [failure for report in reports for failure in report["failures"]] == []
    assert (total["lost"], total["duplicated"], total["different_ends"]) == (0, 0, 0)
    assert total["processes"] == sum(map(len, HALVES))
    assert total["killed"] >= total["tried"] * 0.8 > 0
    assert {label for report in reports for label in report["labels"]} >= {
        "store.begin",
        "store.commit",
        "store.committed",
        "node.call",
        "node.called",
        "effect.call",
        "effect.called",
    }


@pytest.mark.parametrize("control", CONTROLS)
def test_the_same_kills_of_an_engine_with_one_thing_left_out_do_harm(control: str) -> None:
    report = report_of(begin("--control", control, CONTROLS[control]))

    assert report["lost"] + report["duplicated"] + report["different_ends"] > 0
