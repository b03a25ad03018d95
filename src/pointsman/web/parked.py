"""The cases that were parked last."""

from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.runtime.engine import Engine
from pointsman.store.query import CaseQuery, Order


async def parked_rows(engine: Engine, most: int) -> list[CaseRow]:
    """Return the cases that were parked last, at most so many."""
    found = await engine.reader.find(CaseQuery(status=Status.PARKED, order=Order.CHANGED), limit=most)
    return [one.case for one in found.rows]
