"""The SQLite file itself: lock it, recognise it, bring its tables up to date, and say in a sentence what is wrong with it."""

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import IO

from pointsman.errors import StoreError, StoreForeign, StoreLocked, StoreNewer, StoreUnwritable
from pointsman.store.statements import migrations

APPLICATION_ID = 0x504D414E  # "PMAN": tells our files from other programs' (SQLite's PRAGMA application_id)
BUSY_TIMEOUT_SECONDS = 5.0  # longer than a backup tool holds a lock, shorter than a person's patience
TRY_SECONDS = 0.5  # between two looks of the writer whether a lock has gone, and so how long closing may take behind one
LOOKS_MAX = 1_000  # calls of `has_engine`, each of microseconds, that may delay one engine
TRIES_QUIET = 10  # of the writer, before the log is told of a lock: a short backup is no news
WAL_PAGES_MAX = 4_000  # 16 MB: a checkpoint now and then, while the log stays in the page cache

log = logging.getLogger("pointsman")


class FileLock:
    """The right to be the only engine on a file: an advisory lock on a file beside it, gone with the process."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._handle: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock. Raises StoreLocked where another engine has it, StoreUnwritable where it cannot be made."""
        try:
            handle = self._path.open("a+", encoding="utf-8")
        except OSError as error:
            raise StoreUnwritable(
                f"{self._path} cannot be written ({error.strerror}); give the engine a folder that it may write to."
            ) from None
        if not _locked(handle):
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise StoreLocked(
                f"{self._path.with_suffix('')} is open in another engine (process {holder}); stop that one, or do the work through it."
            )
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        self._handle = handle

    def release(self) -> None:
        """Let go; the file stays, because removing it would race with the next engine."""
        if self._handle is not None:
            fcntl.flock(self._handle, fcntl.LOCK_UN)  # a forked child may hold the same open file
            self._handle.close()
            self._handle = None


def has_engine(path: Path | str) -> bool:
    """Return whether an engine has the database open now; True also if that cannot be found out. Changes nothing."""
    path = Path(path)
    try:
        handle = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _locked(handle: IO[str]) -> bool:
    """Take the lock, and return whether that succeeded. Only another engine prevents it, not a call of `has_engine`."""
    for _ in range(LOOKS_MAX):
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        fcntl.flock(handle, fcntl.LOCK_UN)
    return False


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the file for its one engine and bring it up to date. Raises StoreError with the mend."""
    _refuse_no_file(path)
    with explained(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_SECONDS)
        try:
            _recognise(connection, path)
            _begin_log(connection, path)
            _refuse_unwritable(connection, path)
            migrate(connection)
            connection.execute(f"PRAGMA busy_timeout = {int(TRY_SECONDS * 1_000)}")
        except BaseException:
            connection.close()
            raise
    return connection


def begin(connection: sqlite3.Connection, path: Path, *, closing: Callable[[], bool]) -> None:
    """Begin a transaction, as soon as no other program has one; while the engine is `closing`, raises SQLite's error instead."""
    for tries in count(1):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_locked(error) or closing():
                raise
            if tries == TRIES_QUIET:
                told = "look for a backup that is running, or for a tool such as sqlite3 with an open transaction"
                log.warning("%s is locked by another program, and the engine waits for it: %s", path, told)
        else:
            if tries > TRIES_QUIET:
                log.warning("%s is no longer locked, and the engine goes on", path)
            return


