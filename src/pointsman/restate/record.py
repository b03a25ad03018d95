"""The record of a case: everything durable about it, as one value that a virtual object keeps."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from restate import ObjectContext

from pointsman.client.restate_names import key_of, numbers
from pointsman.client.restate_requests import Message, Start
from pointsman.kernel.rows import EventWrite
from pointsman.store.one_case import CaseRecord


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


class Stamped(NamedTuple):
    """The events of one transition."""

    revision: int
    at: float
    events: tuple[EventWrite, ...]


async def begin(ctx: ObjectContext, start: Any, process: str, asked: Start) -> tuple[int, dict[str, Any]]:
    """Start a case under the first number that is free, or find it, with the handler `start`. Raises TerminalError if it is refused."""
    for number in numbers(asked.seed):
        answer = await ctx.object_call(start, key_of(process, number), asked._asdict())
        if not answer.get("other"):
            return number, answer
    raise AssertionError(asked.seed)
