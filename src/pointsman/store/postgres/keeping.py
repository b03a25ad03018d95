"""What a PostgreSQL store keeps besides cases, such as blobs and limits, and what it deletes: expired cases, erased content, unused blobs."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from psycopg import AsyncConnection

from pointsman.definition.durations import DAY_SECONDS
from pointsman.definition.state import Blob
from pointsman.kernel.events import Kind, skeleton_of
from pointsman.kernel.limits import LimitChange, LimitChanged
from pointsman.kernel.rows import EventWrite
from pointsman.store.base import FIRST, Collected, DefinitionRow, Expired, IntakePaused, Place, PrivateField, ScheduleRow, erased_key
from pointsman.store.journal import packed_in_full, rewritten
from pointsman.store.postgres.connections import Connections, rows_of
from pointsman.store.postgres.limits import LimitChanges
from pointsman.store.stored_rows import INTAKE, private_name

Sql = Mapping[str, str]

PAGE_ROWS = 500  # rows per read: some hundred kilobytes, and a short transaction that does not hold back vacuum
BLOBS_MAX = 1_000  # blobs deleted in one commit: its locks delay an engine that keeps one of them again
RECORDS_SECONDS = 365 * DAY_SECONDS  # for which the record of a deletion is kept: somebody may ask what has become of last year's cases
BELONGINGS = ("journal", "effects", "pauses", "branches", "messages", "erased_keys", "case_usage", "search", "words", "cases")
ERASURES = ("case", "fields", "messages", "effects", "search", "words", "branches")
REFERENCE = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")  # any digest counts, wherever an author stores it
# Every text that may refer to a blob: the statement that reads a page, and the place before the first page. Fields come last, because
# all other texts may be copied to them.
SCANS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("scan_branches", (0, "")), ("scan_messages", (0,)), ("scan_effects", ("",)), ("scan_fields", (0, -1)),
)  # fmt: skip


class PostgresKeeping:
    """The part of a store that keeps and deletes. `connections` and `incarnation` are set by the store."""

    connections: Connections
    incarnation: str

    @cached_property
    def _limit_changes(self) -> LimitChanges:
        return LimitChanges(self.connections)

    async def register(self, definitions: Sequence[DefinitionRow], private: Sequence[PrivateField] = ()) -> None:
        """Store definitions and private fields that are not known yet; see the contract."""
        async with self.connections.transaction() as connection:
            # In one order, so that two engines that register the same ones never wait for each other in a circle.
            for definition in sorted(definitions):
                await rows_of(connection, self.connections.sql["insert_definition"], definition)
            for name in sorted(map(private_name, private)):
                await rows_of(connection, self.connections.sql["insert_private"], {"name": name})

    async def keep(self, content: bytes, *, now: float) -> Blob:
        """Store a blob by its content; see the contract."""
        blob = Blob.of(content)
        values = {"sha256": blob.sha256, "size": blob.size, "now": now, "content": content}
        await self.connections.repeatable(self.connections.sql["insert_blob"], values)
        return blob

    async def reserve(self, count: int) -> range:
        """Reserve numbers for new cases; see the contract.

        The reservation is durable before it is used: an engine survives a crash of the server, and another one must not get the
        same numbers then. An engine reserves many at a time.
        """
        [(last,)] = await self.connections.repeatable(self.connections.sql["reserve_cases"], {"count": count})
        return range(last - count + 1, last + 1)

    async def change_limit(self, change: LimitChange) -> LimitChanged:
        """Take or return a permit; see the contract."""
        return await self._limit_changes.change(change)

    async def schedule(self, process: str, name: str, *, now: float) -> ScheduleRow:
        """The position of a schedule; see the contract."""
        values = {"process": process, "name": name, "now": now}
        await self.connections.repeatable(self.connections.sql["enter_schedule"], values)
        [row] = await self.connections.repeatable(self.connections.sql["select_schedule"], values)
        return ScheduleRow._make(row)

    async def ticked(self, process: str, name: str, tick: float) -> None:
        """Record that this tick of a schedule is over; see the contract."""
        await self.connections.repeatable(self.connections.sql["tick_schedule"], {"process": process, "name": name, "tick": tick})

    async def pause_intake(self, paused: IntakePaused | None) -> None:
        """Store whether the intake is paused; see the contract."""
        if paused is None:
            await self.connections.rows(self.connections.sql["delete_meta"], {"name": INTAKE})
        else:
            await self.connections.rows(self.connections.sql["set_meta"], {"name": INTAKE, "value": json.dumps(paused._asdict())})

    async def outcomes(self, process: str) -> list[str]:
        """The outcomes of the cases of a process that are done; see the contract."""
        return [name for (name,) in await self.connections.repeatable(self.connections.sql["select_outcomes"], {"process": process})]

    async def expire(
        self, process: str, outcome: str | None, *, before: float, at: float, limit: int, after: Place = FIRST
    ) -> Expired:  # fmt: skip
        """Delete expired cases; see the contract. Of two engines that do so at once, each skips the cases that the other has locked."""
        sql = self.connections.sql
        expired = sql["expired_cases"].replace("{outcome}", "outcome IS NULL" if outcome is None else "outcome = %(outcome)s")
        asked = {"process": process, "outcome": outcome, "before": before, "at": after[0], "id": after[1], "limit": limit}
        async with self.connections.transaction() as connection:
            rows = await rows_of(connection, expired, asked)
            cases = sorted(case for _, case, needed in rows if not needed)
            if cases:
                event = EventWrite(Kind.EXPIRED, None, 0, json.dumps({"process": process, "cases": cases}))
                await rows_of(connection, sql["insert_expired"], {"case": cases[-1], "at": at, "events": packed_in_full([event])})
                for belongings in BELONGINGS:
                    await rows_of(connection, sql[f"expire_{belongings}"], {"cases": cases})
                await rows_of(connection, sql["expire_records"], {"before": at - RECORDS_SECONDS, "limit": limit})
                await rows_of(connection, sql["insert_gone"])
        return Expired(len(cases), rows[-1][:2] if len(rows) == limit else None)

    async def collect_blobs(self, *, before: float) -> Collected:
        """Delete blobs that nothing refers to; see the contract.

        The search reads page by page, in short transactions, while engines work. Keeping a blob meanwhile renews its time, so it is
        not deleted. A reference that is copied to a page already searched is still found at its origin: fields, messages and the
        ledger lose a reference only by expiry or erasure. Each of these leaves a mark in its own commit, in whichever engine it
        happens, and if there is a new mark at the end of the search, the search is discarded. One that commits later is no danger:
        its references were visible to the whole search. The results of branches move to fields in one commit, and are searched
        before them.
        """
        sql = self.connections.sql
        marks = await self._marks()
        unused = sorted(await self._unreferenced(before))
        if await self._marks() - marks:
            return Collected(0, 0)
        sizes: list[int] = []
        for first in range(0, len(unused), BLOBS_MAX):
            values = {"digests": unused[first : first + BLOBS_MAX], "before": before}
            sizes += [size for (size,) in await self.connections.rows(sql["delete_blobs"], values)]
        await self.connections.rows(sql["forget_gone"])
        return Collected(len(sizes), sum(sizes))

    async def compact(self) -> int:
        """Return 0: PostgreSQL's autovacuum makes the space of deleted rows free for new ones by itself."""
        return 0

    async def _marks(self) -> set[str]:
        return {name for (name,) in await self.connections.repeatable(self.connections.sql["select_gone"])}

    async def _unreferenced(self, before: float) -> set[str]:
        """The blobs last kept before `before` that nothing refers to."""
        rows = await self.connections.repeatable(self.connections.sql["select_old_blobs"], {"before": before})
        unused = {digest for digest, _ in rows}
        for scan, begin in SCANS:
            if unused:
                async for text in self._texts(scan, begin):
                    unused.difference_update(REFERENCE.findall(text))
        return unused

    async def _texts(self, scan: str, begin: tuple[Any, ...]) -> AsyncIterator[str]:
        place: tuple[Any, ...] | None = begin
        while place is not None:
            rows = await self.connections.repeatable(self.connections.sql[scan], (*place, PAGE_ROWS))
            for row in rows:
                yield row[-1]
            place = rows[-1][:-1] if len(rows) == PAGE_ROWS else None


