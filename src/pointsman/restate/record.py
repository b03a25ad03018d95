"""The record of a case: everything durable about it, as one value that a virtual object keeps."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from restate import ObjectContext

from pointsman.client.restate_names import key_of, numbers
from pointsman.kernel.rows import EventWrite, FieldRow, Post
from pointsman.store.one_case import CaseRecord


class Refusing(NamedTuple):
    """Why a caller is refused: the name of the error, its message, and who was faster."""

    error: str
    message: str
    by: str = ""


class Message(NamedTuple):
    """A message on its way. `fields` are those of a child that ended; `texts` the JSON of the fields of a case that starts with it, None if it starts none."""

    post: Post
    fields: dict[str, FieldRow] = {}  # noqa: RUF012 - nobody changes it
    texts: dict[str, str] | None = None
    priority: int = 0


class Start(NamedTuple):
    """A start: what the number was computed from, and the inputs, or the JSON of each. The rest is as in `NewCase`, and for a child in `Record`."""

    seed: str
    inputs: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    texts: dict[str, str] | None = None
    key: str | None = None
    tenant: str = ""
    priority: int = 0
    correlation: str | None = None
    parent: int | None = None
    home: str = ""
    result: str = ""

    async def begin(self, ctx: ObjectContext, start: Any, process: str) -> tuple[int, dict[str, Any]]:
        """Start the case under the first number that is free, or find it, with the handler `start`. Raises TerminalError if it is refused."""
        for number in numbers(self.seed):
            answer = await ctx.object_call(start, key_of(process, number), self._asdict())
            if not answer.get("taken"):
                return number, answer
        raise AssertionError(self.seed)


@dataclass(slots=True)
class Record(CaseRecord):
    """A case between two invocations. `seed` is what its number was computed from.

    A child's `home` is the key of its parent's object, and `result` the field that the parent takes.
    `arrived` counts the messages that came, and `came` has those from outside that are in the inbox.
    """

    seed: str = ""
    home: str = ""
    result: str = ""
    arrived: int = 0
    came: dict[int, Message] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stamped:
    """The events of one transition."""

    revision: int
    at: float
    events: tuple[EventWrite, ...]
