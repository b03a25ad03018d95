"""What a case is found by: the values and the words of its searchable fields, in the form that is compared."""

import json
import re
from collections.abc import Iterator
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


def words_of(*texts: str) -> list[str]:
    """The words of texts in the form that is compared, each once, in their order."""
    words = dict.fromkeys(_WORD.findall("\n".join([text[:TEXT_MAX] for text in texts]).casefold()))
    return [word for word in words if len(word) <= WORD_MAX]


def search_write(field: str, text: str | None, *, adds: bool = False) -> SearchWrite:
    """What a field is found by whose value is now this JSON: every text and number in it."""
    leaves = [] if text is None else [*_leaves(json.loads(text))]
    values = [value for value in dict.fromkeys(map(searched, leaves)) if value and len(value) <= VALUE_MAX]
    return SearchWrite(field, tuple(values[:WORDS_MAX]), tuple(words_of(*leaves)[:WORDS_MAX]), adds)


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
