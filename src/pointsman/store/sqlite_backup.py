"""Copy a SQLite file, also while an engine writes to it, and put a copy back, which no engine opens before somebody has confirmed it."""

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import NamedTuple

from pointsman.errors import StoreError, StoreForeign, StoreUnwritable
from pointsman.kernel.rows import EffectRow
from pointsman.kernel.snapshot import Status
from pointsman.store.base import Failpoints, no_failpoints
from pointsman.store.sqlite_file import (
    BACKED_UP,
    FileLock,
    backed_up_at,
    beside,
    connect_to_look,
    explained,
    has_engine,
    identity,
    migrate,
    mirrors,
    open_writer,
    real,
    refuse_older,
)
from pointsman.store.sqlite_reader import SqliteReader
from pointsman.store.statements import statements
from pointsman.store.stored_rows import case_count, effect_row

PARTIAL = ".partial"  # how the name of a copy ends that is not complete

Mark = Callable[[sqlite3.Connection], float]
"""Says when a copy was made (Unix seconds), from what is in it."""


class Copied(NamedTuple):
    """A copy of a file: when it was made (Unix seconds), its bytes, its cases by status, and its effects without an outcome."""

    path: Path
    at: float
    size: int
    cases: dict[Status, int]
    unsettled: tuple[EffectRow, ...]


def back_up(path: Path, to: Path, *, now: float, failpoints: Failpoints = no_failpoints) -> Copied:
    """Copy the cases of a file, as they are at `now` (Unix seconds), to a new file, also while an engine writes to it.

    The copy is opened, checked and counted before it gets its name. Raises StoreError, also for a file of an earlier release; then there is no copy.
    """
    refuse_older(path)
    _refuse_mirror(path)
    return _copied(path, to, lambda _: now, failpoints)


def restore(backup: Path, to: Path, *, failpoints: Failpoints = no_failpoints) -> Copied:
    """Copy a backup to a new file. No engine opens that before `confirm`. Raises StoreError; then there is no new file.

    A copy that another tool has made is as old as its last commit. A backup of an earlier release is migrated in the new file, before an engine
    could open it; the backup stays as it is.
    """
    return _copied(backup, to, _last_commit, failpoints)


def confirm(path: Path) -> bool:
    """Let engines open a copy: somebody knows what happened since it was made. Returns False if it is none. Raises StoreError."""
    with closing(connect_to_look(path)) as connection:
        if backed_up_at(connection) is None:
            return False
    lock = FileLock(path)
    lock.acquire()
    try:
        with closing(open_writer(path, backup=True)) as writer, explained(path):
            writer.execute(statements("sqlite")["delete_meta"], (BACKED_UP,))
    finally:
        lock.release()
    return True


def _refuse_mirror(path: Path) -> None:
    with closing(connect_to_look(path)) as connection:
        if mirrors(connection):
            raise StoreError(
                f"{path} is a mirror of cases on Restate, which no backup can bring back; back up the data of that server instead, and make the"
                " mirror again with `pointsman restate mirror --admin URL`."
            )


def _last_commit(connection: sqlite3.Connection) -> float:
    saved, later = connection.execute(statements("sqlite")["highest_time"]).fetchone()
    return max(float(saved), later or 0.0)


def _copied(path: Path, to: Path, made_at: Mark, failpoints: Failpoints) -> Copied:
    _refuse_taken(to)
    with unfinished(to) as temporary:
        _copy(path, temporary, to, made_at)
        failpoints("backup.copied")
        found = _checked(temporary, to)
        failpoints("backup.checked")
        give_name(temporary, to)
    failpoints("backup.named")
    return found


def _refuse_taken(to: Path) -> None:
    left = next((file for file in (real(to), *(beside(to, suffix) for suffix in ("-wal", "-shm", "-journal"))) if file.exists()), None)
    if left is not None or has_engine(to):
        raise StoreError(f"{left or to} exists already, and nothing is overwritten; name a new file.")


@contextmanager
def unfinished(to: Path) -> Iterator[Path]:
    """Give a file beside `to`, which only its owner can read, and delete it at the end. Raises StoreUnwritable.

    What a killed program has left there is deleted: it has values that may have been erased since.
    """
    for left in to.parent.glob(f".{escape(to.name)}.*{PARTIAL}"):
        _delete_if_left(left)
    try:
        handle, temporary = _locked_file(to)
    except OSError as error:
        raise StoreUnwritable(f"{to} cannot be written ({error.strerror}); name a file in a folder that this user may write to.") from None
    try:
        yield temporary
    finally:
        _delete(temporary)
        os.close(handle)


def _locked_file(to: Path) -> tuple[int, Path]:
    """A new file beside `to`, with a lock that says that a program writes to it. Raises OSError."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{to.name}.", suffix=PARTIAL, dir=to.parent)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if identity(name) is not None:  # another program may have taken it for a left one before it was locked
            return handle, Path(name)
        os.close(handle)


def _delete_if_left(file: Path) -> None:
    with suppress(OSError), file.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _delete(file)


def _delete(file: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _copy(path: Path, temporary: Path, to: Path, made_at: Mark) -> None:
    """Copy all pages as of one moment, and note when the copy was made. The file needs no write-ahead log before an engine opens it."""
    with closing(connect_to_look(path)) as source, closing(sqlite3.connect(temporary, isolation_level=None)) as copy, explained(to):
        source.backup(copy)
        migrate(copy)
        at = backed_up_at(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        copy.execute("PRAGMA synchronous = FULL")
        copy.execute(statements("sqlite")["set_meta"], (BACKED_UP, repr(made_at(copy) if at is None else at)))
    shutil.copymode(path, temporary)


def _checked(copy: Path, to: Path) -> Copied:
    """Open the copy, have SQLite check each page and index, and count its cases. Raises StoreForeign for a damaged one."""
    with SqliteReader(copy) as reader:
        return reader.look(lambda connection, sql: _look(connection, sql, to, copy.stat().st_size))


def _look(connection: sqlite3.Connection, sql: Mapping[str, str], to: Path, size: int) -> Copied:
    problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    counts: dict[Status, int] = {}
    for count in map(case_count, connection.execute(sql["count_places"], {"process": None})):
        counts[count.status] = counts.get(count.status, 0) + count.cases
    [there] = connection.execute(sql["count_all_cases"]).fetchone()
    if problem == "ok" and there != sum(counts.values()):
        problem = f"it has {there:,} cases and counts {sum(counts.values()):,}"
    if problem != "ok":
        raise StoreForeign(
            f"the copy is damaged ({problem}), and so may be its original; nothing was written to {to}; look at the disk, and at an earlier backup."
        )
    unsettled = tuple(map(effect_row, connection.execute(sql["select_unsettled"])))
    return Copied(to, backed_up_at(connection) or 0.0, size, counts, unsettled)


def give_name(temporary: Path, to: Path) -> None:
    """Give a file its name, once all of it is on the disk. Raises StoreError if another file has the name by now."""
    _flush(temporary)
    try:
        os.link(temporary, to)
    except FileExistsError:
        raise StoreError(f"{to} exists already, and nothing is overwritten; name a new file.") from None
    except OSError:  # the disk has no hard links
        temporary.rename(to)
    _flush(to.parent)


def _flush(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
