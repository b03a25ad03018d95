"""Formats times and durations for people."""

from datetime import datetime

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def format_time(at: float) -> str:
    """Format a time (Unix seconds) as local date and time with its zone, such as "2026-11-28 21:10:05 CET"."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def format_duration(seconds: float) -> str:
    """Format a duration in words, such as "3 hours" or "1 day 4 hours": the largest unit, and the next unit after a 1."""
    left = int(seconds)
    for index, (size, unit) in enumerate(_UNITS):
        count, rest = divmod(left, size)
        if count > 1:
            return f"{count} {unit}s"
        if count == 1:
            more = rest // _UNITS[index + 1][0] if index + 1 < len(_UNITS) else 0
            return f"1 {unit}" + (f" {more} {_UNITS[index + 1][1]}{'s' if more > 1 else ''}" if more else "")
    return "less than a second"


def short_time(seconds: float) -> str:
    """Format a duration in a few characters, such as "3 h"."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "<1 s"
