"""Durations as authors write them: a number of seconds, a `timedelta`, or a text such as "4h"."""

import math
import re
from datetime import timedelta

from pointsman.errors import DefinitionError

Duration = float | timedelta | str
"""Seconds, a `timedelta`, or a number and a unit: "90s", "30m", "4h", "1.5d", "2w"."""

UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
"""The units of a duration, in seconds. A day always has 24 hours."""

DAY_SECONDS = UNITS["d"]

_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", re.ASCII)


def seconds_of(duration: Duration, what: str = "duration") -> float:
    """The seconds of a duration, above 0. Raises DefinitionError, which names `what` the duration is for."""
    seconds = _seconds(duration)
    if seconds is None:
        raise DefinitionError(
            f'{what}: {duration!r} is not a duration; give it seconds, a timedelta, or a text such as "90s", "30m", "4h" or "1d".'
        )
    if not (math.isfinite(seconds) and seconds > 0):
        raise DefinitionError(f"{what}: {duration!r} is not a finite time above 0; correct it.")
    return seconds


def _seconds(duration: object) -> float | None:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, int | float) and not isinstance(duration, bool):
        return float(duration)
    match = _TEXT.fullmatch(duration) if isinstance(duration, str) else None
    return float(match[1]) * UNITS[match[2]] if match else None
