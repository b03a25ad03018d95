"""A selection of cases for an operation on all of them: found again each time, and known by a digest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.operations.parked import alike
from pointsman.runtime.engine import Engine
from pointsman.store.query import PAGE_MAX, Order
from pointsman.web.case_filters import CaseFilters

SELECTED_MAX = 500  # cases for one operation: done in seconds, and still few enough to look through
LOOKED_MAX = 5_000  # parked cases to look through for those of a reason
FITS: Mapping[str, frozenset[Status]] = {
    "redrive": frozenset({Status.PARKED}),
    "cancel": frozenset({Status.READY, Status.WAITING, Status.PARKED, Status.BLOCKED}),
}
"""The operations, and the statuses of the cases for which they are. A running case moves too often to be selected."""


@dataclass(frozen=True)
class Selection:
    """Which cases to operate on: those of the filters, parked at `step` for a reason like `reason` if these are given."""

    operation: str
    filters: CaseFilters
    step: str = ""
    reason: str = ""

    async def cases(self, engine: Engine) -> list[CaseRow]:
        """Return the cases, the lowest number first; one more than SELECTED_MAX if there are more."""
        asked = self.filters.asked(engine.clock.now())
        statuses = FITS[self.operation] & set(asked.statuses or Status)
        if not statuses:
            return []
        asked = replace(asked, status=tuple(sorted(statuses)), order=Order.NUMBER)
        found: list[CaseRow] = []
        after: str | None = ""
        looked = 0
        while after is not None and len(found) <= SELECTED_MAX and looked < LOOKED_MAX:
            page = await engine.reader.find(asked, after=after, limit=PAGE_MAX if self.step or self.reason else SELECTED_MAX + 1)
            looked += len(page.rows)
            found += [one.case for one in page.rows if self._fits(one.case)]
            after = page.cursor
        return found[: SELECTED_MAX + 1]

    def _fits(self, row: CaseRow) -> bool:
        step = row.step or ""
        return self.step in {"", step} and self.reason in {"", alike(row.reason or "", step)}


def digest_of(selection: Selection, rows: list[CaseRow], fields: Mapping[str, Any]) -> str:
    """Return the digest of an operation on these cases as they stand now."""
    stands = [(row.id, row.revision) for row in rows[:SELECTED_MAX]]
    return hashlib.sha256(json.dumps([selection.operation, stands, fields], sort_keys=True).encode()).hexdigest()
