"""Guards: what a model returned is held against a schema and named checks before it touches the state."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from pointsman.definition.signature import Signature, signature_of
from pointsman.errors import DefinitionError

T = TypeVar("T")
U = TypeVar("U")

Check = Callable[..., "str | Iterable[str] | None"]
"""A named check: its parameters name fields, at least one of them one that the node writes; what it says is a violation each."""

Escalation = Literal["park", "unsafe"]


class Violation(BaseModel):
    """What a check has against an answer: the check's name, and what it says in words that a person, or a model, can act on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    message: str


class Usage(BaseModel):
    """What an answer used: tokens, and what they cost, in the one currency that all prices of an engine are given in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_tokens: Annotated[int, Field(ge=0)] = 0
    output_tokens: Annotated[int, Field(ge=0)] = 0
    cost: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] = Decimal(0)

    def __add__(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=self.cost + other.cost,
        )


@dataclass(frozen=True, slots=True)
class Attempt(Generic[T]):
    """One answer of a model, as a node returns it to the engine.

    `output` is what it says, None where it says nothing that fits, which the `violations` then name. `raw` is its text as
    it came, `model` the name of the model that gave it, `usage` what it used; all three are kept with the case's events.
    """

    output: T | None
    model: str
    raw: str = ""
    usage: Usage = Usage()  # noqa: RUF009 - a frozen value
    violations: tuple[Violation, ...] = ()

    def map(self, change: Callable[[T], U]) -> "Attempt[U]":
        """The same answer with another output, where it has one."""
        changed = None if self.output is None else change(self.output)
        return Attempt(changed, self.model, self.raw, self.usage, self.violations)


class Unsafe(BaseModel, Generic[T]):
    """An answer that its guard let through to a person only: what it says, if anything, and what is wrong with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: T | None = None
    violations: tuple[Violation, ...] = ()
    raw: str = ""


@dataclass(frozen=True, slots=True, init=False)
class Guard:
    """What a node's answer must pass before it is written: the types of its fields, then each of the `checks`.

    An answer with violations is asked for again up to `repairs_max` times with `ctx.violations` and `ctx.rejected`, then
    afresh up to `retries_max` times, each with its repairs; then of the next of so many `models` (`ctx.model` counts from
    0). A model that only fails, by exceptions, is left for the next one, too. When all that is used up, the case is
    parked, or, with `escalate="unsafe"`, the field takes an `Unsafe` for a person.

    Each answer is committed before the next one is asked for, so that a crash buys none twice. Raises DefinitionError.
    """

    checks: tuple[Check, ...]
    repairs_max: int
    retries_max: int
    models: int
    escalate: Escalation
    signatures: Mapping[str, Signature] = field(compare=False)

    def __init__(self, *checks: Check, repairs_max: int = 2, retries_max: int = 0, models: int = 1, escalate: Escalation = "park") -> None:
        for name, number, least in (("repairs_max", repairs_max, 0), ("retries_max", retries_max, 0), ("models", models, 1)):
            if number < least:
                raise DefinitionError(f"Guard: {name} is {number}; it must be {least} or more.")
        signatures: dict[str, Signature] = {}
        for check in checks:
            name = check_name(check)
            if name in signatures:
                raise DefinitionError(f"Guard: two checks are called {name!r}; give one another name, as violations are told by it.")
            signatures[name] = signature_of(check, f"check {name!r}")
            if signatures[name].uses:
                raise DefinitionError(f"check {name!r}: it uses {', '.join(signatures[name].uses)}; a check reads fields only.")
        for slot, value in (("checks", checks), ("repairs_max", repairs_max), ("retries_max", retries_max), ("models", models),
                            ("escalate", escalate), ("signatures", signatures)):  # fmt: skip
            object.__setattr__(self, slot, value)

    @property
    def reads(self) -> dict[str, Any]:
        """The fields that the checks read, with their types."""
        return {name: annotation for signature in self.signatures.values() for name, annotation in signature.reads.items()}


def check_name(check: Check) -> str:
    """What a check's violations are told by."""
    name = getattr(check, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise DefinitionError(f"{check!r} has no name; write the check as a function, whose name its violations are told by.")
    return name
