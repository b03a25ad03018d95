"""Steps that wait: for a person, for a time. The case stops, holds nothing, and goes on when its answer or its time has come."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True, slots=True)
class Remind:
    """A rung: a reminder is sent when the pause has been open for `after_seconds`."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class Reassign:
    """A rung: from `after_seconds` on, `to` is asked."""

    after_seconds: float
    to: str


@dataclass(frozen=True, slots=True)
class Expire:
    """The last rung: after `after_seconds` nobody is asked any more. The answer is then `default`, or the case is parked for `reason`."""

    after_seconds: float | None
    default: Any = None
    reason: str | None = None


Rung = Remind | Reassign | Expire


@dataclass(frozen=True, eq=False)
class Pause:
    """A place where a case waits for a typed answer.

    `writes` takes the answer; `shows` are the fields that the person sees and decides on: the answer is bound to their
    digest, and is cleared when one of them is rewritten. `edits` are shown fields that the answer may rewrite;
    `beside` are fields shown for information, without being part of what is decided. `ladder` says what happens when no
    answer comes, `assignee` who is asked first, `former_names` its earlier names.
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
        """The fields whose rewriting clears the answer."""
        return frozenset(self.shows)

    @property
    def expires_seconds(self) -> float | None:
        """How long after its opening the pause is over by itself, or None."""
        last = self.ladder[-1] if self.ladder else None
        return last.after_seconds if isinstance(last, Expire) else None


@dataclass(frozen=True, eq=False)
class Sleep:
    """A place where a case waits for a time: `seconds` from when it came there, or the one that the field `until` names.

    `writes` takes the time at which it went on: until then the field is empty, so that a rule can ask for it. `former_names` are its earlier names.
    """

    name: str
    writes: tuple[str, ...]
    seconds: float | None
    until: str | None
    former_names: tuple[str, ...] = ()

    @cached_property
    def depends(self) -> frozenset[str]:
        """The fields whose rewriting makes the case sleep anew."""
        return frozenset() if self.until is None else frozenset({self.until})

    @property
    def shows(self) -> tuple[str, ...]:
        """What the sleep is bound to."""
        return tuple(self.depends)
