"""Nodes: plain functions that write fields, and how the engine runs them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from pointsman.definition.guards import Guard, Violation
from pointsman.definition.limits import Limit
from pointsman.definition.signature import Signature
from pointsman.definition.state import Blob
from pointsman.errors import DefinitionError

P = ParamSpec("P")
R = TypeVar("R")

OnFailure = Literal["park", "record"]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often the engine tries a failing step again, and how long it waits. A crash counts as an attempt.

    The n-th wait is `first_seconds * factor ** (n - 1)`, at most `max_seconds`, minus a random part of up to `jitter` of it
    (1.0 is full jitter; Brooker, "Exponential Backoff And Jitter", 2015). `on` lists the exceptions that lead to another
    attempt; any other exception fails the step at once. Raises DefinitionError.
    """

    attempts_max: int = 3
    first_seconds: float = 1.0
    factor: float = 2.0
    max_seconds: float = 60.0
    jitter: float = 0.5
    on: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise DefinitionError(f"Retry: attempts_max is {self.attempts_max}; a step needs at least 1.")
        for name, sound, mend in (
            ("first_seconds", self.first_seconds >= 0, "0 or more"),
            ("factor", self.factor >= 1, "at least 1"),
            ("max_seconds", self.max_seconds >= 0, "0 or more"),
            ("jitter", 0 <= self.jitter <= 1, "between 0 and 1"),
        ):
            if not sound:
                raise DefinitionError(f"Retry: {name} is {getattr(self, name)}; it must be {mend}.")

    def wait_seconds(self, attempts: int, chance: float) -> float:
        """Seconds to wait after the `attempts`-th failed attempt; `chance` is a random number in [0, 1)."""
        full = min(self.max_seconds, self.first_seconds * self.factor ** min(attempts - 1, 60))  # 60: 2**60 is beyond any max
        return full * (1 - self.jitter * chance)


@dataclass(frozen=True, slots=True)
class Context:
    """What the engine passes to a function that declares `ctx: Context` after its `*`.

    `case` is the number of the case. `attempt` counts from 1. `now` is the time of the engine's clock (Unix seconds) at
    the start of the attempt. `key` is the idempotency key of an effect, the same for each attempt; it is empty for a node.
    `incarnation` names the database, so that (incarnation, case) is unique across databases.

    For a repair of a guarded node, `violations` are those of the last response, and `rejected` is its text; otherwise both
    are empty. `model` says which of the guard's models to ask, from 0.
    """

    case: int
    step: str
    attempt: int
    now: float
    key: str = ""
    incarnation: str = ""
    violations: tuple[Violation, ...] = ()
    rejected: str = ""
    model: int = 0
    _read: Callable[[Blob], Awaitable[bytes]] | None = field(default=None, repr=False, compare=False)

    async def read(self, blob: Blob) -> bytes:
        """The content of a blob that was stored with `Engine.store_blob`. Raises KeyError if the blob was deleted."""
        if self._read is None:
            raise KeyError(f"this context belongs to no engine, so it cannot read blob {blob.sha256[:12]}")
        return await self._read(blob)


@dataclass(frozen=True, eq=False)
class Node(Generic[P, R]):
    """A declared function. Calling it calls the function, so a test needs no engine.

    `former_names` are its earlier names, the oldest first. `Process.node` describes the rest.
    """

    function: Callable[P, R]
    name: str
    writes: tuple[str, ...]
    signature: Signature
    retry: Retry
    timeout_seconds: float | None
    on_failure: OnFailure
    asynchronous: bool
    isolated: bool = field(default=False, kw_only=True)
    former_names: tuple[str, ...] = field(default=(), kw_only=True)
    limit: Limit | None = field(default=None, kw_only=True)
    guard: Guard | None = field(default=None, kw_only=True)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    @cached_property
    def depends(self) -> frozenset[str]:
        """The fields that this node's results depend on: rewriting one clears the results."""
        judged = frozenset() if self.guard is None else self.guard.depends
        return (frozenset(self.signature.reads) - self.signature.peeks) | judged.difference(self.writes)

    def split(self, result: object) -> Mapping[str, object]:
        """Assign the returned value to the fields: one field takes the value, several fields take the items of a tuple."""
        if len(self.writes) == 1:
            return {self.writes[0]: result}
        if not self.writes:
            return {}
        if not isinstance(result, tuple) or len(result) != len(self.writes):
            raise TypeError(f"{self.name} writes {', '.join(self.writes)} and must return a tuple of {len(self.writes)}")
        return dict(zip(self.writes, result, strict=True))


AnyNode = Node[Any, Any]
