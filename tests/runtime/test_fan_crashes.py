"""A kill at any failpoint of a fan-out: the next engine reaches the same end and repeats no branch whose end was stored."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tiers import kills_of

WORLD = Path(__file__).with_name("fan_world.py")


def test_a_kill_at_any_point_of_a_fan_out_changes_no_end_and_repeats_no_branch_that_had_ended(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, str(WORLD)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    many = report.pop("many")

    with capsys.disabled():
        for kind, told in report.items():
            figures = f"{len(told['different'])} other ends, {told['repeated']} of {told['saved']} kept branches repeated"
            print(f"\n{kind}: {told['killed']} kills: {figures}", end="")
        print(f"\neach over 1,000: killed at call 700, {many['kept']} branches kept, {many['calls']} calls in all")

    for told in report.values():
        assert told["different"] == []
        assert told["repeated"] == 0
        assert told["killed"] >= kills_of(28)
        assert told["saved"] > 0, "no kill found a branch that had ended: nothing was put to the test"
    assert report["parallel of 3, record"]["end"]["state"]["gone"]["attempts"] == 3
    assert [price.get("cents") for price in report["each over 5, record"]["end"]["state"]["prices"]] == [1, 1, 4, 1, None]
    assert "'price[4]' failed after 3 attempts" in report["each over 5, fail"]["end"]["reason"]
    assert (many["asked"], many["repeated"]) == (1_000, 0)
    assert many["calls"] == 1_000 + 700 - many["kept"]
    assert many["kept"] >= 700 - 2 * 16, "what is under way, and what has ended since the last commit began"