async def clock_high_water(connections: Connections) -> float:
    """Return the highest time (Unix seconds) ever committed. Raises StoreError."""
    [(highest,)] = await connections.rows(connections.sql["highest_time"])
    return float(highest)


async def erase(connection: AsyncConnection[Any], sql: Sql, incarnation: str, case: int) -> None:
    """Delete the content of a case, and keep its skeleton (S23). It runs inside the caller's transaction, after its other writes."""
    for process, tenant, name, key in await rows_of(connection, sql["keys_of_case"], {"case": case}):
        digest = erased_key(incarnation, process, name, key)
        await rows_of(
            connection, sql["insert_erased_key"], {"process": process, "tenant": tenant, "name": name, "digest": digest, "case": case}
        )  # fmt: skip
    for part in ERASURES:
        await rows_of(connection, sql[f"erase_{part}"], {"case": case})
    rows = await rows_of(connection, sql["select_facts"], {"case": case})
    texts = [rewritten(events, _emptied) for *_, events in rows]
    await rows_of(connection, sql["rewrite_facts"], {"txs": [row[0] for row in rows], "ns": [row[1] for row in rows], "texts": texts})
    await rows_of(connection, sql["insert_gone"])


def _emptied(event: EventWrite) -> EventWrite:
    return event if event.kind == Kind.ERASED else event._replace(facts=skeleton_of(event.facts))
