"""Read a SQLite store, also while an engine writes to it."""

import json
import re
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pointsman.definition.state import Blob
from pointsman.errors import ValueRefused
from pointsman.kernel.limits import LimitState, state_of
from pointsman.kernel.rows import BranchRow, CaseRow, EffectRow, EventRow, FieldRow, MessageRow, PauseRow, UsageRow
from pointsman.kernel.snapshot import Status
from pointsman.store.base import DefinitionRow, Dossier, Engines, IntakePaused, PrivateField, WriteRow, erased_key
from pointsman.store.finding import FEW, SQLITE, measure, search_for, statement
from pointsman.store.gaps import Gap
from pointsman.store.journal import CommonEventsReader
from pointsman.store.query import CaseCount, CasePage, CaseQuery, check_limit, page_of
from pointsman.store.sqlite_file import connect_read_only, engine_process, explained, has_engine, mirrors, tell_moved
from pointsman.store.statements import statements
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

MEMORY = ":memory:"
PROGRESS_OPERATIONS = 100_000  # of SQLite's virtual machine between two looks at whether to stop: about a millisecond

_CURSOR = re.compile("[0-9]{0,18}")  # what fits into SQLite's integers


class SqliteReader:
    """The reading half of the store contract, on one connection (by default read-only) and in one thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection | None = None) -> None:
        self.path = path
        self._connection = connect_read_only(path) if connection is None else connection
        self._sql = statements("sqlite")
        self._common = CommonEventsReader(self._connection, self._sql)
        self.incarnation = str(self._all("select_meta", ("incarnation",))[0][0])

    async def case(self, case: int) -> CaseRow | None:
        """One case, or None."""
        return next(iter(self._rows(case_row, "select_case", (case,))), None)

    async def cases(self, *, process: str | None = None, status: Status | None = None, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases ordered by number, after the number `after`."""
        name = "select_resting_cases" if status in {Status.WAITING, Status.PARKED, Status.BLOCKED} else "select_cases"
        return self._rows(case_row, name, {"after": after, "process": process, "status": status, "limit": limit})

    async def open_cases(self, *, after: int = 0, limit: int = 1_000) -> list[CaseRow]:
        """Cases that have not ended, ordered by number, after the number `after`."""
        return self._rows(case_row, "select_open_cases", (after, limit))

    async def versions(self, process: str) -> list[int]:
        """The versions of this process's cases that are ready or waiting."""
        return [version for (version,) in self._all("select_versions", {"process": process})]

    async def cases_of_version(self, process: str, version: int, *, limit: int = 1_000) -> list[CaseRow]:
        """Cases of one version that are ready or waiting."""
        return self._rows(case_row, "select_cases_of_version", (process, version, limit))

    async def definitions(self) -> list[DefinitionRow]:
        """The definitions that engines were opened with."""
        return [DefinitionRow(*row) for row in self._all("select_definitions", ())]

    async def private(self) -> list[PrivateField]:
        """The private fields of all processes that engines were opened with."""
        return [private_named(name) for (name,) in self._all("select_private", ())]

    async def case_by_key(self, process: str, key: str, *, tenant: str = "") -> CaseRow | None:
        """The case that a tenant's start with this key created, or None."""
        for row in self._rows(case_row, "select_case_by_key", (process, tenant, key)):
            return row
        try:
            digest = erased_key(self.incarnation, process, "", key)
        except UnicodeEncodeError:
            return None
        erased = self._all("select_erased_key", (process, tenant, "", digest))
        return await self.case(erased[0][0]) if erased else None

    async def find(self, query: CaseQuery, *, after: str = "", limit: int = 100) -> CasePage:
        """A page of the cases that fit a query; see the contract. Two statements at most, however long the page is."""
        check_limit(limit)
        search = search_for(SQLITE, self._sql, query, after, limit + 1)  # the row more tells whether another page follows
        sizes: Sequence[int] = ()
        if search.sources:
            sizes = next(iter(self._run(measure(self._sql, search.sources), {**search.values, "bound": FEW})), ())
            if not sizes:
                return CasePage((), None)
        with explained(self.path):
            found = [found_row(row) for row in self._run(statement(self._sql, query, search, sizes), search.values)]
        return page_of(query.order, found, limit)

    async def counts(self) -> dict[Status, int]:
        """How many cases there are in each status."""
        counts: dict[Status, int] = {}
        for row in await self.count_places():
            counts[row.status] = counts.get(row.status, 0) + row.cases
        return counts

    async def count_places(self, *, process: str | None = None) -> list[CaseCount]:
        """How many cases there are in each process, status and place; see the contract."""
        running = dict(self._all("count_running", {"process": process}))
        found: list[CaseCount] = []
        for row in self._rows(case_count, "count_places", {"process": process}):
            also = running.get(row.process, 0) if row.status is Status.READY else 0
            found += [
                one
                for one in (row._replace(cases=row.cases - also), row._replace(status=Status.RUNNING, cases=also))
                if one.cases > 0 and (also or one.status is not Status.RUNNING)
            ]
        return found

    async def fields(self, case: int, *, revision: int | None = None) -> tuple[FieldRow, ...]:
        """The fields that have a value, as of `revision`."""
        return field_rows(self._all("select_fields", {"case": case, "revision": LATEST if revision is None else revision}))

    async def events(self, *, after: str = "", case: int | None = None, limit: int = 1_000) -> list[EventRow]:
        """Events after a cursor; see the contract. Here a cursor is the event's number."""
        if not _CURSOR.fullmatch(after):
            raise ValueRefused(f"{after!r} is not the cursor of an event; pass the `cursor` of an event that you have read, or omit it.")
        number = int(after or "0")
        with explained(self.path):
            rows = self._all("select_events", {"after": number, "limit": limit}) if case is None else self._entries_of(case, number, limit)
            return [event for row in rows for event in self._event_rows(row, number)][:limit]

    async def newest_events(self, *, limit: int) -> list[EventRow]:
        """At most `limit` of the newest events; see the contract."""
        with explained(self.path):
            rows = self._all("select_newest_events", {"limit": limit})
            return [event for row in rows for event in self._event_rows(row)][-limit:]

    async def cases_of(self, cases: Collection[int]) -> list[CaseRow]:
        """The cases with these numbers; see the contract."""
        return self._rows(case_row, "select_cases_of", {"cases": json.dumps([*cases])})

    async def fields_of(self, cases: Collection[int], names: Collection[str]) -> dict[int, tuple[FieldRow, ...]]:
        """The fields with these names, by case; see the contract."""
        rows = self._all("select_fields_of_cases", {"cases": json.dumps([*cases]), "names": json.dumps([*names])})
        return fields_by_case(rows)

    async def writes_of(self, cases: Collection[int]) -> dict[int, tuple[WriteRow, ...]]:
        """All writes of the fields of these cases; see the contract."""
        return writes_by_case(self._all("select_writes_of_cases", {"cases": json.dumps([*cases])}))

    async def effects_of(self, cases: Collection[int]) -> list[EffectRow]:
        """The ledger's entries of these cases; see the contract."""
        return self._rows(effect_row, "select_effects_of_cases", {"cases": json.dumps([*cases])})

    async def events_of(self, cases: Sequence[int]) -> list[EventRow]:
        """All events of these cases; see the contract."""
        with explained(self.path):
            rows = self._all("select_events_of_cases", {"cases": json.dumps(list(cases))})
            return [event for row in rows for event in self._event_rows(row)]

    async def count_waiting(self, edges: Sequence[float], *, most: int) -> list[int]:
        """How many pauses opened between each two of these times; see the contract."""
        spans = ({"since": since, "until": until, "most": most} for since, until in pairwise(edges))
        return [int(self._all("count_waiting", span)[0][0]) for span in spans]

    async def effect(self, key: str) -> EffectRow | None:
        """The ledger's entry for an idempotency key, or None."""
        return next(iter(self._rows(effect_row, "select_effect", (key,))), None)

    async def effects(self, case: int) -> list[EffectRow]:
        """The ledger's entries of a case."""
        return self._rows(effect_row, "select_effects", (case,))

    async def in_doubt(self) -> list[EffectRow]:
        """The effects in doubt; see the contract."""
        return self._rows(effect_row, "select_in_doubt", ())

    async def pause(self, case: int) -> PauseRow | None:
        """The last pause of a case, open or closed, or None."""
        return next((PauseRow(*row) for row in self._all("select_pause", (case,))), None)

    async def pause_by_token(self, token: str) -> PauseRow | None:
        """The pause that a token belongs to, or None."""
        return next((PauseRow(*row) for row in self._all("select_pause_by_token", (token,))), None)

    async def messages(self, case: int) -> tuple[MessageRow, ...]:
        """The pending messages of a case, in the order of arrival."""
        return tuple(self._rows(message_row, "select_messages", (case,)))

    async def held(self, *, after: int = 0, limit: int = 1_000) -> list[MessageRow]:
        """Held messages whose case has ended, ordered by number, after the number `after`."""
        return self._rows(message_row, "select_held", (after, limit))

    async def unmatched(self, *, limit: int = 1_000) -> list[MessageRow]:
        """Messages that match no case yet, in the order of arrival."""
        return self._rows(message_row, "select_unmatched", (limit,))

    async def children(self, case: int) -> list[CaseRow]:
        """The children of this case."""
        return self._rows(case_row, "select_children", (case,))

    async def branches(self, case: int) -> tuple[BranchRow, ...]:
        """The branches of the case's parallel step."""
        return tuple(BranchRow(*row) for row in self._all("select_branches", (case,)))

    async def usage_of_case(self, case: int) -> list[UsageRow]:
        """The usage of a case, per model."""
        return [UsageRow(*row) for row in self._all("select_case_usage", (case,))]

    async def usage_of_days(self, process: str, first: int, last: int, *, tenant: str | None = None) -> list[UsageRow]:
        """The usage of a process on these days, per day, tenant and model."""
        asked = {"process": process, "first": first, "last": last, "tenant": tenant}
        return [UsageRow(*row) for row in self._all("select_day_usage", asked)]

    async def engines(self, case: int) -> Engines:
        """Whether an engine has the file open, and the process that runs a case. Who opened a store in memory has it open; the cases of a mirror run elsewhere."""
        if str(self.path) == MEMORY or mirrors(self._connection):
            return Engines(open=True)
        is_open, process = has_engine(self.path), engine_process(self.path)
        runs = next((row for row in self._rows(case_row, "select_case", (case,)) if row.status is Status.RUNNING), None)
        return Engines(is_open) if runs is None else Engines(is_open, f"process {process or 'unknown'}", lost=not is_open)

    async def limits(self) -> dict[str, LimitState]:
        """The state of each limit that has been used."""
        with explained(self.path):
            return {name: state_of(text) for name, text in self._all("select_limits", ())}

    async def backlog(self, process: str, tenant: str | None, *, most: int) -> int:
        """The number of cases of a process, or of one of its tenants, that are ready or running."""
        if tenant is None:
            return int(self._all("count_line", (process, most))[0][0])
        return int(self._all("count_line_of_tenant", (process, tenant, most))[0][0])

    async def intake_paused(self) -> IntakePaused | None:
        """Who paused the intake; None if it is not paused."""
        for (paused,) in self._all("select_meta", (INTAKE,)):
            return IntakePaused(**json.loads(paused))
        return None

    async def gaps(self) -> list[Gap]:
        """What the subscribers have given up."""
        return gaps_by_subscriber(self._all("select_gaps", ()))

    async def blob(self, blob: Blob) -> bytes | None:
        """The content of a blob, or None."""
        return next((bytes(row[0]) for row in self._all("select_blob", (blob.sha256,))), None)

    async def dossier(self, case: int) -> Dossier | None:
        """Everything stored about a case, or None."""
        with explained(self.path):
            self._connection.execute("BEGIN")  # all reads see one snapshot
        try:
            row = await self.case(case)
            if row is None:
                return None
            return Dossier(
                case=row,
                writes=tuple(write_row(write) for write in self._all("select_writes", (case,))),
                events=tuple(chain.from_iterable(self._rows(self._event_rows, "select_events_of_case", _all_entries(case)))),
                effects=tuple(await self.effects(case)),
                pauses=tuple(PauseRow(*pause) for pause in self._all("select_pauses", (case,))),
                messages=tuple(self._rows(message_row, "select_all_messages", (case,))),
                branches=await self.branches(case),
            )
        finally:
            self._connection.execute("COMMIT")

    def look(self, read: Callable[[sqlite3.Connection, Mapping[str, str]], T]) -> T:
        """Read with statements of another module, which get the connection and all statements by name."""
        with explained(self.path):
            return read(self._connection, self._sql)

    def stop_when(self, over: Callable[[], bool]) -> None:
        """Make each read fail that still runs when `over` has become true."""
        self._connection.set_progress_handler(over, PROGRESS_OPERATIONS)

    def moved(self) -> str | None:
        """A sentence that says where the cases of this file have gone, or are going; None if they are here."""
        return tell_moved(self._connection, self.path)

    def shut(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.shut()

    def _rows(self, into: Callable[[Sequence[Any]], T], name: str, parameters: Sequence[Any] | dict[str, Any]) -> list[T]:
        """The rows of a statement, each turned `into` what a caller gets. Raises StoreForeign for a row that no engine wrote."""
        with explained(self.path):
            return [into(row) for row in self._all(name, parameters)]

    def _entries_of(self, case: int, after: int, limit: int) -> list[Any]:
        """Return the rows with the events of a case from that with the number `after`, as many as hold `limit` events behind it.

        Nearly every revision has events, so it reads as many revisions at a time. Only a cursor from between other cases' events makes
        it read the case from its beginning.
        """
        first, owner, revision = next(iter(self._all("select_entry", (after,))), (0, 0, 0))
        since, rows = revision if owner == case else 0, list[Any]()
        last = next(iter(self._all("select_revision", (case,))), (0,))[0]
        while len(rows) <= limit and since <= last:
            asked = {"case": case, "first": first, "since": since, "until": since + limit, "limit": limit}
            rows += self._all("select_events_of_case", asked)
            since += limit + 1
        return rows

    def _event_rows(self, row: Sequence[Any], after: int = 0) -> list[EventRow]:
        """Return the events in a row of the journal, behind the event with the number `after`."""
        first, case, revision, at, text = row
        return [
            EventRow._make((str(number), case, revision, kind, step, attempt, at, facts))
            for number, (kind, step, attempt, facts) in enumerate(self._common.unpacked(text), first)
            if number > after
        ]

    def _all(self, name: str, parameters: Sequence[Any] | dict[str, Any]) -> list[Any]:
        return self._run(self._sql[name], parameters)

    def _run(self, statement: str, parameters: Sequence[Any] | dict[str, Any]) -> list[Any]:
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except (OverflowError, UnicodeEncodeError):
            return []  # SQLite cannot store this number or text, so no row has it
        except sqlite3.Error:
            with explained(self.path):
                raise


def open_reader(path: Path | str) -> SqliteReader:
    """Open a database read-only, whether or not an engine has it open. Raises StoreError."""
    return SqliteReader(Path(path))


def _all_entries(case: int) -> dict[str, int]:
    """The parameters of `select_events_of_case` for all its rows."""
    return {"case": case, "first": 0, "since": 0, "until": LATEST, "limit": -1}
