"""Steps that wait for a person or for a time. A waiting case is only a row in the store."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True)
class Remind:
    """A rung: remind the assignee `after_seconds` after the pause opened."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class Reassign:
    """A rung: assign the pause to `to` `after_seconds` after it opened."""

    after_seconds: float
    to: str


@dataclass(frozen=True, slots=True)
class Expire:
    """The last rung: close the pause `after_seconds` after it opened. Take `default` as the answer, or park the case for `reason`."""

    after_seconds: float | None
    default: Any = None
    reason: str | None = None


Rung = Remind | Reassign | Expire


@dataclass(frozen=True, eq=False)
class Pause:
    """A step at which a case waits for a typed answer.

    `writes` takes the answer. `shows` are the fields that the person decides on: the answer is bound to their digest, and
    is cleared when one of them is rewritten. `edits` are the shown fields that the answer may rewrite. `beside` are fields
    that the person sees for information only. `ladder` says what happens while no answer comes. `assignee` is the first
    person to ask. `former_names` are earlier names of the pause.
    """

    name: str
    writes: tuple[str, ...]
    answer: type
    shows: tuple[str, ...]
    edits: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    former_names: tuple[str, ...] = field(default=(), kw_only=True)
    ladder: tuple[Remind | Reassign | Expire, ...] = ()
    assignee: str | None = None

    @cached_property
    def depends(self) -> frozenset[str]:
        """The fields that the answer depends on: rewriting one clears the answer."""
        return frozenset(self.shows)

    @property
    def expires_seconds(self) -> float | None:
        """The number of seconds after which the pause closes without an answer, or None."""
        last = self.ladder[-1] if self.ladder else None
        return last.after_seconds if isinstance(last, Expire) else None


@dataclass(frozen=True, eq=False)
class Sleep:
    """A step at which a case waits for `seconds`, or until the time in the field `until`.

    `writes` takes the time at which the sleep ended; before that it is None, so that a rule can test for it. `former_names`
    are earlier names of the sleep.
    """

    name: str
    writes: tuple[str, ...]
    seconds: float | None
    until: str | None
    former_names: tuple[str, ...] = ()

    @cached_property
    def depends(self) -> frozenset[str]:
        """The fields that the sleep depends on: rewriting one starts the sleep again."""
        return frozenset() if self.until is None else frozenset({self.until})

    @property
    def shows(self) -> tuple[str, ...]:
        """The fields whose digest identifies this sleep."""
        return tuple(self.depends)
