"""Why a case stands where it stands: each rule, tried on its state."""

from collections.abc import Collection, Mapping

from pointsman.definition.process import AnyProcess
from pointsman.kernel.decide import Tried, try_rule
from pointsman.kernel.snapshot import Cell


def tried_rules(process: AnyProcess, cells: Mapping[str, Cell]) -> tuple[Tried, ...]:
    """Every rule with its result, also those behind the one that decides."""
    return tuple(try_rule(process.state, rule, cells) for rule in process.ordered_rules)


def possible_next(process: AnyProcess, cells: Mapping[str, Cell], unknown: Collection[str]) -> tuple[tuple[Tried, bool], ...]:
    """The rules that could decide once the fields in `unknown` have been written, each with whether it is certain.

    A rule that reads one of them may hold or not. A rule that reads none of them holds or fails as it does now, and the
    first that holds ends the list.
    """
    possible: list[tuple[Tried, bool]] = []
    for tried in tried_rules(process, cells):
        if not set(unknown).isdisjoint(tried.reads):
            possible.append((tried, False))
        elif tried.holds or tried.error:
            possible.append((tried, True))
            break
    return tuple(possible)
