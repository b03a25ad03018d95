"""Read a PostgreSQL store, also while engines write to it."""

import json
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg import AsyncConnection, errors

from pointsman.definition.state import Blob
from pointsman.errors import StoreError, StoreForeign, ValueRefused
from pointsman.kernel.limits import LimitState, state_of
from pointsman.kernel.rows import BranchRow, CaseRow, EffectRow, EventRow, FieldRow, MessageRow, PauseRow, UsageRow
from pointsman.kernel.snapshot import Status
from pointsman.store.base import DefinitionRow, Dossier, Engines, IntakePaused, PrivateField, WriteRow, erased_key
from pointsman.store.finding import FEW, POSTGRES, measure, search_for, statement
from pointsman.store.gaps import Gap
from pointsman.store.journal import unpacked
from pointsman.store.postgres import schema
from pointsman.store.postgres.connections import Connections, place_of, rows_of
from pointsman.store.query import CaseCount, CasePage, CaseQuery, check_limit, page_of
from pointsman.store.statements import migrations
from pointsman.store.stored_rows import (
    INTAKE,
    LATEST,
    case_count,
    case_row,
    effect_row,
    field_rows,
    fields_by_case,
    found_row,
    gaps_by_subscriber,
    message_row,
    private_named,
    write_row,
    writes_by_case,
)

T = TypeVar("T")
Values = Mapping[str, Any]

MOVED_FROM = "moved_from"  # the name in the table meta of what has moved here from a file
ROWS_A_PLACE = 1_000_000_000  # numbers of a file's events that became one number of a transaction (sql/sqlite/moving.sql)
START = (-1, 0, -1)  # before the first event
_CURSOR = re.compile(r"([0-9]{1,18})\.([0-9]{1,9})\.([0-9]{1,9})")  # what fits into PostgreSQL's bigint and integer
_NUMBER = re.compile(r"[0-9]{1,18}")  # a file's cursor
_NEVER_STORED = (UnicodeEncodeError, errors.NumericValueOutOfRange)


