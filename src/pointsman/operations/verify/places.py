"""What is decided about imagined values: the places inside them, and what was decided there."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from pointsman.operations.verify.words import Words

_ITEM = re.compile(r"\[\d+\]")

Look = tuple[str, str]
"""A field, and a place in it without the numbers of items."""

Known = Mapping["Place", "Choice"]
"""What is decided: by the token of a value and the place inside it."""

NOTHING_KNOWN: Known = MappingProxyType({})


class Choice(NamedTuple):
    """What was decided at one place: it `is` a value, is `not` one of several, lies `between` two, has a `len`, or is of one `type`."""

    how: str
    what: Any


class Place(NamedTuple):
    """A place in an imagined value: `("approval#1", ".decision")`."""

    token: str
    inner: str

    def within(self, part: str) -> "Place":
        """A place inside this one."""
        return Place(self.token, self.inner + part)

    @property
    def name(self) -> str:
        """What a person calls it: `mails.at`."""
        return "".join(look_of(self))


@lru_cache(maxsize=65_536)  # as many places as a search looks at, or the newest of them
def look_of(place: Place) -> Look:
    """The field of a place, and the place in it without the numbers of items."""
    return place.token.partition("<")[0], _ITEM.sub("[]", place.inner)


class Unresolved(BaseException):
    """A condition asks for what is not decided yet. No handler of `Exception` takes it for a mistake of the author."""

    def __init__(self, place: Place, choices: Iterable[Choice]) -> None:
        super().__init__(place)
        self.place = place
        self.choices = tuple(choices)


class Decisions:
    """What is `known` about imagined values. `words` are those that conditions name.

    `single` are the places that have one value for all, and `computed` those with few, because conditions compute with them.
    """

    def __init__(self, words: Words) -> None:
        self.known: Known = NOTHING_KNOWN
        self.words = words
        self.single: set[str] = set()
        self.computed: set[str] = set()

    def decided(self, place: Place, choices: Iterable[Choice]) -> Choice:
        """What was decided at a place, or Unresolved with the choices."""
        choice = self.known.get(place)
        if choice is None:
            raise Unresolved(place, choices)
        return choice

    def one_of(self, place: Place, values: tuple[Any, ...]) -> Any:
        """One of a few values."""
        return values[0] if len(values) == 1 else self.decided(place, [Choice("is", value) for value in values]).what
