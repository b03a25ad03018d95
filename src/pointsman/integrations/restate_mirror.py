"""Keep a mirror of the cases on Restate: read what has changed through the server's query endpoint, and write it into a file.

The server computes a mark of each case, so that a look at cases that have not changed reads a line for each. The cases that have changed follow, some
megabytes at once. The file has the marks of its copies: whoever is interrupted goes on from there, and a second look changes nothing.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import md5
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import TypeAdapter, ValidationError

from pointsman.client.restate_admin import AdminApi, told
from pointsman.client.restate_names import NAME, key_of
from pointsman.definition.counts import format_count
from pointsman.definition.process import AnyProcess
from pointsman.errors import StoreAway
from pointsman.kernel.codec import describe
from pointsman.kernel.words import search_write
from pointsman.restate.record import Record, Stamped
from pointsman.runtime.clock import Clock, SystemClock
from pointsman.store.base import DefinitionRow, PrivateField
from pointsman.store.mirror import Contents, Copied, Happened, MirrorStore, open_mirror

BATCH_BYTES = 4_000_000  # of cases that are read at once: the server looks at all cases for each batch, and this program holds one
BATCH_CASES = 500
QUERY_SECONDS = 120.0  # the server looks at the state of all cases

_OF_CASES = f"FROM state WHERE service_name = '{NAME}'"
_MARKS = (
    "SELECT service_key, count(*) AS entries, sum(octet_length(value_utf8)) AS size, max(CASE WHEN key = 'case' THEN md5(value_utf8) END) AS digest"
    f" {_OF_CASES} GROUP BY service_key"
)
_CASES = f"SELECT service_key, key, value_utf8 {_OF_CASES} AND service_key IN (%s)"

_RECORD, _EVENTS = TypeAdapter(Record), TypeAdapter(Stamped)


class Mark(NamedTuple):
    """What tells one state of a case from another, and the size of the case in bytes."""

    text: str
    size: int


class Cases(Protocol):
    """Where the cases are read: what their objects keep, by the keys of the objects. Raises StoreAway."""

    async def marks(self) -> Mapping[str, Mark]:
        """The mark of each case."""

    async def entries(self, keys: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        """What these objects keep, as JSON by its name."""


class Mirrored(NamedTuple):
    """What a look has done: how many cases were copied and deleted, how many are in the mirror, and sentences about those that were left out."""

    copied: int
    deleted: int
    cases: int
    left_out: tuple[str, ...]


class QueryEndpoint(AdminApi):
    """The cases of a cluster, as the admin API of its server at `url` tells them."""

    def __init__(self, url: str) -> None:
        super().__init__(url, QUERY_SECONDS)

    async def marks(self) -> dict[str, Mark]:
        """The mark of each case, by the key of its object. Raises StoreAway."""
        rows = [row for row in await self._rows(_MARKS) if row["digest"] is not None]
        return {row["service_key"]: Mark(_mark(row["entries"], row["digest"]), row["size"]) for row in rows}

    async def entries(self, keys: Iterable[str]) -> dict[str, dict[str, str]]:
        """What the objects with these keys keep, as JSON by name. Raises StoreAway."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for row in await self._rows(_CASES % ", ".join(map(_quoted, keys))):
            found[row["service_key"]][row["key"]] = row["value_utf8"]
        return found

    async def _rows(self, statement: str) -> list[dict[str, Any]]:
        response = await self.ask("POST", "/query", {"query": statement})
        answer = told(response)
        if response.is_success and ("rows" in answer or not response.content):
            return list(answer.get("rows", ()))
        if response.is_server_error and "message" in answer:
            [why, *_] = str(answer["message"]).splitlines() or [""]
            raise StoreAway(f"the Restate server at {self.url} cannot tell its cases now ({why}).")
        raise self.foreign(response)


