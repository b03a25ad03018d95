"""Very many cases: what waits costs rows, what falls due at once is worked off a few at a time, and the machine hardly notices."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tiers import figure

WORLD = Path(__file__).with_name("load_world.py")
FLOOD = WORLD.with_name("flood_world.py")
MB = 1 << 20
FEW = 100
TASKS_MAX = 64 + 24  # the cases in hand, and a few for the engine itself and for its waits
PASSING = 2  # what is open for a moment, such as the folder of a file that is flushed
MEMORY_MAX = 24 * MB  # beyond what the process takes at rest
LOG_MAX = 24 * MB  # the log is written into the file at 16 MB; the last commit may be a big one


def world(*arguments: object) -> dict[str, Any]:
    done = subprocess.run([sys.executable, WORLD, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(taken: dict[str, int]) -> str:
    tasks = f", {taken['tasks']} tasks" if "tasks" in taken else ""
    return (
        f"{taken['memory'] // MB} MB in memory, {taken['threads']} threads, {taken['files']} files{tasks}, {taken['log'] // MB} MB of log"
    )


def test_a_large_herd_of_due_cases_uses_no_more_resources_than_a_small_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waiting, herd = figure("WAITING", 10_000), figure("HERD", 1_000)
    few, many = tmp_path / "few", tmp_path / "many"
    few.mkdir()
    many.mkdir()
    world(few, "fill", FEW, FEW)
    filled = world(many, "fill", waiting, herd)

    small, large = world(few, "herd", "alone"), world(many, "herd", "alone")

    with capsys.disabled():
        print(f"\n{waiting} waiting, {herd} due at once (started in {filled['seconds']:.1f} s, worked off in {large['seconds']:.1f} s)")
        print(f"  opened in {large['open_ms']:.0f} ms, reading {large['read'] // 1024} kB; with {FEW} waiting {small['read'] // 1024} kB")
        print(f"  at rest {told(large['rest'])}")
        print(f"  at most {told(large['most'])}; with {FEW} due {told(small['most'])}")
    assert large["counts"] == {"done": herd, "waiting": waiting}
    assert large["read"] <= small["read"] + MB // 8, "opening looks at the waiting cases"
    for name in ("threads", "files"):
        assert large["rest"][name] == small["rest"][name]
        assert large["most"][name] <= small["most"][name] + PASSING
    assert large["rest"]["memory"] <= small["rest"]["memory"] + MEMORY_MAX
    assert large["most"]["memory"] <= large["rest"]["memory"] + MEMORY_MAX
    assert large["most"]["tasks"] <= TASKS_MAX
    assert large["most"]["log"] <= LOG_MAX


def test_a_log_that_grew_while_somebody_looked_is_short_again_when_he_has_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    herd = 3_000  # enough to write the log full more than once
    world(tmp_path, "fill", 0, herd)

    found = world(tmp_path, "herd", "parked-reader")

    with capsys.disabled():
        print(
            f"\nthe log grew to {found['most']['log'] / MB:.1f} MB beside a reader, and then shrank to {found['left']['log'] / MB:.1f} MB"
        )
    assert found["most"]["log"] > LOG_MAX, "the reader kept nothing from being written over: this shows nothing"
    assert found["left"]["log"] <= LOG_MAX


def test_an_engine_that_took_all_that_is_due_in_hand_would_show(tmp_path: Path) -> None:
    world(tmp_path, "fill", 0, 1_000)

    found = world(tmp_path, "herd", "unbounded")

    assert found["counts"] == {"done": 1_000}
    assert found["most"]["tasks"] > TASKS_MAX


def flooded(folder: Path, *arguments: object) -> dict[str, Any]:
    done = subprocess.run([sys.executable, FLOOD, folder, "flood", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return json.loads(done.stdout)


def test_a_flood_of_starts_is_refused_and_accepted_cases_survive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    starts, bound = figure("STARTS", 10_000), 500

    found = flooded(tmp_path, starts, bound, 0.1)
    left = json.loads(subprocess.run([sys.executable, FLOOD, tmp_path, "drain"], capture_output=True, text=True, check=True).stdout)

    accepted = (tmp_path / "accepted").read_text().split()
    answers, lost = found["answers"], set(accepted) - set(left["kept"])
    with capsys.disabled():
        told_of = ", ".join(f"{answers[name]} {name}" for name in ("accepted", "duplicate", "busy"))
        print(f"\n{starts} starts: {told_of}; at most {found['most']['backlog']} of {bound} in the backlog; {len(lost)} lost by the kill")
        print(f"  at rest {told(found['rest'])}; at most {told(found['most'])}")
    assert sorted(answers) == ["accepted", "busy", "duplicate"]
    assert sum(answers.values()) == starts
    assert not lost
    assert left["ends"] == {"answered": len(accepted)}
    assert found["most"]["backlog"] <= bound
    assert found["most"]["memory"] <= found["rest"]["memory"] + MEMORY_MAX
    assert found["most"]["log"] <= LOG_MAX


def test_a_flood_without_a_bound_fills_the_line(tmp_path: Path) -> None:
    found = flooded(tmp_path, 2_000, "none", 3_600.0)

    assert "busy" not in found["answers"]
    assert found["most"]["backlog"] > 500
