"""Rules: read from the top, the first whose condition holds says what happens next."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pointsman.definition.effects import AnyEffect
from pointsman.definition.nodes import AnyNode
from pointsman.definition.pauses import Pause
from pointsman.errors import DefinitionError

S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class Parallel:
    """Several nodes at once; all their fields are written together when the last one has ended."""

    nodes: tuple[AnyNode, ...]

    @property
    def name(self) -> str:
        """The branches' names, joined."""
        return " + ".join(getattr(node, "name", repr(node)) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Finish:
    """The case is done, with this outcome."""

    outcome: str

    @property
    def name(self) -> str:
        """As the author wrote it."""
        return f"finish({self.outcome!r})"


@dataclass(frozen=True, slots=True)
class Park:
    """The case leaves the line and waits for an operator, with this reason."""

    reason: str

    @property
    def name(self) -> str:
        """As the author wrote it."""
        return "park"


Step = AnyNode | AnyEffect | Pause | Parallel | Finish | Park


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


def parallel(*nodes: AnyNode) -> Parallel:
    """Run `nodes` at the same time, each with its own retries and timeout; go on when all have ended."""
    return Parallel(nodes)


def finish(outcome: str) -> Finish:
    """End the case with `outcome`."""
    return Finish(_text("finish", outcome))


def park(reason: str) -> Park:
    """Take the case out of the line for an operator, who is told `reason`."""
    return Park(_text("park", reason))


def _text(what: str, text: object) -> str:
    if not isinstance(text, str):
        raise DefinitionError(f"{what}(...) takes a text, not {text!r}; write a str.")
    return str(text)
