"""Pauses: the case stops, holds nothing, and goes on when a person has answered."""

from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Pause:
    """A place where a case waits for a typed answer.

    `writes` takes the answer; `shows` are the fields that the person sees and decides on: the answer is bound to their
    digest, and is cleared when one of them is rewritten. `edits` are shown fields that the answer may rewrite;
    `beside` are fields shown for information, without being part of what is decided. `was` are its earlier names.
    """

    name: str
    writes: tuple[str, ...]
    answer: type
    shows: tuple[str, ...]
    edits: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    was: tuple[str, ...] = field(default=(), kw_only=True)

    @cached_property
    def depends(self) -> frozenset[str]:
        """The fields whose rewriting clears the answer."""
        return frozenset(self.shows)
