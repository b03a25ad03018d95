"""Why cases are parked: reasons that differ only in what is particular to a case are one."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from pointsman.kernel.rows import CaseRow

_PARTICULAR = re.compile(r"\b[0-9a-f]{40}\b|\d+|'[^']*'|\"[^\"]*\"")


class Reason(NamedTuple):
    """Why cases of a process are parked at a step: the reason without what is particular to a case, and how many cases have it."""

    process: str
    step: str
    reason: str
    cases: int


def alike(reason: str, step: str) -> str:
    """Return a reason without what is particular to one case: keys, numbers, and quoted texts other than the name of the step."""
    return _PARTICULAR.sub(lambda found: found[0] if found[0][1:-1] == step else "…", reason)


def reasons_of(rows: Iterable[CaseRow]) -> list[Reason]:
    """Return why these cases are parked, the most frequent reason first."""
    counts = Counter((row.process, row.step or "", alike(row.reason or "", row.step or "")) for row in rows)
    return [Reason(*which, cases) for which, cases in counts.most_common()]
