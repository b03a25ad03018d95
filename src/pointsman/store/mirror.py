"""A mirror: a SQLite file with copies of cases that run elsewhere. Every command reads it, and no engine runs its cases.

Each case is written anew by one transaction, with a mark of the state that it is a copy of. So a copy that has begun can be interrupted at any time and
repeated, and a case whose mark is still the same need not be read again.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pointsman.errors import Refused, StoreError, StoreLocked
from pointsman.kernel.events import Kind
from pointsman.kernel.rows import BranchRow, CaseRow, EffectRow, EventWrite, FieldRow, MessageRow, PauseRow, Transition
from pointsman.kernel.words import SearchWrite
from pointsman.store import sqlite_keeping as keeping
from pointsman.store.base import DefinitionRow, PrivateField, no_failpoints
from pointsman.store.sqlite import SqliteStore, Work
from pointsman.store.sqlite_core import PostAsked, SqliteCore
from pointsman.store.sqlite_file import MIRROR, FileLock, explained, mirrors, open_writer, real

MARK, MARKS_END = "mirrored ", "mirrored!"  # and the name of a case: the name in the table meta of the state that a copy is of


class Happened(NamedTuple):
    """The events of one transition, at a time in Unix seconds."""

    revision: int
    at: float
    events: Sequence[EventWrite]


@dataclass(frozen=True, slots=True)
class Contents:
    """What belongs to a case, beside its row. `happened` has its transitions from the start on; `fields` have their last values."""

    happened: Sequence[Happened]
    fields: Sequence[FieldRow] = ()
    effects: Sequence[EffectRow] = ()
    pauses: Sequence[PauseRow] = ()
    branches: Sequence[BranchRow] = ()
    messages: Sequence[MessageRow] = ()
    search: Sequence[SearchWrite] = ()


class Copied(NamedTuple):
    """A case as it stands elsewhere, where it is known as `name`. `mark` tells this state from every other one."""

    name: str
    mark: str
    row: CaseRow
    contents: Contents


@dataclass(frozen=True, slots=True)
class _OfMirror:
    """Work that is done in a mirror."""

    do: Callable[[SqliteCore], Any]

    def __call__(self, core: SqliteCore) -> Any:
        return self.do(core)


class MirrorStore(SqliteStore):
    """The store of a mirror. It takes copies and definitions; whatever else an engine would write raises Refused."""

    async def marks(self) -> dict[str, str]:
        """The mark of each case in the mirror, by its name elsewhere."""
        marks: dict[str, str] = await self._hand_in(_OfMirror(_marks))
        return marks

    async def replace(self, copies: Sequence[Copied]) -> list[Copied]:
        """Write these cases in one transaction, in place of their earlier copies.

        Returns those that were written. One is left out if a case of another process has its number: elsewhere a number is unique for a process.
        """
        taken: list[Copied] = await self._hand_in(_OfMirror(lambda core: [copy for copy in copies if _replace(core, copy)]))
        return taken

    async def remove(self, process: str, cases: Mapping[int, str], *, at: float) -> None:
        """Delete the copies of cases of a process, by number and name, that are no longer there elsewhere. `at` is in Unix seconds."""
        await self._hand_in(_OfMirror(lambda core: _remove(core, process, cases, at)))

    async def register(self, definitions: Sequence[DefinitionRow], private: Sequence[PrivateField] = ()) -> None:
        """Store definitions and private fields that are not known yet; see the contract."""
        await self._hand_in(_OfMirror(lambda core: core.register(definitions, private)))

    async def release(self, cases: Sequence[int], *, now: float) -> None:
        """Do nothing: no case is claimed here."""

    def _hand_in(
        self, work: Work, transition: Transition | None = None, *, alone: bool = False, post: PostAsked | None = None
    ) -> asyncio.Future[Any]:  # fmt: skip
        if transition is not None or alone or post is not None or not isinstance(work, _OfMirror):
            raise Refused(f"{self.path} is a mirror of cases on Restate, where this is not offered.")
        return super()._hand_in(work)


async def open_mirror(path: Path | str) -> MirrorStore:
    """Open a mirror to write copies into it, and create it if it is missing.

    Raises StoreError, with the fix, if the file is no mirror, is open elsewhere, or cannot be written.
    """
    path = real(Path(path))
    if not path.parent.is_dir():
        raise StoreError(f"the folder {path.parent} does not exist; make it, or name another file.")
    lock = FileLock(path)
    try:
        lock.acquire()
    except StoreLocked as error:  # by a program that runs no engine
        raise StoreLocked(str(error).replace("open in another engine", "open in another program")) from None
    try:
        connection = open_writer(path, mirror=True)
        try:
            with explained(path):
                return MirrorStore(path, lock, connection, _begin(connection, path), no_failpoints)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        lock.release()
        raise


def _begin(connection: sqlite3.Connection, path: Path) -> int:
    """Mark the file as a mirror, and return the number of this writer."""
    connection.execute("BEGIN IMMEDIATE")
    core = SqliteCore(connection, path)
    if not mirrors(connection) and not core.has_epoch(0):
        raise StoreError(f"{path} is the database of an engine, not a mirror; name another file.")
    connection.execute(core.sql["set_meta"], (MIRROR, "1"))
    connection.execute(core.sql["name_incarnation"], ("",))  # each case has an incarnation of its own, so none is right for the keys of all
    epoch = core.raise_epoch()
    connection.execute("COMMIT")
    return epoch


def _marks(core: SqliteCore) -> dict[str, str]:
    rows = core.connection.execute(core.sql["select_mirrored"], (MARK, MARKS_END))
    return {name.removeprefix(MARK): mark for name, mark in rows}


def _replace(core: SqliteCore, copy: Copied) -> bool:
    """Write a case in place of its earlier copy. Return False, and write nothing, if a case of another process has its number."""
    row, do = copy.row, partial(_do, core)
    process, created_at, known = do("mirrored_case", (row.id,)).fetchone() or (row.process, row.created_at, 0)
    if process != row.process:
        return False
    if created_at != row.created_at:  # the earlier case was deleted elsewhere
        keeping.expire(core.connection, core.sql, [row.id])
        known = 0
    for belongings in keeping.BELONGINGS:
        if belongings != "journal":
            do(f"expire_{belongings}", (json.dumps([row.id]),))
    do("delete_mirrored_fields", (row.id,))
    do("mirror_case", row)
    for happened in copy.contents.happened:
        if happened.revision > known:
            events = core.events.packed(happened.events)
            do("mirror_events", (core.number(len(happened.events)), row.id, happened.revision, happened.at, events))
    for field in copy.contents.fields:
        do("mirror_field", (core.number(), row.id, field.revision, field.field, field.writer, field.text))
    _write_rest(do, row.id, copy.contents)
    do("set_meta", (MARK + copy.name, copy.mark))
    return True


def _do(core: SqliteCore, name: str, values: Sequence[Any]) -> sqlite3.Cursor:
    return core.connection.execute(core.sql[name], values)


def _write_rest(do: Callable[[str, Sequence[Any]], sqlite3.Cursor], case: int, contents: Contents) -> None:
    sleeps = {one.revision for one in contents.happened if any(event.kind == Kind.SLEEPING for event in one.events)}
    for pause in contents.pauses:
        do("mirror_pause", (*pause, pause.revision not in sleeps))
    for effect in contents.effects:
        do("insert_effect", effect)
    for branch in contents.branches:
        do("mirror_branch", (case, *branch))
    for message in contents.messages:
        process, name, correlation, status = message.process, message.name, message.correlation, message.status
        do("mirror_message", (process, name, correlation, case, status, message.body, message.at, message.tenant))
    for write in contents.search:
        for value in write.values:
            do("mirror_search", (case, write.field, value))
        for word in write.words:
            do("mirror_word", (case, write.field, word))


def _remove(core: SqliteCore, process: str, cases: Mapping[int, str], at: float) -> None:
    event = EventWrite(Kind.EXPIRED, None, 0, json.dumps({"process": process, "cases": [*cases]}))
    # As with retention, this event keeps the numbers of the deleted ones from being used again.
    _do(core, "insert_expired", (core.number(), max(cases), at, core.events.packed([event])))
    keeping.expire(core.connection, core.sql, [*cases])
    for name in cases.values():
        _do(core, "delete_meta", (MARK + name,))
