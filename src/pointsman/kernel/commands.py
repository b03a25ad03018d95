"""Commands: what the runtime does after a commit. The result of a command is the next happening."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pointsman.definition.children import Child
from pointsman.definition.effects import AnyEffect
from pointsman.definition.nodes import AnyNode
from pointsman.definition.rules import Parallel, Step, Tasks
from pointsman.definition.transactions import AnyTransaction
from pointsman.kernel.guarding import Progress
from pointsman.kernel.record import record
from pointsman.kernel.rows import Intent
from pointsman.kernel.snapshot import Cell


@record
class CallNode:
    """Call a node; `progress` is how far its guard has come. Brings `NodeEnded`, or `PermitRefused`.

    `tasks` is the step whose only call this is, if a body has asked for it. Otherwise the node is a step by itself.
    """

    node: AnyNode
    attempt: int
    progress: Progress
    tasks: Tasks | None = None

    @property
    def step(self) -> str:
        """The name of the step that the case is at during the call."""
        return self.node.name if self.tasks is None else self.tasks.name


class RunBranches(NamedTuple):
    """Run the branches of a step. Brings `BranchesEnded` as they end, then `BranchesRested`."""

    step: Parallel


class RunTransaction(NamedTuple):
    """Run a transaction's function where its rows are written, and commit both together. Brings `TransactionEnded`."""

    node: AnyTransaction


class Acquire(NamedTuple):
    """Get the thread and the permit of an effect's call. Brings `Acquired`, or `PermitRefused`.

    The call is `absent` if a look-up found that the earlier one did not happen.
    """

    effect: AnyEffect
    cells: Mapping[str, Cell]
    undoes: str = ""
    absent: bool = False


class CallEffect(NamedTuple):
    """Call an effect under its committed intent, with these fields. Brings `EffectEnded`.

    `undoes` is the key of the call that this one reverses. The call is `doubtful` if an earlier one under its key may have
    happened.
    """

    effect: AnyEffect
    intent: Intent
    cells: Mapping[str, Cell]
    attempt: int
    undoes: str = ""
    doubtful: bool = False


class LookUpEffect(NamedTuple):
    """Look up whether the calls under this key happened; there were `attempts`. Brings `LookedUp`."""

    effect: AnyEffect
    key: str
    cells: Mapping[str, Cell]
    attempts: int
    undoes: str = ""


class StartChild(NamedTuple):
    """Start a case of another process, or find the one that was started with this key. Brings `ChildStarted`, or `ChildRefused`."""

    child: Child
    inputs: Mapping[str, Any]
    key: str


class LoadHistory(NamedTuple):
    """Read the past of the case. Brings `Continued` with a case that has its history."""


@record
class Continue:
    """Go on with this step. Brings `Continued`."""

    step: Step


class Rest(NamedTuple):
    """Stop running the case: it has ended, waits, or is ready for a claim."""


Command = CallNode | RunBranches | RunTransaction | Acquire | CallEffect | LookUpEffect | StartChild | LoadHistory | Continue | Rest
