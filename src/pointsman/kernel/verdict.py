"""When and how a parallel step ends: a pure function of its declaration and of the branches that have ended."""

from typing import NamedTuple

from pointsman.definition.rules import Parallel, Quorum


class Tally(NamedTuple):
    """The number of branches, of those that succeeded, and of those that failed for good, of which `fatal` park the case."""

    branches: int
    succeeded: int
    failed: int
    fatal: int

    @property
    def open(self) -> int:
        """The number of branches that have not ended."""
        return self.branches - self.succeeded - self.failed


class Verdict(NamedTuple):
    """The step has ended, for the reason `why`; its fields are written, or the case is `parked`."""

    why: str
    parked: bool


def verdict_of(step: Parallel, tally: Tally) -> Verdict | None:
    """The verdict, or None if it needs more branches. A later branch never changes it."""
    if isinstance(step.failures, Quorum):
        needed = step.failures.needed
        if tally.succeeded >= needed:
            return Verdict(f"{tally.succeeded} of {tally.branches} have succeeded, and {needed} were needed", parked=False)
        if tally.succeeded + tally.open < needed:
            return Verdict(f"{needed} of {tally.branches} were needed, and {tally.branches - tally.failed} can succeed", parked=True)
        return None
    if step.failures == "fail" and tally.failed:
        return Verdict("a branch has failed", parked=True)
    if tally.open:
        return None
    return Verdict("every branch has ended", parked=tally.fatal > 0)
