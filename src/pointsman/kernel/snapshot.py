"""A case at one moment: the last write of each field, and who wrote it."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum

from pointsman.kernel.record import record


class Status(StrEnum):
    """The status of a case. A `ready` case is due now or at its wake-up time, an engine runs a `running` one, a `blocked` one needs other code."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    PARKED = "parked"
    BLOCKED = "blocked"
    DONE = "done"
    CANCELLED = "cancelled"


AT_REST = frozenset({Status.WAITING, Status.PARKED, Status.BLOCKED, Status.DONE, Status.CANCELLED})
"""The statuses in which no engine works on a case until a timer fires or somebody acts."""


ENDED = frozenset({Status.DONE, Status.CANCELLED})
"""The statuses that a case does not leave."""


NULL = "null"  # the stored form of None, which is the same as no value
EMPTY = "[]"  # the stored form of a log without items
_BETWEEN = re.compile(r"[\s,]*")  # the text between the items of a JSON array
_DECODER = json.JSONDecoder()


class Cell:
    """A field's value, its JSON as stored, and the name of the step that wrote it ("" for an input).

    One that `appends` is a write of one item that is added to a log; a snapshot has no such cell.
    """

    __slots__ = ("appends", "text", "value", "writer")

    def __init__(self, value: object, text: str, writer: str, appends: bool = False) -> None:
        self.value = value
        self.text = text
        self.writer = writer
        self.appends = appends

    @property
    def identity(self) -> str:
        """The text to digest and to compare values by."""
        return self.text

    @property
    def size(self) -> int:
        """The length of its JSON."""
        return len(self.text)

    def __eq__(self, other: object) -> bool:
        """Whether both are the same write of the same value."""
        if not isinstance(other, Cell):
            return NotImplemented
        return (self.text, self.writer, self.appends) == (other.text, other.writer, other.appends)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r}, {self.text!r}, {self.writer!r})"


class LogCell(Cell):
    """The value of a log: it grows by an item without encoding, joining or hashing the earlier ones again.

    `parts` are the JSON arrays whose items it has, in order. Its identity is a chain of hashes over the items' JSON, so it does not
    depend on how the items are split into parts.
    """

    __slots__ = ("_chain", "parts")

    value: list[object]

    def __init__(self, value: list[object], parts: tuple[str, ...], writer: str, chain: bytes | None = None) -> None:
        self.value = value
        self.parts = parts
        self.writer = writer
        self.appends = False
        self._chain = chain

    @property
    def text(self) -> str:  # type: ignore[override]
        """The JSON of all items."""
        return f"[{','.join(part[1:-1] for part in self.parts if part != EMPTY)}]"

    @property
    def identity(self) -> str:
        """The last hash of the chain."""
        return f"log:{self._end().hex()}"

    @property
    def size(self) -> int:
        """The length of its parts."""
        return sum(map(len, self.parts))

    def longer(self, item: Cell) -> "LogCell":
        """The log after a write that appends."""
        chain = None if self._chain is None else _link(self._chain, item.text)
        return LogCell([*self.value, item.value], (*self.parts, f"[{item.text}]"), item.writer, chain)

    def added_since(self, before: "LogCell") -> str | None:
        """The JSON array of what was added since; None where it is not the same log with more items."""
        known = len(before.parts)
        if self.parts[:known] != before.parts:
            return None
        added = self.parts[known:]
        return added[0] if len(added) == 1 else f"[{','.join(part[1:-1] for part in added if part != EMPTY)}]"

    def _end(self) -> bytes:
        if self._chain is None:
            chain = hashlib.sha256(b"log").digest()
            for part in self.parts:
                for item in _items_of(part):
                    chain = _link(chain, item)
            self._chain = chain
        return self._chain


def _link(chain: bytes, item: str) -> bytes:
    return hashlib.sha256(chain + item.encode()).digest()


def _items_of(array: str) -> Iterator[str]:
    """The exact JSON text of each item of a JSON array."""
    place = _BETWEEN.match(array, 1).end()  # type: ignore[union-attr]
    while array[place] != "]":
        _, end = _DECODER.raw_decode(array, place)
        yield array[place:end]
        place = _BETWEEN.match(array, end).end()  # type: ignore[union-attr]


def alike(one: Cell | None, other: Cell | None) -> bool:
    """Whether two cells hold the same value; None is the same as null."""
    if one is other:
        return True
    if isinstance(one, LogCell) and isinstance(other, LogCell):
        return len(one.value) == len(other.value) and one.identity == other.identity
    return (NULL if one is None else one.text) == (NULL if other is None else other.text)


@record
class Snapshot:
    """A case as the kernel sees it. A field that has no value yet has no cell.

    `revision` counts the committed transitions, `steps` the decisions since something came to the case from outside: an answer, a
    message, a timer. `turning` are the rules of the latest decisions, once there are many.
    """

    case: int
    cells: Mapping[str, Cell]
    revision: int = 0
    steps: int = 0
    turning: tuple[str, ...] = ()
