"""Settles invariants without a search of all ways: proves them for any fields, or goes straight to where one is broken."""

from dataclasses import dataclass, field

from pointsman.operations.verify.aim import way_to
from pointsman.operations.verify.happens import Standing
from pointsman.operations.verify.proof import TooMany, broken_with, with_earlier
from pointsman.operations.verify.search import Search

ITEMS_MIN = 2  # of a log, however few messages come: an earlier one and the newest


@dataclass(slots=True)
class Settled:
    """Invariants that are kept whatever the fields are, and ways to those that are broken."""

    kept: list[str] = field(default_factory=list)
    broken: dict[str, Standing] = field(default_factory=dict)


def settle(search: Search, *, messages: int, first: bool) -> Settled:
    """Settle the invariants that can be, or those up to the `first` that is broken."""
    settled, items_max = Settled(), max(ITEMS_MIN, messages + 1)
    for name in search.twin.process.invariants:
        try:
            aims = list(broken_with(search.twin, name, items_max))
        except TooMany:
            continue
        if not aims:
            settled.kept.append(name)
        for aim in aims:
            way = way_to(search, name, with_earlier(search.twin, aim, items_max))
            if way is not None:
                settled.broken[name] = way
                break
        if first and settled.broken:
            break
    return settled
