from datetime import timedelta

import pytest

from pointsman.definition.durations import seconds_of
from pointsman.errors import DefinitionError


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("90s", 90.0),
        ("30m", 1_800.0),
        ("4h", 14_400.0),
        ("1d", 86_400.0),
        ("2w", 1_209_600.0),
        (" 1.5 d ", 129_600.0),
        (timedelta(hours=4), 14_400.0),
        (90, 90.0),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_read_in_seconds(duration: str | float | timedelta, seconds: float) -> None:
    assert seconds_of(duration) == seconds


@pytest.mark.parametrize("duration", ["4", "4 hours", "", "h", "-4h", "1h30m", "٤h", "4H", None, True, [4]])
def test_what_is_no_duration_is_refused_with_what_it_was_for(duration: object) -> None:
    with pytest.raises(DefinitionError, match=r"rung 2: .* is not a duration; give it seconds"):
        seconds_of(duration, "rung 2")  # type: ignore[arg-type]


@pytest.mark.parametrize("duration", [0, -1.0, "0h", timedelta(0), timedelta(days=-1), float("nan"), float("inf"), "9" * 400 + "d"])
def test_a_duration_in_which_no_time_passes_is_refused(duration: str | float | timedelta) -> None:
    with pytest.raises(DefinitionError, match="is not a finite time above 0"):
        seconds_of(duration)
