"""Guards: check a model's output against a schema and named checks before it is written to the state."""

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
"""A named check. Its parameters name fields, at least one of which the node writes. Each text that it returns is a violation."""

Escalation = Literal["park", "unsafe"]


class Violation(BaseModel):
    """What a check has against a response: the check's name, and a message that a person or a model can act on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    message: str


TOKENS_MAX, COST_MAX = 10**15, 10**6  # far above any real usage; thousands of these still add up within 64 bits


class Usage(BaseModel):
    """The tokens that a response used, and their cost in the currency of the engine's prices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_tokens: Annotated[int, Field(ge=0, le=TOKENS_MAX)] = 0
    output_tokens: Annotated[int, Field(ge=0, le=TOKENS_MAX)] = 0
    cost: Annotated[Decimal, Field(ge=0, le=COST_MAX, allow_inf_nan=False)] = Decimal(0)

    def __add__(self, other: "Usage") -> "Usage":
        """Add two usages."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=self.cost + other.cost,
        )


@dataclass(frozen=True, slots=True)
class ModelResponse(Generic[T]):
    """One response of a model, as a node returns it to the engine.

    `output` is the parsed output, or None if the response does not fit the schema; `violations` then say why. `raw` is the response's
    text, `model` the name of the model, and `usage` the tokens and cost; the case's events record all three.
    """

    output: T | None
    model: str
    raw: str = ""
    usage: Usage = Usage()  # noqa: RUF009 - a frozen value
    violations: tuple[Violation, ...] = ()

    def map(self, change: Callable[[T], U]) -> "ModelResponse[U]":
        """Return the response with `change` applied to its output, if it has one."""
        changed = None if self.output is None else change(self.output)
        return ModelResponse(changed, self.model, self.raw, self.usage, self.violations)


class Unsafe(BaseModel, Generic[T]):
    """A response that failed its guard and is passed on for a person: its output, if any, and its violations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: T | None = None
    violations: tuple[Violation, ...] = ()
    raw: str = ""


def unsafe_in(annotation: Any, *, entry: bool = False) -> type[Unsafe[Any]] | None:
    """The `Unsafe` member of a field's type, or of its entries' type if `entry`; None if there is none."""
    collection = collection_of(annotation) if entry else None
    parts = members(annotation if collection is None else collection.element)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, Unsafe)), None)


@dataclass(frozen=True, slots=True, init=False)
class Guard:
    """Check a node's result before it is written: first the types of its fields, then each of the `checks`.

    All checks of a result get the same copies of the fields, so a check must not change what it reads.

    If a response has violations, the engine asks the same model again up to `repairs_max` times, with `ctx.violations` and
    `ctx.rejected`. Then it starts over up to `retries_max` times, each with its repairs. Then it goes on to the next of the `models`
    (`ctx.model` counts from 0), as it does when all attempts of a model fail with exceptions. The last `free_models` cost nothing;
    the engine uses them when a budget is spent. When every model has failed, the case is parked, or, with `escalate="unsafe"`,
    the field takes an `Unsafe` for a person.

    Each response is committed before the next request, so that a crash never pays for one twice. Raises DefinitionError.
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
                raise DefinitionError(f"Guard: two checks are called {name!r}; rename one, because violations carry the name.")
            signatures[name] = signature_of(check, f"check {name!r}")
            if signatures[name].uses:
                raise DefinitionError(f"check {name!r}: it uses {', '.join(signatures[name].uses)}; a check reads fields only.")
        made = {"checks": checks, "escalate": escalate, "signatures": signatures, **{name: number for name, number, _ in numbers}}
        for slot, value in made.items():
            object.__setattr__(self, slot, value)

    @property
    def depends(self) -> frozenset[str]:
        """The fields that the checks read, except those that they only peek at."""
        return frozenset[str]().union(*(signature.reads.keys() - signature.peeks for signature in self.signatures.values()))


def check_name(check: Check) -> str:
    """The name of a check, which its violations carry. Raises DefinitionError if it has none."""
    name = getattr(check, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise DefinitionError(f"{check!r} has no name; write the check as a function, because its violations carry the name.")
    return name


def answered(signature: Signature) -> tuple[Signature, bool]:
    """Unwrap `ModelResponse` in the return type of a node's signature. Return the signature, and whether there was one."""
    parts = members(signature.returns)
    held = [(get_args(part) or (Any,))[0] if (get_origin(part) or part) is ModelResponse else part for part in parts]
    asks = any((get_origin(part) or part) is ModelResponse for part in parts)
    return (replace(signature, returns=Union[tuple(held)]), True) if asks else (signature, False)  # noqa: UP007 - of as many as there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bound the usage of a process's guarded nodes: per case, per tenant and UTC day, and per UTC day; None sets no bound.

    Costs are in the currency of the models' prices. The engine makes no call once the recorded usage has reached a bound. Calls
    already under way are still paid, so usage exceeds a bound by at most those calls. Raises DefinitionError.
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
