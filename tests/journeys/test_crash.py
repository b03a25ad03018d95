"""Whatever crashes: the reply to a mail is sent once, never twice, and never lost."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WORLD = Path(__file__).with_name("crash_world.py")


def report_of(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, str(WORLD), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_kill_at_any_point_of_a_mail_loses_and_repeats_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of()

    told = f"{report['tried']} of {report['points']} points x 4 policies: {report['lost']} lost, {report['duplicated']} duplicated"
    with capsys.disabled():
        print(f"\n{told} ({report['killed']} kills; AtLeastOnce repeated {report['repeated_as_declared']}, as it says)")

    assert (report["lost"], report["duplicated"], report["different_ends"]) == (0, 0, 0)
    assert report["killed"] >= report["tried"] * 0.8 > 0
    assert {
        "store.begin",
        "store.commit",
        "store.committed",
        "node.call",
        "node.called",
        "effect.call",
        "effect.called",
    } <= set(report["labels"])
    assert report["repeated_as_declared"] > 0, "the policy that may repeat was never put to the test"


def test_a_kill_of_a_desk_that_has_sent_without_a_committed_intent_sends_twice() -> None:
    report = report_of("--control")

    assert (report["killed"], report["duplicated"]) == (1, 1)
