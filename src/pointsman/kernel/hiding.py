"""Hide private texts in the texts that an engine makes of errors, which become events, reasons and lines of a log."""

import html
import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "[private]"
"""What is shown in place of a private value."""

HIDDEN_MIN = 4  # characters of a text that is hidden: shorter ones occur by chance in any sentence
RUN = 16  # characters of a longer text that are hidden wherever they occur together: errors quote parts of a value
CUT = "…"  # stands where a text was cut
FORMS_MAX = 1_000  # characters of a text that is also looked for as a URL, a `repr` or a web page writes it: an address, a name, a sentence
TEXT_MAX = 2_000  # characters of a text that are looked at; a stored one has at most 500

_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")

_private: ContextVar[Callable[[], Iterable[str]] | None] = ContextVar("private", default=None)


def hide_fields(values: Mapping[str, Any], private: Container[str]) -> dict[str, Any]:
    """These values of fields, with HIDDEN for those of private fields."""
    return {name: HIDDEN if name in private else value for name, value in values.items()}


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
    """A text in which HIDDEN stands for each of the `private` texts, and for each part of them that has RUN characters. Capitals do not count."""
    cut = len(text) > TEXT_MAX
    text = text[:TEXT_MAX]
    folded = _folded(text)
    marks = bytearray(len(text))
    for one in dict.fromkeys(_folded(form) for private_text in private for form in _forms(private_text)):
        _mark(marks, folded, one)
        _mark_beginning(marks, folded, one)
    parts: list[str] = []
    for at, mark in enumerate(marks):
        if not mark:
            parts.append(text[at])
        elif not at or not marks[at - 1]:
            parts.append(HIDDEN)
    return "".join(parts[:-RUN] if cut else parts)  # a private text may have been cut in two


def leaves(value: Any, members: Container[str] | None = None) -> Iterator[str]:
    """Every text and number in a value of JSON, as text, and every key that is not the name of a member.

    Without `members`, a key that could be a name in Python is taken for one.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part, members)
        for key in value if isinstance(value, dict) else ():
            if not key.isidentifier() if members is None else key not in members:
                yield key
    elif value is not None and not isinstance(value, bool):
        yield json.dumps(value)


def _forms(private: str) -> Iterator[str]:
    """The ways in which an error may write a text: as it is, line by line, and as a `repr`, a URL, JSON or a web page has it."""
    yield private
    yield from map(str.strip, private.splitlines())
    if len(private) > FORMS_MAX:
        return
    text = private.encode(errors="replace").decode()  # a lone surrogate has no place in a URL
    yield from (
        repr(text)[1:-1],
        ascii(text)[1:-1],
        json.dumps(text)[1:-1],
        html.escape(text),
        quote(text),
        quote(text, safe=""),
        quote_plus(text),
    )
    if date := _DATE.match(private):
        yield ", ".join(str(int(part)) for part in date.groups())


def _folded(text: str) -> str:
    """A text without capitals, each character in its place."""
    small = text.lower()
    return small if len(small) == len(text) else "".join(one.lower() if len(one.lower()) == 1 else one for one in text)


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


def _mark_beginning(marks: bytearray, text: str, private: str) -> None:
    """Mark the beginning of a private text at the end of a text that was cut before: `message_of` may be called where nothing is hidden yet."""
    end = len(text.rstrip(CUT))
    if end == len(text):
        return
    for size in range(min(RUN, len(private)), HIDDEN_MIN - 1, -1):
        if text.startswith(private[:size], end - size):
            marks[end - size : end] = b"\1" * size
            return
