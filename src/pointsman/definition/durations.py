"""Durations as authors write them: a number of seconds, a `timedelta`, or a text such as "4h"."""

import math
import re
from datetime import timedelta

from pointsman.errors import DefinitionError

Duration = float | timedelta | str
"""Seconds, a `timedelta`, or a number and a unit: "90s", "30m", "4h", "1.5d", "2w"."""

UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
"""The units of a duration's text, in seconds. A day is 24 hours here, whatever the clocks of a zone do that night."""

DAY_SECONDS = UNITS["d"]

_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", re.ASCII)


def seconds_of(duration: Duration, what: str = "duration") -> float:
    """The seconds of a duration, more than none. Raises DefinitionError, naming `what` it is for, where it is no duration."""
    seconds = _seconds(duration)
    if seconds is None:
        raise DefinitionError(
            f'{what}: {duration!r} is no duration; give it seconds, a timedelta, or a text such as "90s", "30m", "4h" or "1d".'
        )
    if not (math.isfinite(seconds) and seconds > 0):
        raise DefinitionError(f"{what}: {duration!r} is no time that passes; give it more than nothing.")
    return seconds


def _seconds(duration: object) -> float | None:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, int | float) and not isinstance(duration, bool):
        return float(duration)
    match = _TEXT.fullmatch(duration) if isinstance(duration, str) else None
    return float(match[1]) * UNITS[match[2]] if match else None
