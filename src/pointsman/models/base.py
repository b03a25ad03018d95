"""The protocol of a model: one question, one answer, no retry of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel

from pointsman.definition.guards import ModelResponse, Usage
from pointsman.definition.nodes import Context
from pointsman.errors import DefinitionError

T = TypeVar("T", bound=BaseModel)

MAY_BE_PAID = "it may have worked on the question, and be paid for it"  # what a NoModelResponse ends with


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


def with_repairs(messages: Sequence[Message], ctx: Context) -> list[Message]:
    """The messages, and where the node is asked for a repair, the answer that its guard rejected and what is wrong with it."""
    if not ctx.violations:
        return list(messages)
    faults = "\n".join(f"- {violation.check}: {violation.message}" for violation in ctx.violations)
    asked = f"Your answer was not accepted:\n{faults}\nAnswer once more, whole, and without these faults."
    rejected = [Message("assistant", ctx.rejected)] if ctx.rejected else []  # some servers take no empty message
    return [*messages, *rejected, Message("user", asked)]


@dataclass(frozen=True, slots=True, init=False)
class Price:
    """What a million tokens cost, asked and answered, in the one currency of all prices. A float counts as it is written."""

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
        """So many tokens, with what they cost."""
        cost = (input_tokens * self.input_per_million + output_tokens * self.output_per_million) / 1_000_000
        return Usage(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost)


FREE = Price(0, 0)


class Model(Protocol):
    """What a node asks. `name` is kept with each answer.

    An answer that does not fit `schema`, be it no JSON, cut short, empty or with a value outside an enum, is a `ModelResponse`
    with violations: it was paid for, and can be repaired. No answer is an exception: `NotSent` where nobody worked on the
    question, with the `retry_after` (seconds) of a server that is busy, `NoModelResponse` where somebody may have, and `Rejected`
    where only a person helps. The engine tries the first two again, as the node's `retry` says, and then the next model.
    """

    @property
    def name(self) -> str:
        """The model's name, such as "gpt-4.1-mini" or "rule-based, no AI"."""
        ...

    async def ask(self, task: Task, messages: Sequence[Message], schema: type[T]) -> ModelResponse[T]:
        """Ask once for an answer that fits `schema`. Raises NotSent, NoModelResponse or Rejected where there is none."""
        ...
