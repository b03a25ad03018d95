"""The protocol of a model: one request, one response, and no retries of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel

from pointsman.definition.guards import ModelResponse, Usage
from pointsman.definition.nodes import Context
from pointsman.errors import DefinitionError

T = TypeVar("T", bound=BaseModel)

MAY_BE_PAID = "it may have processed the request, and charge for it"  # the end of each NoModelResponse


class Message(NamedTuple):
    """One message of a conversation with a model."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Task:
    """The question in a form for code: a name, and the values that the question is about.

    A rule-based or scripted model reads the task. A language model reads the messages.
    """

    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict)


def with_repairs(messages: Sequence[Message], ctx: Context) -> list[Message]:
    """The messages and, for a repair, the rejected response and its violations."""
    if not ctx.violations:
        return list(messages)
    faults = "\n".join(f"- {violation.check}: {violation.message}" for violation in ctx.violations)
    asked = f"Your answer was not accepted:\n{faults}\nAnswer once more, whole, and without these faults."
    rejected = [Message("assistant", ctx.rejected)] if ctx.rejected else []  # some servers take no empty message
    return [*messages, *rejected, Message("user", asked)]


@dataclass(frozen=True, slots=True, init=False)
class Price:
    """The price of a million input tokens and a million output tokens. All prices have one currency. Raises DefinitionError."""

    input_per_million: Decimal
    output_per_million: Decimal

    def __init__(self, input_per_million: Decimal | float | str, output_per_million: Decimal | float | str) -> None:
        for name, given in (("input_per_million", input_per_million), ("output_per_million", output_per_million)):
            try:
                amount = Decimal(str(given))
            except InvalidOperation:
                amount = Decimal("NaN")
            if not (amount.is_finite() and amount >= 0):
                raise DefinitionError(f"Price: {name} is {given!r}; it must be an amount of 0 or more.")
            object.__setattr__(self, name, amount)

    def usage(self, input_tokens: int, output_tokens: int) -> Usage:
        """The usage of these numbers of tokens, with their cost."""
        cost = (input_tokens * self.input_per_million + output_tokens * self.output_per_million) / 1_000_000
        return Usage(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost)


FREE = Price(0, 0)


class Model(Protocol):
    """A model that a node asks. The events keep `name` with each response.

    A response that does not fit `schema` (invalid JSON, truncated, empty, or a value outside an enum) is a `ModelResponse`
    with violations: it was paid for, and the engine can ask for a repair. If there is no response, the model raises an
    exception: `NotSent` if the request was not processed, with the `retry_after` (seconds) of a busy server;
    `NoModelResponse` if it may have been processed; `Rejected` if a person must act. The engine tries again after the first
    two, as the `retry` of the node says, and then asks the next model.
    """

    @property
    def name(self) -> str:
        """The model's name, such as "gpt-4.1-mini" or "rule-based, no AI"."""
        ...

    async def ask(self, task: Task, messages: Sequence[Message], schema: type[T]) -> ModelResponse[T]:
        """Ask once for a response that fits `schema`. Raises NotSent, NoModelResponse or Rejected."""
        ...
