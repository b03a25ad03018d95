"""Steps that wait for a person or a time. A waiting case uses no thread, permit or place."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True)
class Remind:
    """A rung: send a reminder when the pause has been open for `after_seconds`."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class Reassign:
    """A rung: assign the pause to `to` when it has been open for `after_seconds`."""

    after_seconds: float
    to: str


@dataclass(frozen=True, slots=True)
class Expire:
    """The last rung: after `after_seconds` the pause ends, either with the answer `default` or by parking the case for `reason`."""

    after_seconds: float | None
    default: Any = None
    reason: str | None = None


Rung = Remind | Reassign | Expire


@dataclass(frozen=True, eq=False)
class Pause:
    """A step at which a case waits for a typed answer.

    `writes` takes the answer. `shows` are the fields that the person decides on: the answer is bound to their digest, and a write to
    one of them clears it. `edits` are shown fields that the answer may rewrite, and `beside` are fields shown for information only.
    `ladder` says what happens while no answer comes, `assignee` is who is asked first, and `former_names` are earlier names.
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
        """The fields that the answer depends on: a write to one of them clears it."""
        return frozenset(self.shows)

    @property
    def expires_seconds(self) -> float | None:
        """The seconds from the opening of the pause to its end by itself, or None."""
        last = self.ladder[-1] if self.ladder else None
        return last.after_seconds if isinstance(last, Expire) else None


@dataclass(frozen=True, eq=False)
class Sleep:
    """A step at which a case waits for `seconds`, or until the time in the field `until`.

    `writes` takes the time at which the sleep ended; until then it is None, so that a rule can test it. `former_names` are earlier names.
    """

    name: str
    writes: tuple[str, ...]
    seconds: float | None
    until: str | None
    former_names: tuple[str, ...] = ()

    @cached_property
    def depends(self) -> frozenset[str]:
        """The fields that the sleep depends on: a write to one of them starts the sleep again."""
        return frozenset() if self.until is None else frozenset({self.until})

    @property
    def shows(self) -> tuple[str, ...]:
        """The fields that the sleep is bound to."""
        return tuple(self.depends)
