"""Claim due cases, together with other engines on the same database."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection

from pointsman.errors import LeaseLost
from pointsman.kernel.line import Due, take_turns
from pointsman.kernel.rows import CaseRow
from pointsman.store.base import Claimed
from pointsman.store.postgres.connections import LOST, rows_of
from pointsman.store.postgres.reader import PostgresReader
from pointsman.store.stored_rows import case_row

FEW = 256  # due cases of one process and need to read; with more, the lanes are walked
LANES_MAX = 4_096  # due cases to read from all lanes together
ROUNDS_MAX = 3  # attempts to claim instead of cases that other engines have claimed meanwhile
BEFORE_ANY = -(1 << 31)  # below any rank


class Claims:
    """The claims of one engine, with the tenant whose turn was last in each priority."""

    def __init__(self, reader: PostgresReader, engine: int) -> None:
        self._reader = reader
        self._sql = reader.connections.sql
        self._engine = engine
        self._turns: dict[int, str] = {}
        self.accepts: list[str] | None = None  # versions to claim, as "process version"; None is all

    async def claim(
        self, connection: AsyncConnection[Any], processes: Sequence[str], now: float, limit: int, room: Mapping[str, int], known: Mapping[int, int],
        skew: float,
    ) -> list[Claimed]:  # fmt: skip
        """Claim due cases (S5, S18) and those of engines whose lease has expired (S19), inside the caller's transaction."""
        if not await rows_of(connection, self._sql["has_lease"], {"engine": self._engine, "skew": skew}):
            raise LeaseLost(LOST)
        await rows_of(connection, self._sql["take_over"], {"skew": skew, "now": now})
        rows: dict[int, CaseRow] = {}
        order: list[int] = []
        left, tried = dict(room), list[int]()
        for _ in range(ROUNDS_MAX):
            chosen = await self._choose(connection, processes, now, limit - len(order), left, tried)
            if not chosen:
                break
            tried += chosen
            claimed = await rows_of(connection, self._sql["claim_cases"], {"cases": chosen, "now": now, "engine": self._engine})
            rows |= {row[0]: case_row(row) for row in claimed}
            order += [case for case in chosen if case in rows]
            for case in chosen:
                if case in rows and (needs := rows[case].needs) in left and needs is not None:
                    left[needs] -= 1
            if len(claimed) == len(chosen):
                break
        return await self._with_fields(connection, [rows[case] for case in order], known)

    async def next_wake(self, connection: AsyncConnection[Any], processes: Sequence[str], closed: Collection[str]) -> float | None:
        """When the next case can be claimed, or taken from an engine whose lease expires."""
        due = await rows_of(
            connection, self._sql["next_wake"], {"processes": list(processes), "closed": list(closed), "accepts": self.accepts}
        )
        lease = await rows_of(connection, self._sql["next_lease_end"], {"engine": self._engine})
        return min((at for at in (due[0][0], lease[0][0]) if at is not None), default=None)

    async def _choose(
        self, connection: AsyncConnection[Any], processes: Sequence[str], now: float, limit: int, room: Mapping[str, int],
        tried: Sequence[int],
    ) -> list[int]:  # fmt: skip
        """Choose due cases by turns, except the ones that were tried: another engine is claiming them, and they look due until it commits."""
        if limit <= 0:
            return []
        closed = [need for need, left in room.items() if left <= 0]
        asked: dict[str, Any] = {"processes": list(processes), "now": now, "closed": closed, "accepts": self.accepts, "tried": tried}
        due = [Due._make(row) for row in await rows_of(connection, self._sql["select_due"], {**asked, "few": FEW})]
        if len(due) >= FEW:
            lanes = {**asked, "rank": BEFORE_ANY, "tenant": "", "limit": limit, "most": LANES_MAX}
            due = [Due._make(row) for row in await rows_of(connection, self._sql["select_lanes"], lanes)]
        return take_turns(due, limit, room, self._turns)

    async def _with_fields(self, connection: AsyncConnection[Any], cases: Sequence[CaseRow], known: Mapping[int, int]) -> list[Claimed]:
        if not cases:
            return []
        unread = [case.id for case in cases if known.get(case.id) != case.revision]
        fields = await self._reader.fields_of_claimed(connection, unread) if unread else {}
        branches = await self._reader.branches_of(connection, [case.id for case in cases])
        return [
            Claimed(case, None if known.get(case.id) == case.revision else fields.get(case.id, ()), branches.get(case.id, ()))
            for case in cases
        ]
