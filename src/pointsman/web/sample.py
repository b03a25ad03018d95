"""The ways of the newest cases of a process. Those of a case are read again only after it has moved."""

import asyncio
from collections.abc import Mapping

from pointsman.operations.map import Way, ways_of
from pointsman.runtime.engine import Engine
from pointsman.store.query import CaseQuery, Order

SAMPLE_MAX = 500  # cases on a map: their events are read in a tenth of a second when the map is opened for the first time

NEWEST_ROWS = 50  # of the journal, to find the newest event: the last rows may be further fields of one step


class Sample:
    """The ways of the newest cases of each process; it belongs to one set of pages."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._known: dict[str, dict[int, tuple[int, Way]]] = {}
        self._cursor = ""
        self._ways: dict[str, Mapping[int, Way]] = {}
        self._looking = asyncio.Lock()

    async def ways(self, engine: Engine, process: str) -> Mapping[int, Way]:
        """Return the ways of the newest cases of a process by their numbers, the newest first. It is the same mapping while nothing happens."""
        async with self._looking:
            if engine is not self._engine:
                self._engine, self._known, self._ways = engine, {}, {}
            newest = await engine.reader.newest_events(limit=NEWEST_ROWS)
            cursor = newest[-1].cursor if newest else ""
            if cursor and cursor == self._cursor and process in self._ways:
                return self._ways[process]
            if cursor != self._cursor:
                self._cursor, self._ways = cursor, {}
            found = await engine.reader.find(CaseQuery(process=process, order=Order.NEWEST), limit=SAMPLE_MAX)
            revisions = {one.case.id: one.case.revision for one in found.rows}
            known = {case: seen for case, seen in self._known.get(process, {}).items() if revisions.get(case) == seen[0]}
            moved = [case for case in revisions if case not in known]
            if moved:
                fresh = ways_of(await engine.reader.events_of(moved))
                known |= {case: (revisions[case], way) for case, way in fresh.items()}
            if known:
                self._known[process] = known
            ways = self._ways[process] = {case: known[case][1] for case in revisions if case in known}
            return ways
