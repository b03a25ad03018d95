"""Guards: what a model returned is held against a schema and named checks before it touches the state."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from pointsman.definition.signature import Signature, collection_of, members, signature_of
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


TOKENS_MAX, COST_MAX = 10**15, 10**6  # far more than anybody uses; thousands of these can still be added in 64 bits


class Usage(BaseModel):
    """What an answer used: tokens, and what they cost, in the one currency that all prices of an engine are given in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_tokens: Annotated[int, Field(ge=0, le=TOKENS_MAX)] = 0
    output_tokens: Annotated[int, Field(ge=0, le=TOKENS_MAX)] = 0
    cost: Annotated[Decimal, Field(ge=0, le=COST_MAX, allow_inf_nan=False)] = Decimal(0)

    def __add__(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=self.cost + other.cost,
        )


@dataclass(frozen=True, slots=True)
class ModelResponse(Generic[T]):
    """One answer of a model, as a node returns it to the engine.

    `output` is what it says, None where it says nothing that fits, which the `violations` then name. `raw` is its text as
    it came, `model` the name of the model that gave it, `usage` what it used; all three are kept with the case's events.
    """

    output: T | None
    model: str
    raw: str = ""
    usage: Usage = Usage()  # noqa: RUF009 - a frozen value
    violations: tuple[Violation, ...] = ()

    def map(self, change: Callable[[T], U]) -> "ModelResponse[U]":
        """The same answer with another output, where it has one."""
        changed = None if self.output is None else change(self.output)
        return ModelResponse(changed, self.model, self.raw, self.usage, self.violations)


class Unsafe(BaseModel, Generic[T]):
    """An answer that its guard let through to a person only: what it says, if anything, and what is wrong with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: T | None = None
    violations: tuple[Violation, ...] = ()
    raw: str = ""


def unsafe_in(annotation: Any, *, entry: bool = False) -> type[Unsafe[Any]] | None:
    """The `Unsafe` that a field of this type may hold, or each `entry` of it; None where it may hold none."""
    collection = collection_of(annotation) if entry else None
    parts = members(annotation if collection is None else collection.element)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, Unsafe)), None)


@dataclass(frozen=True, slots=True, init=False)
class Guard:
    """What a node's answer must pass before it is written: the types of its fields, then each of the `checks`.

    An answer with violations is asked for again up to `repairs_max` times with `ctx.violations` and `ctx.rejected`, then
    afresh up to `retries_max` times, each with its repairs; then of the next of so many `models` (`ctx.model` counts from
    0). A model that only fails, by exceptions, is left for the next one, too. The last `free_models` of them cost nothing, and are
    who is asked when a budget is spent. When all that is used up, the case is parked, or, with `escalate="unsafe"`, the
    field takes an `Unsafe` for a person.

    Each answer is committed before the next one is asked for, so that a crash buys none twice. Raises DefinitionError.
    """

    checks: tuple[Check, ...]
    repairs_max: int
    retries_max: int
    models: int
    free_models: int
    escalate: Escalation
    signatures: Mapping[str, Signature] = field(compare=False)

    def __init__(
        self,
        *checks: Check,
        repairs_max: int = 2,
        retries_max: int = 0,
        models: int = 1,
        free_models: int = 0,
        escalate: Escalation = "park",
    ) -> None:
        numbers = (("repairs_max", repairs_max, 0), ("retries_max", retries_max, 0), ("models", models, 1), ("free_models", free_models, 0))
        for name, number, least in numbers:
            if number < least:
                raise DefinitionError(f"Guard: {name} is {number}; it must be {least} or more.")
        if free_models > models:
            raise DefinitionError(f"Guard: free_models is {free_models}, and there are {models} models; name at most so many.")
        signatures: dict[str, Signature] = {}
        for check in checks:
            name = check_name(check)
            if name in signatures:
                raise DefinitionError(f"Guard: two checks are called {name!r}; give one another name, as violations are told by it.")
            signatures[name] = signature_of(check, f"check {name!r}")
            if signatures[name].uses:
                raise DefinitionError(f"check {name!r}: it uses {', '.join(signatures[name].uses)}; a check reads fields only.")
        made = {"checks": checks, "escalate": escalate, "signatures": signatures, **{name: number for name, number, _ in numbers}}
        for slot, value in made.items():
            object.__setattr__(self, slot, value)

    @property
    def depends(self) -> frozenset[str]:
        """The fields that the checks read, without those that they only peek at."""
        return frozenset[str]().union(*(signature.reads.keys() - signature.peeks for signature in self.signatures.values()))


def check_name(check: Check) -> str:
    """What a check's violations are told by."""
    name = getattr(check, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise DefinitionError(f"{check!r} has no name; write the check as a function, whose name its violations are told by.")
    return name


def answered(signature: Signature) -> tuple[Signature, bool]:
    """The signature of a node as if it returned what its `ModelResponse` holds, and whether it returns one."""
    parts = members(signature.returns)
    held = [(get_args(part) or (Any,))[0] if (get_origin(part) or part) is ModelResponse else part for part in parts]
    asks = any((get_origin(part) or part) is ModelResponse for part in parts)
    return (replace(signature, returns=Union[tuple(held)]), True) if asks else (signature, False)  # noqa: UP007 - of as many as there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the guarded nodes of a process may spend: per case, per tenant and day, and per day (of UTC); None sets no bound.

    Costs are in the currency of the models' prices. A node is refused before its call when what is recorded has reached a
    bound; calls that are under way at that moment are still paid, so a bound is passed by at most those.
    Raises DefinitionError.
    """

    case_cost: Decimal | None = None
    case_tokens: int | None = None
    tenant_day_cost: Decimal | None = None
    tenant_day_tokens: int | None = None
    day_cost: Decimal | None = None
    day_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            bound = getattr(self, name)
            wanted = Decimal if name.endswith("cost") else int
            if bound is not None and (not isinstance(bound, wanted) or not bound > 0):
                raise DefinitionError(f"Budget: {name} is {bound!r}; it must be {'a Decimal' if wanted is Decimal else 'an int'} above 0.")
