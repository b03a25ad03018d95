"""A cache of the fields of recently moved cases, so that the engine need not read them again when a message wakes one."""

from collections import OrderedDict
from collections.abc import Mapping

from pointsman.definition.process import AnyProcess
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Cell, Snapshot

BYTES_MAX = 32_000_000  # of stored text, together: a hundred long conversations; in memory it is a few times that
CASES_MAX = 1_000  # so that looking through them for a claim stays cheap


class Recent:
    """Caches the cells of cases as of their last commit; the least recently moved case is dropped first."""

    def __init__(self) -> None:
        self._snapshots: OrderedDict[int, tuple[AnyProcess, Snapshot, int]] = OrderedDict()
        self._bytes = 0

    def keep(self, process: AnyProcess, snapshot: Snapshot) -> None:
        """Store the cells of a case after a commit."""
        self.forget(snapshot.case)
        size = sum(cell.size for cell in snapshot.cells.values())
        self._snapshots[snapshot.case] = (process, snapshot, size)
        self._bytes += size
        while self._bytes > BYTES_MAX or len(self._snapshots) > CASES_MAX:
            self.forget(next(iter(self._snapshots)))

    def forget(self, case: int) -> None:
        """Drop a case, for example when it has ended and may be erased."""
        if case in self._snapshots:
            self._bytes -= self._snapshots.pop(case)[2]

    def revisions(self) -> Mapping[int, int]:
        """Return the cached cases, each with its revision."""
        return {case: snapshot.revision for case, (_, snapshot, _) in self._snapshots.items()}

    def cells(self, process: AnyProcess, row: CaseRow) -> Mapping[str, Cell] | None:
        """Return the cached cells of a case that nobody else has moved since, or None."""
        known = self._snapshots.get(row.id)
        if known is None or known[0] is not process or (known[1].revision, process.version) != (row.revision, row.version):
            return None
        return known[1].cells
