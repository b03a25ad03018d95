"""Programs decide the next step of a case. A process with rules is one; another front end may replay recorded outcomes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol

from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.kernel.decide import Decision, decide
from pointsman.kernel.snapshot import Cell


class CallDescription(NamedTuple):
    """A call of a body. `name` is the task, with the digest of the arguments where the body calls that task several times.

    `call` is the full name. `how` is "returned", "failed", "answered", "slept", "open", or "left out" for a recorded call that the body no longer asks for.
    `value` is what the call returned, or the message of its failure; while it is open, its arguments.
    """

    name: str
    call: str
    kind: str
    how: str
    value: Any


@dataclass(frozen=True, slots=True)
class Description:
    """What a program says about a case: its decision, and, if a body decides, the calls of the body.

    `anew` names the tasks that run anew because their arguments changed, and `left` the recorded calls that the body has not asked for and has to ask for
    before it returns. `redrive` says what a redrive would do, and `fields` are the fields whose content `calls` show.
    """

    decision: Decision
    calls: tuple[CallDescription, ...] = ()
    anew: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    redrive: str = ""
    fields: frozenset[str] = frozenset()


class Program(Protocol):
    """Decides the next step of a case."""

    @property
    def process(self) -> AnyProcess:
        """The declared state, steps and messages."""

    @property
    def redrive_reads(self) -> bool:
        """Whether `redriven` reads the fields."""

    def next(self, case: int, cells: Mapping[str, Cell]) -> Decision:
        """The step that a case with these fields takes, and why.

        The number of the case helps to find what is in memory about it; the decision does not depend on it.
        """

    def pause(self, case: int, cells: Mapping[str, Cell], name: str) -> Pause | None:
        """The pause of this name at which a case with these fields waits; None if it waits for something else, or would ask something new."""

    def redriven(self, case: int, cells: Mapping[str, Cell]) -> Mapping[str, Cell]:
        """The fields to write when an operator redrives a parked case, so that the step that failed is taken again.

        There are no `cells` if they do not fit the code.
        """

    def taken_back(self, cells: Mapping[str, Cell], corrections: Mapping[str, object]) -> tuple[Mapping[str, Cell], Mapping[str, object]]:
        """What an operator's corrections take back of a record: the fields to write for that, and the corrections that are of fields.

        Raises Refused.
        """

    def describe(self, cells: Mapping[str, Cell]) -> Description:
        """Describe what a case with these fields would do next, and what it has done. Calls nothing, and keeps nothing in memory."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The program of a process with rules: the first rule whose condition holds names the next step."""

    process: AnyProcess
    redrive_reads: ClassVar[bool] = False

    def next(self, case: int, cells: Mapping[str, Cell]) -> Decision:  # noqa: ARG002 - the rules need nothing but the fields
        """Read the rules from the top."""
        return decide(self.process, cells)

    def pause(self, case: int, cells: Mapping[str, Cell], name: str) -> Pause | None:  # noqa: ARG002 - it is declared
        """The declared pause."""
        step = self.process.steps.get(self.process.called(name))
        return step if isinstance(step, Pause) else None

    def redriven(self, case: int, cells: Mapping[str, Cell]) -> Mapping[str, Cell]:  # noqa: ARG002 - the failed step has written nothing
        """Nothing."""
        return {}

    def taken_back(self, cells: Mapping[str, Cell], corrections: Mapping[str, object]) -> tuple[Mapping[str, Cell], Mapping[str, object]]:  # noqa: ARG002
        """Nothing: the fields are all there is."""
        return {}, corrections

    def describe(self, cells: Mapping[str, Cell]) -> Description:
        """The decision; the rules say the rest."""
        return Description(decide(self.process, cells))


_OTHER_FRONTS: dict[type[AnyProcess], Callable[[Any], Program]] = {}


def add_front(kind: type[AnyProcess], program: Callable[[Any], Program]) -> None:
    """Let `program` make the program of each process of this kind."""
    _OTHER_FRONTS[kind] = program


@lru_cache(maxsize=1_024)  # as many processes and versions as a program will have
def program_of(process: AnyProcess) -> Program:
    """The program of a process."""
    return _OTHER_FRONTS.get(type(process), Rules)(process)
