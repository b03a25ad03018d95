"""Rules: the first rule whose condition holds names the next step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from pointsman.definition.children import Child
from pointsman.definition.effects import AnyEffect
from pointsman.definition.names import check_text
from pointsman.definition.nodes import AnyNode
from pointsman.definition.pauses import Pause, Sleep

S = TypeVar("S")


# As many as there are threads for plain functions (runtime/engine.py): more branches would only wait for a thread. To bound the
# branches of all cases, use a limit.
BRANCH_CONCURRENCY = 16


TASKS = "tasks"
"""The name of the step that runs the calls of a body."""


@dataclass(frozen=True, slots=True)
class Quorum:
    """End a parallel step as soon as `needed` branches have succeeded."""

    needed: int


Failures = Literal["fail", "record"] | Quorum | None
"""What happens when a branch fails for good: see `parallel`."""


@dataclass(eq=False)  # not frozen: the body of an entrypoint makes one for each call, and a frozen one takes three times as long to make
class Parallel:
    """A parallel step: several branches at once, whose fields are written together when the step ends."""

    nodes: tuple[AnyNode, ...]
    failures: Failures = None
    concurrency: int = BRANCH_CONCURRENCY

    @cached_property
    def name(self) -> str:
        """The branches' names, joined."""
        return self._joined

    def records(self, node: AnyNode) -> bool:
        """Whether a branch of this node that fails for good writes a `Failure` to its field and lets the others go on."""
        return node.on_failure == "record" if self.failures is None else self.failures != "fail"

    @property
    def _joined(self) -> str:
        return " + ".join(node.name if hasattr(node, "name") else repr(node) for node in self.nodes)


@dataclass(eq=False)
class Each(Parallel):
    """A parallel step that runs one node for each item of a collection."""

    over: str = ""

    @cached_property
    def name(self) -> str:
        """The node's name, and the field that it goes over."""
        return f"{self._joined} over {self.over}"


class TaskCall(NamedTuple):
    """One call that a body has asked for: the name of its branch, the task's node, the digest of its arguments, and the arguments."""

    name: str
    node: AnyNode
    digest: str
    arguments: Any


class TaskWait(NamedTuple):
    """A body waits for the call `name` for at most so many seconds, `since` it has begun to (Unix seconds; None if that is not recorded)."""

    name: str
    seconds: float
    since: float | None = None


@dataclass(eq=False)
class Tasks(Parallel):
    """The calls that a body has asked for. Each end is recorded at once in the log `record`, and the body may then ask for more calls.

    An item of the log is a list, because one commit takes all calls that have ended by then. Each entry of it has the `call`, and its `value` or
    its `failure`, or the time `since` which the body waits for it.
    """

    calls: tuple[TaskCall, ...] = ()
    record: str = ""
    waits: TaskWait | None = None

    name = TASKS  # always the same, so that the calls go on when the body asks for more


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
    """Park the case with this reason, for an operator."""

    reason: str

    @property
    def name(self) -> str:
        """As the author wrote it."""
        return "park"


@dataclass(frozen=True, slots=True)
class Compensate:
    """Reverse the case's effects, the last one first, then end the case with this outcome."""

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
    """A named condition on the state and the step that follows; `condition` is None in the last rule."""

    name: str
    condition: Callable[[S], object] | None
    step: Step


def when(name: str, condition: Callable[[S], object], step: Step) -> Rule[S]:
    """If `condition` holds, `step` comes next. The condition is a pure function of the state: no clock, no I/O, no model."""
    return Rule(_text("when", name), condition, step)


def otherwise(step: Step) -> Rule[Any]:
    """The last rule: `step` comes next when no other rule's condition holds."""
    return Rule("otherwise", None, step)


def parallel(*nodes: AnyNode, failures: Failures = None) -> Parallel:
    """Run `nodes` at the same time, each with its own retries and timeout; write all their fields together at the end.

    `failures` says what happens when a branch fails for good. None applies the node's own `on_failure` once all branches have
    ended. "fail" cancels the other branches at once and parks the case. "record" writes a `Failure` to the branch's field.
    `quorum(n)` ends the step as soon as n branches have succeeded: the others are cancelled, and their fields take a `Failure`; when n
    can no longer be reached, the case is parked.
    """
    return Parallel(nodes, failures)


def each(node: AnyNode, *, over: str, failures: Failures = None, concurrency: int = BRANCH_CONCURRENCY) -> Each:
    """Run `node` once for each item of the list, tuple or dict in field `over`, at most `concurrency` of them at a time.

    The node takes the item as its parameter of type `Item[...]`. Its field takes the results: a list in the order of the
    items, or a dict with their keys. `failures` is as with `parallel`; a `Failure` takes the place of its item's result.
    """
    return Each((node,), failures, concurrency, over)


def quorum(needed: int) -> Quorum:
    """For `failures=` of `parallel` and `each`: end the step as soon as `needed` branches have succeeded."""
    return Quorum(needed)


def finish(outcome: str) -> Finish:
    """End the case with `outcome`."""
    return Finish(_text("finish", outcome))


def compensate(outcome: str) -> Compensate:
    """Call the compensation (`undo=`) of each effect that happened, the last one first, then end the case with `outcome`."""
    return Compensate(_text("compensate", outcome))


def park(reason: str = "nobody answered in time") -> Park:
    """Park the case with `reason`, for an operator: in a rule, or at the end of a pause's ladder."""
    return Park(_text("park", reason))


def _text(what: str, text: object) -> str:
    check_text(f"{what}(...)", text)
    return str(text)
