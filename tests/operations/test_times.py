"""Times and durations as a person reads them."""

import time

import pytest

from pointsman import format_duration, format_time


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "less than a second"), (1, "1 second"), (59.4, "59 seconds"), (59.9, "1 minute"), (90, "1 minute 30 seconds"), (120, "2 minutes"),
     (3_600, "1 hour"), (3_720, "1 hour 2 minutes"), (7_300, "2 hours"), (90_000, "1 day 1 hour"), (800_000, "9 days"),
     (86_368, "1 day"), (172_768, "2 days"), (431_968, "5 days")],
)  # fmt: skip
def test_a_duration_is_formatted_in_its_largest_unit(seconds: float, told: str) -> None:
    assert format_duration(seconds) == told


def test_a_time_is_local_and_names_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        told = format_time(1_795_000_000.0)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert told == "2026-11-18 12:06:40 CET"