def is_locked(error: sqlite3.Error) -> bool:
    """Whether another program holds the file at the moment."""
    return (getattr(error, "sqlite_errorname", "") or "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the file for looking only. Raises StoreError with the mend."""
    _refuse_no_file(path)
    if not path.exists():
        raise StoreError(f"{path} does not exist; start an engine on it first, or name another file.")
    if not os.access(path, os.R_OK):
        raise StoreUnwritable(f"{path} cannot be read; look at it as a user who may, or let this one read it.")
    try:
        return _look(path, "mode=ro")
    except StoreUnwritable:
        # Looking at a database with a log takes a shared-memory file beside it. Without a log nobody is writing, and it can be
        # read as it lies, also where nothing may be written (https://www.sqlite.org/wal.html#readonly).
        if path.with_name(path.name + "-wal").exists():
            raise
        return _look(path, "mode=ro&immutable=1")


def _look(path: Path, how: str) -> sqlite3.Connection:
    with explained(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{how}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_SECONDS,
        )
        try:
            _recognise(connection, path)
            _refuse_empty(connection, path)
            return _up_to_date(connection)
        except BaseException:
            connection.close()
            raise


def _refuse_no_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        what = "folder" if path.is_dir() else "device or a pipe"
        raise StoreForeign(f"{path} is a {what}, not a file; name another one, it was left as it is.")


def _up_to_date(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection, or one to a copy with today's tables where the file is of an earlier release: looking changes no file."""
    if _version(connection) == migrations("sqlite")[-1][0]:
        return connection
    copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # it lives as long as the connection
    try:
        connection.backup(copy)
        migrate(copy)
        copy.execute("PRAGMA query_only = ON")
    except BaseException:
        copy.close()
        raise
    connection.close()
    return copy


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours (https://www.sqlite.org/rescode.html)."""
    try:
        yield
    except (sqlite3.Error, ValueError) as error:  # ValueError: a damaged page may hold an unknown status, or a text that is not UTF-8
        raise explain(path, error) from error


def explain(path: Path, error: Exception) -> StoreError:
    """Say what an SQLite error means for this file, and the mend."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL"):
        return StoreUnwritable(f"the disk that holds {path} is full; free some space and start again: nothing that was answered is lost.")
    if isinstance(error, sqlite3.Error) and is_locked(error):
        return StoreLocked(f"{path} is locked by another program; close that one and start again.")
    if name.startswith("SQLITE_NOTADB"):
        return StoreForeign(f"{path} is not a SQLite database; name another file, it was left as it is.")
    if isinstance(error, ValueError) or str(error).startswith("Could not decode to UTF-8"):
        # The text of such an error quotes the value, which is what a customer wrote.
        return StoreForeign(
            f"{path} is damaged (a text in it is not what any engine wrote); restore it from a backup, it was left as it is."
        )
    if name.startswith("SQLITE_CORRUPT"):
        return StoreForeign(f"{path} is damaged ({error}); restore it from a backup, it was left as it is.")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreUnwritable(f"{path} cannot be written ({error}); give the engine a file and a folder that it may write to.")
    if name.startswith("SQLITE_IOERR"):
        return StoreUnwritable(
            f"{path} cannot be read or written ({name}: {error}); check the disk and start again: nothing that was answered is lost."
        )
    return StoreError(f"{path}: {error} ({name or type(error).__name__})")


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that is somebody else's, or from a newer release; an empty one is ours to fill."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (application or tables):
        raise StoreForeign(f"{path} belongs to another program; name another file, it was left as it is.")
    newest = migrations("sqlite")[-1][0]
    if _version(connection) > newest:
        raise StoreNewer(
            f"{path} was written by a newer release (tables {_version(connection)}, known {newest}); upgrade pointsman to open it."
        )


def _begin_log(connection: sqlite3.Connection, path: Path) -> None:
    """Let commits go to a log that is flushed with each of them (NORMAL loses answered commits at a power failure)."""
    # Read to the end, because the error of a change that fails comes behind its answer. Where no log is possible, SQLite goes on
    # without one, and a power failure may then undo the last commit.
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchall()[0][0]
    if mode != "wal":
        raise StoreUnwritable(f"{path} cannot have a log beside it; put it on a local disk.")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # what was erased is not left in unused space, whatever SQLite was built with
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}")
    # Somebody who looks at one moment for long lets the log grow; when he has gone, it is to become short again.
    connection.execute(f"PRAGMA journal_size_limit = {WAL_PAGES_MAX * 4_096}")
    # What stands in the log of an engine that died may never have reached the disk, if a flush of its failed: the system shows
    # it from its memory all the same, and counts it as flushed. So it is written again, to the file, and the log begins afresh
    # before anything is built on it (https://wiki.postgresql.org/wiki/Fsync_Errors). A reader in the way may put that off.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _refuse_empty(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection) == 0:
        raise StoreForeign(f"{path} holds no cases; name the file that an engine works on.")


def _refuse_unwritable(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection) == 0 and not _writable(path):
        raise StoreUnwritable(f"{path} cannot be written; give the engine a file that it may write to.")


def migrate(connection: sqlite3.Connection) -> None:
    """Run the migrations that the database lacks, each whole or not at all: SQLite's DDL is transactional."""
    for number, text in migrations("sqlite"):
        if number <= _version(connection):
            continue
        connection.execute("BEGIN IMMEDIATE")
        for statement in _split(text):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


def _split(text: str) -> Iterator[str]:
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK) if path.exists() else os.access(path.parent, os.W_OK)
