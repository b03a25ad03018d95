"""Programs decide the next step of a case. A process with rules is one; another front end may replay recorded outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from pointsman.definition.process import AnyProcess
from pointsman.kernel.decide import Decision, decide
from pointsman.kernel.snapshot import Cell


class Program(Protocol):
    """Decides the next step of a case."""

    @property
    def process(self) -> AnyProcess:
        """The declared state, steps and messages."""

    def next(self, cells: Mapping[str, Cell]) -> Decision:
        """The step to take, and why."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The program of a process with rules: the first rule whose condition holds names the next step."""

    process: AnyProcess

    def next(self, cells: Mapping[str, Cell]) -> Decision:
        """Read the rules from the top."""
        return decide(self.process, cells)


@lru_cache(maxsize=1_024)  # as many processes and versions as a program will have
def program_of(process: AnyProcess) -> Program:
    """The program of a process."""
    return Rules(process)