class PostgresReader:
    """The reading half of the store contract, on the connections of a pool."""

    def __init__(self, connections: Connections, incarnation: str) -> None:
        self.incarnation = incarnation
        self.connections = connections
        self._sql = connections.sql

    async def case(self, case: int) -> CaseRow | None:
        """One case, or None."""
        return next(iter(await self._rows(case_row, "select_case", {"case": case})), None)

    async def cases(self, *, process: str | None = None, status: Status | None = None, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases ordered by number, after the number `after`."""
        name = "select_resting_cases" if status in {Status.WAITING, Status.PARKED, Status.BLOCKED} else "select_cases"
        return await self._rows(case_row, name, {"after": after, "process": process, "status": status, "limit": limit})

    async def open_cases(self, *, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases that have not ended, ordered by number, after the number `after`."""
        return await self._rows(case_row, "select_open_cases", {"after": after, "limit": limit})

    async def versions(self, process: str) -> list[int]:
        """The versions of this process's cases that are ready or waiting."""
        return [version for (version,) in await self._all("select_versions", {"process": process})]

    async def cases_of_version(self, process: str, version: int, *, limit: int = 1_000) -> list[CaseRow]:
        """Cases of one version that are ready or waiting."""
        return await self._rows(case_row, "select_cases_of_version", {"process": process, "version": version, "limit": limit})

    async def definitions(self) -> list[DefinitionRow]:
        """The definitions that engines were opened with."""
        return [DefinitionRow(*row) for row in await self._all("select_definitions", {})]

    async def private(self) -> list[PrivateField]:
        """The private fields of all processes that engines were opened with."""
        return [private_named(name) for (name,) in await self._all("select_private", {})]

    async def case_by_key(self, process: str, key: str, *, tenant: str = "") -> CaseRow | None:
        """The case that a tenant's start with this key created, or None."""
        asked = {"process": process, "tenant": tenant}
        for row in await self._rows(case_row, "select_case_by_key", {**asked, "key": key}):
            return row
        try:
            digest = erased_key(self.incarnation, process, "", key)
        except UnicodeEncodeError:
            return None
        erased = await self._all("select_erased_case", {**asked, "digest": digest})
        return await self.case(erased[0][0]) if erased else None

    async def find(self, query: CaseQuery, *, after: str = "", limit: int = 100) -> CasePage:
        """A page of the cases that fit a query; see the contract. Two statements at most, however long the page is."""
        check_limit(limit)
        search = search_for(POSTGRES, self._sql, query, after, limit + 1)  # the row more tells whether another page follows
        sizes: Sequence[int] = ()
        if search.sources:
            sizes = next(iter(await self._run(measure(self._sql, search.sources), {**search.values, "bound": FEW})), ())
            if not sizes:
                return CasePage((), None)
        rows = await self._run(statement(self._sql, query, search, sizes), search.values)
        return page_of(query.order, self._each(found_row, rows), limit)

    async def counts(self) -> dict[Status, int]:
        """How many cases there are in each status."""
        counts: dict[Status, int] = {}
        for row in await self.count_places():
            counts[row.status] = counts.get(row.status, 0) + row.cases
        return counts

    async def count_places(self, *, process: str | None = None) -> list[CaseCount]:
        """How many cases there are in each process, status and place; see the contract."""
        return await self._rows(case_count, "count_places", {"process": process})

    async def fields(self, case: int, *, revision: int | None = None) -> tuple[FieldRow, ...]:
        """The fields that have a value, as of `revision`."""
        rows = await self._all("select_fields", {"cases": [case], "revision": LATEST if revision is None else revision})
        return field_rows([row[1:] for row in rows])

    async def events(self, *, after: str = "", case: int | None = None, limit: int = 1_000) -> list[EventRow]:
        """Events after a cursor; see the contract. Here a cursor is a transaction, a place in it, and a place in that row."""
        place = START
        if after:
            read = _CURSOR.fullmatch(after)
            place = (int(read[1]), int(read[2]), int(read[3])) if read else await self._moved_place(after)
        asked = {"case": case, "tx": place[0], "n": place[1], "limit": limit}
        rows = await self._all("select_events" if case is None else "select_events_of_case", asked)
        return self._events(rows, place)[:limit]

    async def _moved_place(self, cursor: str) -> tuple[int, int, int]:
        """The place of a cursor that is the number of an event of a file whose cases have moved here. Raises ValueRefused for others."""
        if not _NUMBER.fullmatch(cursor) or not await self._all("select_fact", {"name": MOVED_FROM}):
            _refuse(cursor)
        tx, n = divmod(int(cursor), ROWS_A_PLACE)
        for tx_of_row, n_of_row in await self._all("select_moved_row", {"tx": tx, "n": n}):
            return tx_of_row, n_of_row, (tx - tx_of_row) * ROWS_A_PLACE + n - n_of_row
        return START

    async def newest_events(self, *, limit: int) -> list[EventRow]:
        """At most `limit` of the newest events; see the contract."""
        return self._events(await self._all("select_newest_events", {"limit": limit}))[-limit:]

    async def cases_of(self, cases: Collection[int]) -> list[CaseRow]:
        """The cases with these numbers; see the contract."""
        return await self._rows(case_row, "select_cases_of", {"cases": [*cases]})

    async def fields_of(self, cases: Collection[int], names: Collection[str]) -> dict[int, tuple[FieldRow, ...]]:
        """The fields with these names, by case; see the contract."""
        return fields_by_case(await self._all("select_fields_of_cases", {"cases": [*cases], "names": [*names], "revision": LATEST}))

    async def fields_of_claimed(self, connection: AsyncConnection[Any], cases: Collection[int]) -> dict[int, tuple[FieldRow, ...]]:
        """All fields of these cases that have a value, by case, read on a connection by one statement."""
        rows = await rows_of(connection, self._sql["select_fields"], {"cases": [*cases], "revision": LATEST})
        return {**dict.fromkeys(cases, ()), **fields_by_case(rows)}

    async def branches_of(self, connection: AsyncConnection[Any], cases: Collection[int]) -> dict[int, tuple[BranchRow, ...]]:
        """The branches of these cases, by case, read on a connection by one statement."""
        found: dict[int, tuple[BranchRow, ...]] = dict.fromkeys(cases, ())
        for case, *branch in await rows_of(connection, self._sql["select_branches"], {"cases": [*cases]}):
            found[case] += (BranchRow(*branch),)
        return found

    async def writes_of(self, cases: Collection[int]) -> dict[int, tuple[WriteRow, ...]]:
        """All writes of the fields of these cases; see the contract."""
        return writes_by_case(await self._all("select_writes_of_cases", {"cases": [*cases]}))

    async def effects_of(self, cases: Collection[int]) -> list[EffectRow]:
        """The ledger's entries of these cases; see the contract."""
        return await self._rows(effect_row, "select_effects", {"cases": [*cases]})

    async def events_of(self, cases: Sequence[int]) -> list[EventRow]:
        """All events of these cases; see the contract."""
        return self._events(await self._all("select_events_of_cases", {"cases": [*cases]}))

    async def count_waiting(self, edges: Sequence[float], *, most: int) -> list[int]:
        """How many pauses opened between each two of these times; see the contract."""
        spans = ({"since": since, "until": until, "most": most} for since, until in pairwise(edges))
        return [int((await self._all("count_waiting", span))[0][0]) for span in spans]

    async def effect(self, key: str) -> EffectRow | None:
        """The ledger's entry for an idempotency key, or None."""
        return next(iter(await self._rows(effect_row, "select_effect", {"key": key})), None)

    async def effects(self, case: int) -> list[EffectRow]:
        """The ledger's entries of a case."""
        return await self.effects_of([case])

    async def in_doubt(self) -> list[EffectRow]:
        """The effects in doubt; see the contract."""
        return await self._rows(effect_row, "select_in_doubt", {})

    async def pause(self, case: int) -> PauseRow | None:
        """The last pause of a case, open or closed, or None."""
        return next((PauseRow(*row) for row in await self._all("select_pause", {"case": case})), None)

    async def pause_by_token(self, token: str) -> PauseRow | None:
        """The pause that a token belongs to, or None."""
        return next((PauseRow(*row) for row in await self._all("select_pause_by_token", {"token": token})), None)

    async def messages(self, case: int) -> tuple[MessageRow, ...]:
        """The pending messages of a case, in the order of arrival."""
        return tuple(await self._rows(message_row, "select_messages", {"case": case}))

    async def held(self, *, after: int = 0, limit: int = 1_000) -> list[MessageRow]:
        """Held messages whose case has ended, ordered by number, after the number `after`."""
        return await self._rows(message_row, "select_held", {"after": after, "limit": limit})

    async def unmatched(self, *, limit: int = 1_000) -> list[MessageRow]:
        """Messages that match no case yet, in the order of arrival."""
        return await self._rows(message_row, "select_unmatched", {"limit": limit})

    async def children(self, case: int) -> list[CaseRow]:
        """The children of this case."""
        return await self._rows(case_row, "select_children", {"case": case})

    async def branches(self, case: int) -> tuple[BranchRow, ...]:
        """The branches of the case's parallel step."""
        return tuple(BranchRow(*row[1:]) for row in await self._all("select_branches", {"cases": [case]}))

    async def usage_of_case(self, case: int) -> list[UsageRow]:
        """The usage of a case, per model."""
        return [_usage_row(row) for row in await self._all("select_case_usage", {"case": case})]

    async def usage_of_days(self, process: str, first: int, last: int, *, tenant: str | None = None) -> list[UsageRow]:
        """The usage of a process on these days, per day, tenant and model."""
        asked = {"process": process, "first": first, "last": last, "tenant": tenant}
        return [_usage_row(row) for row in await self._all("select_day_usage", asked)]

    async def engines(self, case: int) -> Engines:
        """Whether an engine has the database open, and the one that runs a case."""
        [(is_open, engine, until, lost)] = await self._all("select_engines", {"case": case})
        return Engines(is_open) if engine is None else Engines(is_open, f"engine {engine}", lost, until)

    async def limits(self) -> dict[str, LimitState]:
        """The state of each limit that has been used."""
        rows = await self._all("select_limits", {})
        with self._read():
            return {name: state_of(text) for name, text in rows}

    async def backlog(self, process: str, tenant: str | None, *, most: int) -> int:
        """The number of cases of a process, or of one of its tenants, that are ready or running."""
        name = "count_line" if tenant is None else "count_line_of_tenant"
        return next((int(count) for (count,) in await self._all(name, {"process": process, "tenant": tenant, "most": most})), 0)

    async def intake_paused(self) -> IntakePaused | None:
        """Who paused the intake; None if it is not paused."""
        for (paused,) in await self._all("select_fact", {"name": INTAKE}):
            return IntakePaused(**json.loads(paused))
        return None

    async def gaps(self) -> list[Gap]:
        """What the subscribers have given up."""
        return gaps_by_subscriber(await self._all("select_gaps", {}))

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None."""
        return next((bytes(row[0]) for row in await self._all("select_blob", {"sha256": blob.sha256})), None)

    async def dossier(self, case: int) -> Dossier | None:
        """Everything stored about a case, or None."""
        asked = {"case": case, "cases": [case]}

        async def read() -> dict[str, list[tuple[Any, ...]]]:
            async with self.connections.transaction() as connection:
                await rows_of(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")  # all reads see one snapshot
                return {name: await rows_of(connection, self._sql[name], asked) for name in _DOSSIER}

        try:
            rows = await self.connections.repeated(read)
        except Exception as error:
            if _is_never_stored(error):
                return None
            raise
        if not rows["select_case"]:
            return None
        return Dossier(
            case=self._each(case_row, rows["select_case"])[0],
            writes=tuple(write_row(row) for row in rows["select_writes"]),
            events=tuple(self._events(rows["select_all_events_of_case"])),
            effects=tuple(self._each(effect_row, rows["select_effects"])),
            pauses=tuple(PauseRow(*row) for row in rows["select_pauses"]),
            messages=tuple(self._each(message_row, rows["select_all_messages"])),
            branches=tuple(BranchRow(*row[1:]) for row in rows["select_branches"]),
        )

    def _events(self, rows: Iterable[Sequence[Any]], after: tuple[int, int, int] = START) -> list[EventRow]:
        """The events in rows of the journal, behind a place."""
        with self._read():
            return [
                EventRow._make((f"{tx}.{n}.{number}", case, revision, kind, step, attempt, at, facts))
                for tx, n, case, revision, at, text in rows
                for number, (kind, step, attempt, facts) in enumerate(unpacked(text, _no_common))
                if (tx, n) != after[:2] or number > after[2]
            ]

    def _each(self, into: Callable[[Sequence[Any]], T], rows: Iterable[Sequence[Any]]) -> list[T]:
        """The rows, each turned `into` what a caller gets. Raises StoreForeign for a row that no engine wrote."""
        with self._read():
            return [into(row) for row in rows]

    async def _rows(self, into: Callable[[Sequence[Any]], T], name: str, values: Values) -> list[T]:
        return self._each(into, await self._all(name, values))

    async def _all(self, name: str, values: Values) -> list[tuple[Any, ...]]:
        return await self._run(self._sql[name], values)

    async def _run(self, text: str, values: Values) -> list[tuple[Any, ...]]:
        try:
            return await self.connections.repeatable(text, values)
        except Exception as error:
            if _is_never_stored(error):
                return []
            raise

    @contextmanager
    def _read(self) -> Iterator[None]:
        """Turn an error about a text that no engine can have written into ours; the text itself may be what a customer wrote."""
        try:
            yield
        except ValueError as error:
            shown = self.connections.place.shown
            raise StoreForeign(f"{shown} is damaged (a text in it is not what any engine wrote); restore it from a backup.") from error


@asynccontextmanager
async def open_reader(url: str) -> AsyncIterator[PostgresReader]:
    """Open a database to read it and nothing else. Raises StoreError."""
    connections = Connections(place_of(url), read_only=True)
    try:
        await connections.open()
        await _refuse_other_tables(connections)
        meta = dict(await connections.rows(connections.sql["all_meta"]))
        yield PostgresReader(connections, meta["incarnation"])
    finally:
        await connections.close()


async def _refuse_other_tables(connections: Connections) -> None:
    """Raise StoreError if the tables are not those of this release."""
    place, missing = connections.place, await schema.missing(connections)
    if len(missing) == len(migrations("postgres")):
        raise StoreForeign(f"the schema {place.schema} of {place.shown} holds no cases; name the database that an engine works on.")
    if missing:
        raise StoreError(
            f"the schema {place.schema} of {place.shown} was written by an older release; run `pointsman migrate URL`, or open an engine on it."
        )


_DOSSIER = (
    "select_case", "select_writes", "select_all_events_of_case", "select_effects", "select_pauses", "select_all_messages", "select_branches"
)  # fmt: skip


def _is_never_stored(error: Exception) -> bool:
    """Whether a statement failed because PostgreSQL cannot store a number or a text in its parameters, so no row has it."""
    cause = error.__cause__ if isinstance(error, ValueRefused) else error
    return isinstance(cause, _NEVER_STORED) or (isinstance(cause, psycopg.DataError) and cause.sqlstate is None)


def _no_common(number: int) -> NoReturn:
    raise ValueError(f"there is no common event {number}")


def _refuse(cursor: str) -> NoReturn:
    raise ValueRefused(f"{cursor!r} is not the cursor of an event; pass the `cursor` of an event that you have read, or omit it.")


def _usage_row(row: Sequence[Any]) -> UsageRow:
    """Convert a row of usage: PostgreSQL's sums are decimals."""
    answers, input_tokens, output_tokens, cost = map(int, row[1:5])
    return UsageRow(row[0], answers, input_tokens, output_tokens, cost, *row[5:])
