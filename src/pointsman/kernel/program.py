"""Programs decide the next step of a case. A process with rules is one; another front end may replay recorded outcomes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from pointsman.definition.process import AnyProcess
from pointsman.kernel.decide import Decision, decide
from pointsman.kernel.snapshot import Cell


class Program(Protocol):
    """Decides the next step of a case."""

    @property
    def process(self) -> AnyProcess:
        """The declared state, steps and messages."""

    def next(self, case: int, cells: Mapping[str, Cell]) -> Decision:
        """The step that a case with these fields takes, and why.

        The number of the case helps to find what is in memory about it; the decision does not depend on it.
        """

    def redriven(self, case: int, cells: Mapping[str, Cell]) -> Mapping[str, Cell]:
        """The fields to write when an operator redrives a parked case, so that the step that failed is taken again."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The program of a process with rules: the first rule whose condition holds names the next step."""

    process: AnyProcess

    def next(self, case: int, cells: Mapping[str, Cell]) -> Decision:  # noqa: ARG002 - the rules need nothing but the fields
        """Read the rules from the top."""
        return decide(self.process, cells)

    def redriven(self, case: int, cells: Mapping[str, Cell]) -> Mapping[str, Cell]:  # noqa: ARG002 - the failed step has written nothing
        """Nothing."""
        return {}


_OTHER_FRONTS: dict[type[AnyProcess], Callable[[Any], Program]] = {}


def add_front(kind: type[AnyProcess], program: Callable[[Any], Program]) -> None:
    """Let `program` make the program of each process of this kind."""
    _OTHER_FRONTS[kind] = program


@lru_cache(maxsize=1_024)  # as many processes and versions as a program will have
def program_of(process: AnyProcess) -> Program:
    """The program of a process."""
    return _OTHER_FRONTS.get(type(process), Rules)(process)
