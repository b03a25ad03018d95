"""Hide private texts in the texts that an engine makes of errors, which become events, reasons and lines of a log."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

HIDDEN = "[private]"
"""What is shown in place of a private value."""

HIDDEN_MIN = 4  # characters of a text that is hidden: shorter ones occur by chance in any sentence
RUN = 16  # characters of a longer text that are hidden wherever they occur together: errors quote parts of a value
TEXT_MAX = 2_000  # characters of a text that are looked at; a stored one has at most 500

_private: ContextVar[Callable[[], Iterable[str]] | None] = ContextVar("private", default=None)


@contextmanager
def hiding(texts: Callable[[], Iterable[str]]) -> Iterator[None]:
    """Let `hidden` hide these texts. They are asked for only if there is a text to hide them in."""
    before = _private.set(texts)
    try:
        yield
    finally:
        _private.reset(before)


def hidden(text: str) -> str:
    """A text without what is to be hidden now."""
    texts = _private.get()
    return text if texts is None else without(text, texts())


def without(text: str, private: Iterable[str]) -> str:
    """A text in which HIDDEN stands for each of the `private` texts, and for each part of them that has RUN characters."""
    cut = len(text) > TEXT_MAX
    text = text[:TEXT_MAX]
    marks = bytearray(len(text))
    for one in private:
        for part in dict.fromkeys((one, *map(str.strip, one.splitlines()))):
            _mark(marks, text, part)
    parts: list[str] = []
    for at, mark in enumerate(marks):
        if not mark:
            parts.append(text[at])
        elif not at or not marks[at - 1]:
            parts.append(HIDDEN)
    return "".join(parts[:-RUN] if cut else parts)  # a private text may have been cut in two


def leaves(value: Any) -> Iterator[str]:
    """Every text and number in a value of JSON, as text. The names of members are not values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    elif value is not None and not isinstance(value, bool):
        yield json.dumps(value)


def _mark(marks: bytearray, text: str, private: str) -> None:
    if len(private) < HIDDEN_MIN:
        return
    if len(private) <= RUN:
        at = text.find(private)
        while at >= 0:
            marks[at : at + len(private)] = b"\1" * len(private)
            at = text.find(private, at + 1)
        return
    for at in range(len(text) - RUN + 1):
        if text[at : at + RUN] in private:
            marks[at : at + RUN] = b"\1" * RUN
