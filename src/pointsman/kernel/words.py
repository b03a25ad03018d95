"""What a case is found by: the values and the words of its searchable fields, in the form that is compared."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

VALUE_MAX = 200  # characters of a value to find a case by: names, addresses and numbers are shorter, and a letter is found by its words
TEXT_MAX = 20_000  # characters of a text whose words are kept: a long mail
WORDS_MAX = 300  # words that are kept of one field: each is a row of two indexes
WORD_MAX = 50  # characters of a word; longer ones are encoded data

_WORD = re.compile(r"\w+")


class SearchWrite(NamedTuple):
    """What a field is found by from now on. `adds` keeps what it was found by before."""

    field: str
    values: tuple[str, ...]
    words: tuple[str, ...]
    adds: bool = False


NOTHING_SEARCHED: tuple[SearchWrite, ...] = ()


def searched(text: str) -> str:
    """A value in the form that is compared: without capitals and outer spaces."""
    return " ".join(text.casefold().split())


def words_of(text: str) -> dict[str, None]:
    """The words of a text in the form that is compared, each once, in their order."""
    return dict.fromkeys(word for word in _WORD.findall(text[:TEXT_MAX].casefold()) if len(word) <= WORD_MAX)


def search_write(field: str, text: str | None, *, adds: bool = False) -> SearchWrite:
    """What a field is found by whose value is now this JSON: every text and number in it."""
    values: dict[str, None] = {}
    words: dict[str, None] = {}
    for leaf in () if text is None else _leaves(json.loads(text)):
        value = searched(leaf)
        if value and len(value) <= VALUE_MAX:
            values[value] = None
        words |= words_of(leaf)
    return SearchWrite(field, _few(values), _few(words), adds)


def _few(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)[:WORDS_MAX]


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case bool() | int() | float():
            yield json.dumps(value)
        case list():
            for item in value:
                yield from _leaves(item)
        case dict():
            for item in value.values():
                yield from _leaves(item)
