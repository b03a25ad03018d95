"""A kill at a failpoint happens whenever the failpoint is reached."""

import os

import pytest

from pointsman.testing.crash import CrashAt


class Interrupted(list[str]):
    """Labels; while the first one is noted, another thread passes a failpoint."""

    def __init__(self, points: CrashAt) -> None:
        super().__init__()
        self._points = points

    def append(self, label: str) -> None:
        super().append(label)
        if len(self) == 1:
            self._points("another thread")


@pytest.mark.parametrize("label", [None, "another thread", "this thread"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_kill_is_not_missed_when_two_threads_pass_failpoints_at_once(
    label: str | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills: list[int] = []
    monkeypatch.setattr(os, "kill", lambda process, signal: kills.append(process))
    points = CrashAt(number, label)
    points.labels = Interrupted(points)

    points("this thread")

    passed = points.labels if label is None else [one for one in points.labels if one == label]
    assert len(kills) == (number <= len(passed))


def test_without_a_number_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    kills: list[int] = []
    monkeypatch.setattr(os, "kill", lambda process, signal: kills.append(process))
    points = CrashAt()

    for _ in range(3):
        points("a label")

    assert (kills, points.labels) == ([], ["a label"] * 3)
