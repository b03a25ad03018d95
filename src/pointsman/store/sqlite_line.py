"""Choose the due cases that a SQLite store claims next: with one or two queries if few are due, else by walking the lanes.

A lane holds the due cases of one priority, tenant, process and need. The walk reads only the first case of each lane (a loose
index scan), so a tenant with a hundred thousand due cases costs no more than a tenant with one.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence

from pointsman.kernel.line import Due, take_turns

FEW = 256  # due cases to read directly; beyond them walking the lanes is cheaper
FIRST = -(1 << 62)  # before any rank
LAST = "\U0010ffff"  # after any name

_Lane = tuple[int, str, str, str]


class Line:
    """The queue of one store's due cases, with the tenant whose turn was last in each priority."""

    def __init__(self, sql: Mapping[str, str]) -> None:
        self._sql = sql
        self._turns: dict[int, str] = {}
        self.accepts: str | None = None  # versions to claim, each as "process version" on a line of its own; None is all

    def next(self, connection: sqlite3.Connection, processes: Sequence[str], now: float, limit: int, room: Mapping[str, int]) -> list[int]:
        """The numbers of the cases to claim, in order."""
        due: list[Due] = []
        crowded = False
        for process, need in self._needs(connection, processes):
            if room.get(need, 1) > 0:
                rows = connection.execute(self._sql["select_due"], (process, need, now, *self._versions, FEW)).fetchall()
                due += map(Due._make, rows)
                crowded = crowded or len(rows) == FEW
        if crowded:
            due = self._walk(connection, set(processes), now, limit, room)
        return take_turns(due, limit, room, self._turns)

    def next_wake(self, connection: sqlite3.Connection, processes: Sequence[str], closed: Collection[str]) -> float | None:
        """When the next case is due."""
        found = [
            connection.execute(self._sql["next_wake"], (*pair, *self._versions)).fetchone()
            for pair in self._needs(connection, processes)
            if pair[1] not in closed
        ]
        return min((at for row in found if row is not None for at in row), default=None)

    @property
    def _versions(self) -> tuple[str | None, str | None]:
        return self.accepts, self.accepts

    def _needs(self, connection: sqlite3.Connection, processes: Sequence[str]) -> list[tuple[str, str]]:
        return connection.execute(self._sql["select_needs"], (json.dumps(list(processes)),)).fetchall()

    def _walk(
        self, connection: sqlite3.Connection, processes: Collection[str], now: float, limit: int, room: Mapping[str, int]
    ) -> list[Due]:
        """Up to `limit` due cases: the highest priority first, and in each priority from the tenant whose turn is next."""
        due: list[Due] = []
        left = dict(room)
        rank = FIRST
        while limit > 0 and (head := self._lane(connection, (rank, LAST, "", ""))) is not None:
            rank = head[0][0]
            lanes: list[_Lane] = []
            for lane, since in self._level(connection, rank):
                if since <= now and lane[2] in processes and left.get(lane[3], 1) > 0:
                    lanes.append(lane)
                if len(lanes) >= limit:
                    break
            for lane in lanes:
                rows = connection.execute(
                    self._sql["select_lane"], (*lane, now, *self._versions, limit if len(lanes) < limit else 1)
                ).fetchall()
                due += map(Due._make, rows)
                limit -= min(len(rows), left.get(lane[3], len(rows)))
                if lane[3] in left:
                    left[lane[3]] -= len(rows)
        return due

    def _level(self, connection: sqlite3.Connection, rank: int) -> Iterator[tuple[_Lane, float]]:
        """The lanes of one priority, each once, starting after the tenant whose turn was last."""
        last = self._turns.get(-rank)
        at: _Lane = (rank, "", "", "") if last is None else (rank, last, LAST, "")
        while (found := self._lane(connection, at)) is not None and found[0][0] == rank:
            yield found
            at = found[0]
        at = (rank, "", "", "")
        while last is not None and (found := self._lane(connection, at)) is not None and found[0][:2] <= (rank, last):
            yield found
            at = found[0]

    def _lane(self, connection: sqlite3.Connection, after: _Lane) -> tuple[_Lane, float] | None:
        row = connection.execute(self._sql["next_lane"], (*after, *self._versions)).fetchone()
        return None if row is None else ((row[0], row[1], row[2], row[3]), row[4])
