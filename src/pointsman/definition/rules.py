"""Rules decide the next step of a case: the first rule whose condition holds wins."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pointsman.definition.children import Child
from pointsman.definition.effects import AnyEffect
from pointsman.definition.nodes import AnyNode
from pointsman.definition.pauses import Pause, Sleep
from pointsman.errors import DefinitionError

S = TypeVar("S")


# As many branches as the engine has threads for plain functions (runtime/engine.py): more would wait for a thread. A `Limit`
# bounds the branches of all cases together.
BRANCH_CONCURRENCY = 16


@dataclass(frozen=True, slots=True)
class Quorum:
    """A parallel step ends as soon as `needed` branches have succeeded."""

    needed: int


Failures = Literal["fail", "record"] | Quorum | None
"""What the step does with a failed branch: see `parallel`."""


@dataclass(frozen=True, eq=False)
class Parallel:
    """A step that runs several nodes at the same time, and writes all their fields when it ends."""

    nodes: tuple[AnyNode, ...]
    failures: Failures = None
    concurrency: int = BRANCH_CONCURRENCY

    @property
    def name(self) -> str:
        """The names of the nodes, joined."""
        return " + ".join(getattr(node, "name", repr(node)) for node in self.nodes)

    def records(self, node: AnyNode) -> bool:
        """Whether a failed branch of this node leaves a `Failure` in its field."""
        return node.on_failure == "record" if self.failures is None else self.failures != "fail"


@dataclass(frozen=True, eq=False)
class Each(Parallel):
    """A step that runs one node for each item of a collection."""

    over: str = ""

    @property
    def name(self) -> str:
        """The name of the node, and the field with the items."""
        return f"{super().name} over {self.over}"


@dataclass(frozen=True, slots=True)
class Finish:
    """End the case with this outcome."""

    outcome: str

    @property
    def name(self) -> str:
        """As the author wrote it."""
        return f"finish({self.outcome!r})"


@dataclass(frozen=True, slots=True)
class Park:
    """Park the case for an operator, with this reason."""

    reason: str

    @property
    def name(self) -> str:
        """As the author wrote it."""
        return "park"


@dataclass(frozen=True, slots=True)
class Compensate:
    """Reverse the effects of the case, the last one first; then end the case with this outcome."""

    outcome: str

    @property
    def name(self) -> str:
        """As the author wrote it."""
        return f"compensate({self.outcome!r})"


AnyStep = AnyNode | Pause | Sleep | Child
"""A step that a process declares."""

Step = AnyNode | AnyEffect | Pause | Sleep | Child | Parallel | Finish | Compensate | Park


@dataclass(frozen=True, eq=False)
class Rule(Generic[S]):
    """A named condition on the state, and the step to take when it holds. `condition` is None in the last rule."""

    name: str
    condition: Callable[[S], object] | None
    step: Step


def when(name: str, condition: Callable[[S], object], step: Step) -> Rule[S]:
    """Take `step` if `condition` holds. The condition is a pure function of the state: no clock, no I/O, no model."""
    return Rule(_text("when", name), condition, step)


def otherwise(step: Step) -> Rule[Any]:
    """The last rule: take `step` if no other condition holds."""
    return Rule("otherwise", None, step)


def parallel(*nodes: AnyNode, failures: Failures = None) -> Parallel:
    """Run `nodes` at the same time, each with its own retries and timeout, and write all their fields when the step ends.

    `failures` says what to do with a branch that has used up its attempts. None follows the `on_failure` of its node after
    all branches have ended. "fail" cancels the other branches and parks the case. "record" leaves a `Failure` in the field of
    the branch. `quorum(n)` ends the step when n branches have succeeded, cancels the others and leaves a `Failure` in
    their fields; if n branches can no longer succeed, it parks the case.
    """
    return Parallel(nodes, failures)


def each(node: AnyNode, *, over: str, failures: Failures = None, concurrency: int = BRANCH_CONCURRENCY) -> Each:
    """Run `node` once for each item of the list, tuple or dict in the field `over`, at most `concurrency` at the same time.

    The node takes the item as its parameter of type `Item[...]`. Its field takes the results: a list in the order of the
    items, or a dict with the same keys. `failures` works as in `parallel`; a `Failure` replaces the result of its item.
    """
    return Each((node,), failures, concurrency, over)


def quorum(needed: int) -> Quorum:
    """For `failures=` of `parallel` and `each`: the step ends when `needed` branches have succeeded."""
    return Quorum(needed)


def finish(outcome: str) -> Finish:
    """End the case with `outcome`."""
    return Finish(_text("finish", outcome))


def compensate(outcome: str) -> Compensate:
    """Call the `undo=` of each effect that the ledger records as done, the last one first, and end the case with `outcome`."""
    return Compensate(_text("compensate", outcome))


def park(reason: str = "nobody answered in time") -> Park:
    """Park the case with `reason`. Use it in a rule, or at the end of a ladder."""
    return Park(_text("park", reason))


def _text(what: str, text: object) -> str:
    if not isinstance(text, str):
        raise DefinitionError(f"{what}(...) takes a str, not {text!r}; write a text.")
    return str(text)
