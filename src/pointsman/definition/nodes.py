"""Nodes: functions that compute fields, and how the engine runs them."""

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
    """How many attempts a step has, and how long the engine waits between them. The count is durable.

    The n-th wait is `first_seconds * factor ** (n - 1)`, at most `max_seconds`, less a random part of up to `jitter` of
    it (full jitter is 1.0; Brooker, "Exponential Backoff And Jitter", 2015). `on` names the exceptions to retry; any other exception
    fails the step at once.
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
    """The context of a call, for a function that has the parameter `ctx: Context` after its `*`.

    `case` is the case's number, `attempt` counts from 1, and `now` is the engine's time (Unix seconds) when the attempt
    began. `key` is an effect's idempotency key: the same for every attempt of the same effect, empty for a node.
    `incarnation` identifies the database, so that (incarnation, case) is unique across databases.

    For a repair of a guarded node, `violations` and `rejected` are the violations and the text of the rejected response; otherwise
    both are empty. `model` is the index of the guard's model to ask, from 0.
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
    _reader: Any = field(default=None, repr=False, compare=False)  # the read-only part of the store, for tasks of the library itself

    async def read(self, blob: Blob) -> bytes:
        """Read a blob that was stored with `Engine.store_blob`. Raises KeyError if it has been collected."""
        if self._read is None:
            raise KeyError(f"blob {blob.sha256[:12]} cannot be read, because this context belongs to no engine")
        return await self._read(blob)


@dataclass(frozen=True, eq=False)
class Node(Generic[P, R]):
    """A function that computes fields. Calling it calls the function, so a test needs no engine. `former_names`: earlier names, oldest first."""

    function: Callable[P, R]
    name: str
    writes: tuple[str, ...]
    signature: Signature
    retry: Retry
    timeout_seconds: float | None
    on_failure: OnFailure
    asynchronous: bool
    isolated: bool = field(default=False, kw_only=True)
    inline: bool = field(default=False, kw_only=True)
    former_names: tuple[str, ...] = field(default=(), kw_only=True)
    limit: Limit | None = field(default=None, kw_only=True)
    guard: Guard | None = field(default=None, kw_only=True)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    @cached_property
    def depends(self) -> frozenset[str]:
        """The fields that the result depends on: a write to one of them clears the result."""
        judged = frozenset() if self.guard is None else self.guard.depends
        return (frozenset(self.signature.reads) - self.signature.peeks) | judged.difference(self.writes)

    def split(self, result: object) -> Mapping[str, object]:
        """Assign the function's result to the fields that it writes: the whole result to one field, a tuple's items to several."""
        if len(self.writes) == 1:
            return {self.writes[0]: result}
        if not self.writes:
            return {}
        if not isinstance(result, tuple) or len(result) != len(self.writes):
            raise TypeError(f"{self.name} writes {', '.join(self.writes)} and must return a tuple of {len(self.writes)}")
        return dict(zip(self.writes, result, strict=True))


AnyNode = Node[Any, Any]
