"""When a step of several branches ends, and how: a pure reading of what was declared and of the branches that have ended."""

from typing import NamedTuple

from pointsman.definition.rules import Parallel, Quorum


class Tally(NamedTuple):
    """How many branches there are, have succeeded, and have failed for good; `fatal` of these park the case by themselves."""

    branches: int
    succeeded: int
    failed: int
    fatal: int

    @property
    def open(self) -> int:
        """How many have not ended."""
        return self.branches - self.succeeded - self.failed


class Verdict(NamedTuple):
    """The step has ended, for this reason; its fields are written, or the case is `parked`."""

    why: str
    parked: bool


def verdict_of(step: Parallel, tally: Tally) -> Verdict | None:
    """The verdict, or None while it takes more branches. It stays what it is, whatever other branches do."""
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