class Mirror:
    """Keeps copies of the cases of these processes in a file. `cases` is where they run."""

    def __init__(self, cases: Cases, store: MirrorStore, processes: Sequence[AnyProcess], clock: Clock) -> None:
        self._cases, self._store, self._clock = cases, store, clock
        self._processes = processes
        self._searchable: dict[str, set[str]] = defaultdict(set)
        for process in processes:
            self._searchable[process.name] |= {*process.searchable}
        self._marks: dict[str, str] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def look(self) -> Mirrored:
        """Copy the cases that have changed, and delete the copies of those that are gone. Raises StoreAway and StoreError."""
        async with self._one_at_a_time:
            marks, first, known = await self._cases.marks(), self._marks is None, await self._begun()
            there = {key: mark for key, mark in marks.items() if key.rpartition(":")[0] in self._searchable}
            changed = {key: mark.size for key, mark in there.items() if known.get(key) != mark.text}
            copied, left_out = 0, self._not_named(marks) if first else []
            for keys in _batches(changed):
                told = await self._copy(keys)
                copied, left_out = copied + len(keys) - len(told), left_out + told
            gone = [key for key in known if key not in there]
            await self._remove(gone)
            return Mirrored(copied, len(gone), len(known), tuple(left_out))

    def _not_named(self, marks: Iterable[str]) -> list[str]:
        """A sentence about each process that has cases, and is not one of the mirror's."""
        others = Counter(key.rpartition(":")[0] for key in marks)
        return [
            f"{format_count(number, 'case')} of {process!r} {'is' if number == 1 else 'are'} left out; name that process with --app, too."
            for process, number in sorted(others.items())
            if process not in self._searchable
        ]

    async def look_at(self, process: str, case: int) -> None:
        """Copy one case. Raises StoreAway and StoreError."""
        async with self._one_at_a_time:
            await self._begun()
            await self._copy([key_of(process, case)])

    async def follow(
        self, seconds: float, stop: asyncio.Event, tell: Callable[[Mirrored], None], away: Callable[[StoreAway], None]
    ) -> None:
        """Look again after so many `seconds`, until `stop` is set. `tell` hears of what has changed, `away` that Restate does not answer."""
        is_away = False
        while not stop.is_set():
            await self._clock.wait(stop, seconds)
            try:
                told = await self.look()
            except StoreAway as error:
                if not is_away:
                    away(error)
                is_away = True
            else:
                is_away = False
                if told.copied or told.deleted:
                    tell(told)

    async def _begun(self) -> dict[str, str]:
        """The marks of the copies. At first it says in the file which fields are private: no copy is there before."""
        if self._marks is None:
            now = self._clock.now()
            private = [PrivateField(process.name, field) for process in self._processes for field in process.private]
            await self._store.register(
                [DefinitionRow(process.name, process.version, process.fingerprint, now) for process in self._processes], private
            )
            self._marks = await self._store.marks()
        return self._marks

    async def _copy(self, keys: Sequence[str]) -> list[str]:
        """Copy these cases, and return a sentence about each that was left out."""
        copies, left_out = list[Copied](), list[str]()
        for key, entries in (await self._cases.entries(keys)).items():
            if "case" not in entries:
                continue  # it was deleted meanwhile
            try:
                copies.append(self._copied(key, entries))
            except ValidationError as error:
                left_out.append(f"case {key} cannot be read ({describe(error)}); use the release of the program that serves it.")
        taken = await self._store.replace(copies)
        known = await self._begun()
        known.update((copy.name, copy.mark) for copy in taken)
        left_out += [
            f"case {copy.name} has the number of a case of another process, and is left out." for copy in copies if copy not in taken
        ]
        return left_out

    def _copied(self, key: str, entries: Mapping[str, str]) -> Copied:
        """Read a case. Raises ValidationError."""
        record = _RECORD.validate_json(entries["case"])
        events = [_EVENTS.validate_json(entries[name]) for name in sorted(entries) if name.startswith("event ")]
        fields = [*record.fields.values()]
        return Copied(
            key, _mark(len(entries), md5(entries["case"].encode(), usedforsecurity=False).hexdigest()), record.row,
            Contents(
                [Happened(one.revision, one.at, one.events) for one in events], fields, record.ledger, record.pauses,
                record.branches, record.messages,
                [search_write(field.field, field.text) for field in fields if field.field in self._searchable[record.row.process]],
            ),
        )  # fmt: skip

    async def _remove(self, gone: Sequence[str]) -> None:
        by_process: dict[str, dict[int, str]] = defaultdict(dict)
        for key in gone:
            process, _, number = key.rpartition(":")
            by_process[process][int(number)] = key
        for process, cases in by_process.items():
            await self._store.remove(process, cases, at=self._clock.now())
        known = await self._begun()
        for key in gone:
            known.pop(key)


@asynccontextmanager
async def mirroring(admin: str, file: Path | str, processes: Sequence[AnyProcess], clock: Clock | None = None) -> AsyncIterator[Mirror]:
    """Open a mirror in a file of the cases of these processes, on the cluster whose admin API is at `admin`. Raises StoreError."""
    store = await open_mirror(file)
    try:
        async with QueryEndpoint(admin) as cases:
            yield Mirror(cases, store, processes, clock or SystemClock())
    finally:
        await store.close()


def _mark(entries: int, digest: str) -> str:
    # The record and its events are kept one after another. Counting them tells a case whose last event has come since.
    return f"{entries} {digest}"


def _batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Cases in batches that are read at once. `sizes` are their bytes."""
    batch, size = list[str](), 0
    for key, more in sizes.items():
        if batch and (size + more > BATCH_BYTES or len(batch) == BATCH_CASES):
            yield batch
            batch, size = [], 0
        batch.append(key)
        size += more
    if batch:
        yield batch


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
