"""The protocol of a model: one question, one answer, no retry of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel

from pointsman.definition.guards import Attempt

T = TypeVar("T", bound=BaseModel)


class Message(NamedTuple):
    """One message of a conversation with a model."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked, as code sees it: a name and the values it is about.

    A rule-based or a scripted model goes by it; a language model goes by the messages, which the node has made of it.
    """

    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict)


class Model(Protocol):
    """What a node asks. `name` is kept with each answer.

    An answer that does not fit `schema`, be it no JSON, cut short, empty or with a value outside an enum, is an `Attempt`
    with violations: it was paid for, and can be repaired. No answer is an exception: a refused connection, a timeout, a
    server that is busy (with its `retry_after`, in seconds), and the engine tries again as the node's `retry` says.
    """

    @property
    def name(self) -> str:
        """The model's name, such as "gpt-4.1-mini" or "rule-based, no AI"."""
        ...

    async def attempt(self, task: Task, messages: Sequence[Message], schema: type[T]) -> Attempt[T]:
        """Ask once for an answer that fits `schema`. Raises NotSent or another exception where there is no answer."""
        ...
