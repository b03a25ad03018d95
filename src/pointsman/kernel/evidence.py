"""What is stored of an error besides its text: its type, and its line in the author's code. No values and no stack."""

import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from traceback import walk_stack, walk_tb
from types import FrameType
from typing import Any

PLACE = "pointsman_place"
"""The attribute with the line of an error that was raised in another process."""

CAUSES_MAX = 10  # causes can go in circles
_LIBRARIES = {"site-packages", "dist-packages"}
_OURS = f"{Path(__file__).parents[1]}/"
_STANDARD = f"{sysconfig.get_path('stdlib')}/"


def evidence_of(error: BaseException, attempts: int) -> Mapping[str, Any]:
    """The stored facts of the error that parked a case."""
    return {"error": error_name(error), "raised_at": raised_at(error), "attempts": attempts}


def error_name(error: BaseException) -> str:
    """The name of an error's type as the author knows it: that of the cause if the engine only `wraps` it."""
    cause = error.__cause__ if getattr(error, "wraps", False) else None
    return type(cause or error).__name__


def raised_at(error: BaseException) -> str | None:
    """The innermost line of the author's code that the error passed through, as `file.py:line`, or None.

    Pointsman, the standard library and installed packages are not the author's code. If there is no such line, it is the innermost one in
    an installed package.
    """
    cause: BaseException | None = error
    place: str | None = None
    for _ in range(CAUSES_MAX):
        if cause is None or place is not None:
            break
        brought = getattr(cause, PLACE, None)
        place = brought if isinstance(brought, str) else _place_in(reversed(list(walk_tb(cause.__traceback__))))
        cause = cause.__cause__
    return place


def stands_at(thread: int) -> str | None:
    """The innermost line of the author's code that the thread of this number is at."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - the one way to look at another thread
    return None if frame is None else _place_in(walk_stack(frame))


def _place_in(frames: Iterable[tuple[FrameType, int]]) -> str | None:
    """The author's line among these frames, of which the innermost comes first."""
    installed = None
    for frame, line in frames:
        file = frame.f_code.co_filename
        if file.startswith((_OURS, "<")):
            continue
        place = f"{Path(file).name}:{line}"
        if not _LIBRARIES.isdisjoint(Path(file).parts):
            installed = installed or place
        elif not file.startswith(_STANDARD):
            return place
    return installed
