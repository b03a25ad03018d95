"""The stub: a full member of the family that keeps everything in memory, and forgets it at the end of the process."""

import uuid
from collections.abc import Sequence
from copy import copy

from pointsman.definition.state import Blob
from pointsman.errors import Conflict
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.snapshot import Status
from pointsman.store.base import (
    BranchRow,
    CaseRow,
    Claimed,
    EffectRow,
    EventRow,
    FieldRow,
    FieldWrite,
    PauseRow,
    Points,
    Transition,
    no_points,
)

_OPEN = {EffectStatus.INTENDED, EffectStatus.NOT_SENT, EffectStatus.IN_DOUBT}


class MemoryStore:
    """The store contract (S2 within the process only) on dictionaries. A second handle is the same object."""

    def __init__(self, *, points: Points = no_points) -> None:
        self.incarnation = uuid.uuid4().hex
        self.clock_high_water = 0.0
        self._points = points
        self._highest = 0
        self._cases: dict[int, CaseRow] = {}
        self._keys: dict[tuple[str, str], int] = {}
        self._fields: dict[int, list[tuple[int, FieldWrite]]] = {}
        self._events: list[EventRow] = []
        self._effects: dict[str, EffectRow] = {}
        self._pauses: dict[int, list[PauseRow]] = {}
        self._branches: dict[int, dict[str, BranchRow]] = {}
        self._blobs: dict[str, bytes] = {}

    # Writing. Nothing here awaits, so a transition is whole for every other task.

    def reserve(self) -> int:
        """A number for a new case."""
        self._highest += 1
        return self._highest

    async def commit(self, transition: Transition) -> int:
        """Commit a transition; every check comes before the first write."""
        t = transition
        self._points("store.commit")
        if t.new is not None and t.new.key is not None and (t.new.process, t.new.key) in self._keys:
            return self._keys[t.new.process, t.new.key]
        self._check(t)
        self._write_case(t)
        revision = t.revision + 1
        self._fields.setdefault(t.case, []).extend((revision, write) for write in t.fields)
        for kind, step, attempt, facts in t.events:
            self._events.append(EventRow(len(self._events) + 1, t.case, revision, kind, step, attempt, t.at, facts))
        self._write_effect(t)
        self._write_pause(t)
        for branch in t.branches:
            self._branches.setdefault(t.case, {})[branch.name] = BranchRow(*branch)
        if t.ends_branches:
            self._branches.pop(t.case, None)
        self._points("store.committed")
        return t.case

    async def claim(self, processes: Sequence[str], *, now: float, limit: int) -> list[Claimed]:
        """Claim due cases."""
        due = [
            row
            for row in self._cases.values()
            if row.status is Status.READY and row.wake_at is not None and row.wake_at <= now and row.process in processes
        ]
        claimed = []
        for row in sorted(due, key=lambda row: (row.wake_at, row.id))[:limit]:
            taken = row._replace(status=Status.RUNNING, fence=row.fence + 1, attempts=row.attempts + 1, wake_at=None)
            self._cases[row.id] = taken
            claimed.append(Claimed(taken, await self.fields(row.id), await self.branches(row.id)))
        return claimed

    async def next_wake(self, processes: Sequence[str]) -> float | None:
        """When the next ready case is due."""
        return min(
            (
                row.wake_at
                for row in self._cases.values()
                if row.status is Status.READY and row.wake_at is not None and row.process in processes
            ),
            default=None,
        )

    async def release(self, cases: Sequence[int], *, now: float) -> None:
        """Give running cases back unharmed."""
        for case in cases:
            row = self._cases[case]
            if row.status is Status.RUNNING:
                self._cases[case] = row._replace(status=Status.READY, wake_at=now, attempts=max(row.attempts - 1, 0))

    async def keep(self, content: bytes, *, now: float) -> Blob:  # noqa: ARG002 - the contract's parameter
        """Store a blob by its content."""
        blob = Blob.of(content)
        self._blobs[blob.sha256] = content
        return blob

    async def close(self) -> None:
        """Nothing to let go of."""

    def _check(self, t: Transition) -> None:
        if t.new is None:
            row = self._cases.get(t.case)
            if row is None or (row.revision, row.fence) != (t.revision, t.fence):
                raise Conflict(f"case {t.case} is no longer at revision {t.revision}")
        if t.intent is not None:
            entry = self._effects.get(t.intent.key)
            if entry is not None and not t.intent.again:
                raise Conflict(f"effect {t.intent.effect!r} is in the ledger already")
            if t.intent.again and (entry is None or entry.status not in _OPEN or entry.arguments != t.intent.arguments):
                raise Conflict(f"effect {t.intent.effect!r} is settled already, or its arguments have changed")

    def _write_case(self, t: Transition) -> None:
        process, version, key = t.new or self._cases[t.case][1:4]
        created_at = t.at if t.new else self._cases[t.case].created_at
        if t.new is not None and t.new.key is not None:
            self._keys[t.new.process, t.new.key] = t.case
        self._cases[t.case] = CaseRow(
            t.case, process, version, key, t.status, t.revision + 1, t.fence + t.claims, t.wake_at, t.attempts, t.steps, t.step, t.rule, t.reason, t.outcome,
            created_at, t.at,
        )  # fmt: skip

    def _write_effect(self, t: Transition) -> None:
        if t.settlement is not None and t.settlement.key in self._effects:
            key, status, outcome, error = t.settlement
            if self._effects[key].status is not EffectStatus.DONE or self._effects[key].outcome is None:
                self._effects[key] = self._effects[key]._replace(status=status, outcome=outcome, error=error)
        if t.intent is not None:
            key, effect, arguments, deadline, again = t.intent
            if again:
                entry = self._effects[key]
                self._effects[key] = entry._replace(
                    status=EffectStatus.INTENDED, attempts=entry.attempts + 1, deadline=deadline, error=None
                )
            else:
                self._effects[key] = EffectRow(key, t.case, effect, arguments, EffectStatus.INTENDED, 1, t.at, deadline, None, None)

    def _write_pause(self, t: Transition) -> None:
        pauses = self._pauses.setdefault(t.case, [])
        if t.leaves_pause and pauses and pauses[-1].closed is None:
            closed = "void" if t.answered_by is None else "answered"
            pauses[-1] = pauses[-1]._replace(closed=closed, closed_by=t.answered_by, closed_at=t.at)
        if t.pause is not None:
            pauses.append(PauseRow(t.case, t.revision + 1, *t.pause, t.at, None, None, None))

    # Looking.

    async def case(self, case: int) -> CaseRow | None:
        """One case, or None."""
        return self._cases.get(case)

    async def cases(self, *, process: str | None = None, status: Status | None = None, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases by number, from `after` on."""
        rows = (self._cases[number] for number in sorted(self._cases) if number > after)
        return [row for row in rows if process in {None, row.process} and status in {None, row.status}][:limit]

    async def case_by_key(self, process: str, key: str) -> CaseRow | None:
        """The case that a start with this key made, or None."""
        number = self._keys.get((process, key))
        return None if number is None else self._cases[number]

    async def counts(self) -> dict[Status, int]:
        """How many cases there are in each status."""
        found: dict[Status, int] = {}
        for row in self._cases.values():
            found[row.status] = found.get(row.status, 0) + 1
        return found

    async def fields(self, case: int, *, revision: int | None = None) -> tuple[FieldRow, ...]:
        """The last write of each field, as of `revision`; fields that are cleared are left out."""
        last: dict[str, FieldRow | None] = {}
        for written_at, (field, text, writer) in self._fields.get(case, ()):
            if revision is None or written_at <= revision:
                last[field] = None if text is None else FieldRow(field, text, writer, written_at)
        return tuple(row for _, row in sorted(last.items()) if row is not None)

    async def events(self, *, after: int = 0, case: int | None = None, limit: int = 1_000) -> list[EventRow]:
        """Events by number, from `after` on."""
        return [event for event in self._events[after:] if case in {None, event.case}][:limit]

    async def effect(self, key: str) -> EffectRow | None:
        """The ledger's entry for an idempotency key, or None."""
        return self._effects.get(key)

    async def effects(self, case: int) -> list[EffectRow]:
        """The ledger's entries of a case."""
        return sorted((row for row in self._effects.values() if row.case == case), key=lambda row: (row.intended_at, row.key))

    async def in_doubt(self) -> list[EffectRow]:
        """The ledger's entries whose call may or may not have happened, of cases that nobody has in hand."""
        unknown = {EffectStatus.INTENDED, EffectStatus.IN_DOUBT}
        rows = (row for row in self._effects.values() if row.status in unknown)
        return sorted(
            (row for row in rows if self._cases[row.case].status is not Status.RUNNING),
            key=lambda row: (row.intended_at, row.key),
        )

    async def pause(self, case: int) -> PauseRow | None:
        """The last pause of a case, open or closed, or None."""
        pauses = self._pauses.get(case)
        return pauses[-1] if pauses else None

    async def pause_by_token(self, token: str) -> PauseRow | None:
        """The pause that a token belongs to, or None."""
        return next((pause for pauses in self._pauses.values() for pause in pauses if pause.token == token), None)

    async def branches(self, case: int) -> tuple[BranchRow, ...]:
        """The branches of the case's parallel step."""
        return tuple(copy(row) for _, row in sorted(self._branches.get(case, {}).items()))

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None."""
        return self._blobs.get(blob.sha256)
