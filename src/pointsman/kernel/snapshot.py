"""A case at one moment: the last write of each field, and who wrote it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """Where a case stands. `ready` is due now or at its wake-up time, `running` is in an engine's hands, `blocked` needs other code."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    PARKED = "parked"
    BLOCKED = "blocked"
    DONE = "done"
    CANCELLED = "cancelled"


AT_REST = frozenset({Status.WAITING, Status.PARKED, Status.BLOCKED, Status.DONE, Status.CANCELLED})
"""The statuses in which a case is in nobody's hands and will not be until its timer or somebody outside moves it."""


ENDED = frozenset({Status.DONE, Status.CANCELLED})
"""The statuses that a case does not leave."""


NULL = "null"  # the stored form of None, which is the same as no value


class Cell(NamedTuple):
    """A field's value, its JSON as stored (digests are taken of it), and the name of the step that wrote it ("" for an input).

    One that `appends` is a write of one item that is added to a log; a snapshot has no such cell.
    """

    value: object
    text: str
    writer: str
    appends: bool = False


class Snapshot(NamedTuple):
    """What the kernel needs to know of a case. A field that has no value yet has no cell.

    `revision` counts the committed transitions, `steps` the decisions since something came to the case from outside: an answer, a
    message, a timer. `turning` are the rules of the last ones, once they are many.
    """

    case: int
    cells: Mapping[str, Cell]
    revision: int = 0
    steps: int = 0
    turning: tuple[str, ...] = ()
