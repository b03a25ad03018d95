"""What a case is found by: the values and the words of its searchable fields, in the form that is compared."""

import json
import re
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
    leaves: list[str] = []
    if text is not None:
        _add_leaves(json.loads(text), leaves)
    values = [value for value in dict.fromkeys(map(searched, leaves)) if value and len(value) <= VALUE_MAX]
    return SearchWrite(field, tuple(values[:WORDS_MAX]), tuple(words_of(*leaves)[:WORDS_MAX]), adds)


def _add_leaves(value: Any, leaves: list[str]) -> None:
    """Add the texts and numbers in a value of JSON."""
    if isinstance(value, str):
        leaves.append(value)
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            _add_leaves(part, leaves)
    elif value is not None:
        leaves.append(json.dumps(value))
