"""Formats times and durations for people."""

import math
from datetime import datetime
from itertools import pairwise

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_BRIEF_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def format_time(at: float) -> str:
    """Format a time (Unix seconds) as local date and time with its zone, such as "2026-11-28 21:10:05 CET"."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def format_duration(seconds: float) -> str:
    """Format a duration in words, rounded, such as "3 hours" or "1 day 4 hours": the largest unit, and the next unit after a 1."""
    for (size, unit), (part, smaller) in pairwise((*_UNITS, (1, ""))):
        count, rest = divmod(_rounded(seconds / part), size // part)  # 23 hours and 59.5 minutes are a day
        if count > 1:
            return f"{_rounded(seconds / size)} {unit}s"
        if count == 1:
            return f"1 {unit}" + (f" {rest} {smaller}{'s' if rest > 1 else ''}" if rest else "")
    return "less than a second"


def short_time(seconds: float) -> str:
    """Format a duration in a few characters, such as "3 h"."""
    if seconds < 1:
        return "<1 s"
    return f"{_rounded(seconds)} s" if _rounded(seconds) < 60 else format_briefly(seconds)


def format_briefly(seconds: float) -> str:
    """Format a duration of at least a minute in one short unit, rounded, such as "3 h"; between one and two of a unit, in the next smaller one."""
    for (size, unit), (part, smaller) in pairwise(_BRIEF_UNITS):
        parts = _rounded(seconds / part)
        if parts >= 2 * size // part:
            return f"{_rounded(seconds / size)} {unit}"
        if parts >= size // part:
            return f"1 {unit}" if parts == size // part else f"{parts} {smaller}"
    return f"{_rounded(seconds / 60)} min"


def _rounded(number: float) -> int:
    return math.floor(number + 0.5)
