"""The SQLite file itself: lock it, recognise it, migrate its tables, and explain its errors."""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO, NamedTuple

from pointsman.errors import StoreError, StoreForeign, StoreLocked, StoreNewer, StoreUnwritable
from pointsman.store.statements import migrations, statements

APPLICATION_ID = 0x504D414E  # "PMAN", which marks our files (PRAGMA application_id)
BUSY_TIMEOUT_SECONDS = 5.0  # longer than a backup tool holds a lock, short enough for a person to wait
TRY_SECONDS = 0.5  # the writer waits this long for a lock before it checks for `closing`, so a lock delays closing by as much
LOOKS_MAX = 1_000  # calls of `has_engine`, each of microseconds, that may delay one engine
TRIES_QUIET = 10  # tries for a lock before the writer logs a warning: a short backup is not worth one
STATEMENTS_MAX = 512  # prepared statements to cache: more than the store has, counting each size of those that take many rows
SHARED_MEMORY_BYTES = 65_536  # the shared memory beside a file begins with half of it
WAL_PAGES_MAX = 4_000  # 16 MB: checkpoints are rare, and the WAL stays in the page cache
RETURNS_PAGES = "PRAGMA auto_vacuum = INCREMENTAL"  # of a new file: `keeping.compact` can then return unused pages a few at a time

MOVED = "moved"  # the name in the table meta of where the cases have gone
FORKED = "forked"  # the name in the table meta of a fork: of which case it is, and after which revision
MIRROR = "mirror"  # the name in the table meta of a mirror of cases that run elsewhere
BACKED_UP = (
    "backed_up"  # the name in the table meta of a backup: when it was made (Unix seconds), until somebody confirms what happened since
)

log = logging.getLogger("pointsman")


class Moved(NamedTuple):
    """Where the cases of a file have gone: the URL of a database. Until the move is `finished`, they are in both places or only here."""

    place: str
    finished: bool


class FileLock:
    """The right to be the only engine on a file: an advisory lock on a file beside it, released when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = beside(path, ".lock")
        self._handle: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock. Raises StoreLocked if another engine has it, StoreUnwritable if its file cannot be created."""
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
        """Release the lock. The lock file stays, because removing it would race with the next engine."""
        if self._handle is not None:
            fcntl.flock(self._handle, fcntl.LOCK_UN)  # a forked child may hold the same open file
            self._handle.close()
            self._handle = None


def has_engine(path: Path | str) -> bool:
    """Return whether an engine has the database open now, or True if that cannot be determined. Changes nothing."""
    path = Path(path)
    try:
        handle = os.open(beside(path, ".lock"), os.O_RDONLY)
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


def engine_process(path: Path | str) -> int | None:
    """Return the process that opened the database last, as its lock file says; None if that is unknown."""
    try:
        return int(beside(Path(path), ".lock").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def beside(path: Path, suffix: str) -> Path:
    """The file of this suffix beside the database itself, also where `path` is a symbolic link to it: SQLite's log is there too."""
    place = real(path)
    return place.with_name(place.name + suffix)


def real(path: Path) -> Path:
    """The absolute path without symbolic links. Unlike `Path.resolve`, it also answers for links that form a circle."""
    return Path(os.path.realpath(path))


def identity(path: str) -> tuple[int, int] | None:
    """Which file is at `path` (its device and inode); None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - at each commit, and half as long as `Path.stat`
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _locked(handle: IO[str]) -> bool:
    """Take the lock, and return whether that succeeded. Only another engine can prevent it, not a call of `has_engine`."""
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


def open_writer(path: Path, *, moved: bool = False, backup: bool = False, mirror: bool = False) -> sqlite3.Connection:
    """Open the file for its only engine and migrate it. Raises StoreError with the fix.

    It does so for a file whose cases have moved, unless `moved`, for a backup that nobody has confirmed, unless `backup`, and for a mirror,
    unless `mirror`.
    """
    _refuse_no_file(path)
    with explained(path):
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_SECONDS, cached_statements=STATEMENTS_MAX
        )
        try:
            _recognise(connection, path)
            if not moved:
                _refuse_moved(connection, path)
            if not backup:
                _refuse_backup(connection, path)
            _refuse_fork(connection, path)
            if not mirror:
                _refuse_mirror(connection, path)
            _begin_log(connection, path)
            _refuse_unwritable(connection, path)
            migrate(connection)
            connection.execute(f"PRAGMA busy_timeout = {int(TRY_SECONDS * 1_000)}")
        except BaseException:
            connection.close()
            raise
    return connection


def begin(connection: sqlite3.Connection, path: Path, *, closing: Callable[[], bool]) -> None:
    """Begin a transaction once no other program locks the file. Raises SQLite's error if the engine is `closing` meanwhile."""
    for tries in count(1):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_locked(error) or closing():
                raise
            if tries == TRIES_QUIET:
                hint = "look for a running backup, or a tool such as sqlite3 with an open transaction"
                log.warning("%s is locked by another program, and the engine waits for it: %s", path, hint)
        else:
            if tries > TRIES_QUIET:
                log.warning("%s is no longer locked, and the engine goes on", path)
            return


def is_locked(error: sqlite3.Error) -> bool:
    """Return whether another program holds the file's lock."""
    return (getattr(error, "sqlite_errorname", "") or "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def moved_to(connection: sqlite3.Connection) -> Moved | None:
    """Where the cases of this file have gone, or are going; None if they are here."""
    row = connection.execute(statements("sqlite")["select_meta"], (MOVED,)).fetchone() if _version(connection) else None
    return None if row is None else Moved(**json.loads(row[0]))


def tell_moved(connection: sqlite3.Connection, path: Path) -> str | None:
    """A sentence that says where the cases of this file have gone, or are going, and what to do; None if they are here."""
    moved = moved_to(connection)
    if moved is None:
        return None
    if moved.finished:
        return f"the cases of {path} have moved to {moved.place}; open that instead."
    return f"the cases of {path} are being moved to {moved.place}; run `pointsman move --from {path} --to '{moved.place}'` to finish that."


def backed_up_at(connection: sqlite3.Connection) -> float | None:
    """When this file was copied as a backup (Unix seconds); None if it is none, or if somebody has confirmed what happened since."""
    row = connection.execute(statements("sqlite")["select_meta"], (BACKED_UP,)).fetchone() if _version(connection) else None
    return None if row is None else float(row[0])


def why_closed(connection: sqlite3.Connection, path: Path) -> str:
    """Why no engine may open this file, with the fix; empty if one may."""
    try:
        _refuse_moved(connection, path)
        _refuse_backup(connection, path)
        _refuse_fork(connection, path)
        _refuse_mirror(connection, path)
    except StoreError as error:
        return str(error)
    return ""


def tables_of(connection: sqlite3.Connection) -> int:
    """The number of the last migration that ran on this file."""
    return _version(connection)


def refuse_older(path: Path) -> None:
    """Raise StoreError if the file is not one of this release: of an earlier one, a later one or another program, or if there is none."""
    with contextlib.closing(connect_to_look(path)) as connection:
        version, newest = _version(connection), migrations("sqlite")[-1][0]
    if version < newest:
        raise StoreError(
            f"{path} was written by an earlier release (tables {version}, here {newest}); open an engine of this release on it, stop it,"
            " and repeat the command."
        )


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the file read-only. Raises StoreError with the fix."""
    connection = connect_to_look(path)
    try:
        with explained(path):
            return _up_to_date(connection)
    except BaseException:
        connection.close()
        raise


def connect_to_look(path: Path) -> sqlite3.Connection:
    """Open the file read-only as it is, also one of an earlier release. Raises StoreError with the fix."""
    _refuse_no_file(path)
    if not path.exists():
        raise StoreError(f"{path} does not exist; start an engine on it first, or name another file.")
    if not os.access(path, os.R_OK):
        raise StoreUnwritable(f"{path} cannot be read; give this user read permission, or run as a user who has it.")
    try:
        return _look(path, "mode=ro")
    except StoreUnwritable:
        # Reading a database with a WAL needs a shared-memory file beside it. Without a WAL nobody is writing, so the file can be
        # opened as immutable, even in a read-only folder (https://www.sqlite.org/wal.html#readonly).
        if beside(path, "-wal").exists():
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
        except BaseException:
            connection.close()
            raise
    return connection


def _refuse_no_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        what = "folder" if path.is_dir() else "device or a pipe"
        raise StoreForeign(f"{path} is a {what}, not a file; name another one; it was not changed.")


def _up_to_date(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return the connection, or for a file of an earlier release one to a migrated copy: a reader never changes the file."""
    if _version(connection) == migrations("sqlite")[-1][0]:
        return connection
    copy = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # SQLite deletes it when the connection closes
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


def _is_full(path: Path) -> bool:
    """Whether the disk has no room for the shared memory that SQLite needs beside a file to read it."""
    try:
        return shutil.disk_usage(real(path).parent).free < SHARED_MEMORY_BYTES
    except OSError:
        return False


def explain(path: Path, error: Exception) -> StoreError:
    """Return a StoreError that says what a SQLite error means for this file, and the fix."""
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and _is_full(path)):
        return StoreUnwritable(f"the disk that holds {path} is full; free some space and start again: nothing that was confirmed is lost.")
    if isinstance(error, sqlite3.Error) and is_locked(error):
        return StoreLocked(f"{path} is locked by another program; close that one and start again.")
    if name.startswith("SQLITE_NOTADB"):
        return StoreForeign(f"{path} is not a SQLite database; name another file; this one was not changed.")
    if isinstance(error, ValueError) or str(error).startswith("Could not decode to UTF-8"):
        # The text of such an error quotes the value, which is what a customer wrote.
        return StoreForeign(f"{path} is damaged (a text in it is not what any engine wrote); restore it from a backup; it was not changed.")
    if name.startswith("SQLITE_CORRUPT"):
        return StoreForeign(f"{path} is damaged ({error}); restore it from a backup; it was not changed.")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return StoreUnwritable(f"{path} cannot be written ({error}); give the engine a file and a folder that it may write to.")
    if name.startswith("SQLITE_IOERR"):
        return StoreUnwritable(
            f"{path} cannot be read or written ({name}: {error}); check the disk and start again: nothing that was confirmed is lost."
        )
    if str(error).endswith("already exists"):  # a migration creates a table or view, and an author's transaction has taken its name
        return StoreError(f"{path} has a table of yours whose name the engine needs ({error}); rename it and start again.")
    return StoreError(f"{path}: {error} ({name or type(error).__name__})")


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file of another program or of a newer release. An empty file is accepted."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (application or tables):
        raise StoreForeign(f"{path} belongs to another program; name another file; this one was not changed.")
    newest = migrations("sqlite")[-1][0]
    if _version(connection) > newest:
        raise StoreNewer(
            f"{path} was written by a newer release (tables {_version(connection)}, known {newest}); upgrade pointsman to open it."
        )


def _begin_log(connection: sqlite3.Connection, path: Path) -> None:
    """Switch to a WAL that is flushed at each commit (with synchronous = NORMAL, a power failure would lose commits)."""
    # Fetch all rows, because SQLite raises the error of a failed change after the first row. If a WAL is not possible, SQLite goes
    # on without one, and a power failure may then undo the last commit.
    if _version(connection) == 0:
        connection.execute(RETURNS_PAGES)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchall()[0][0]
    if mode != "wal":
        raise StoreUnwritable(f"{path} cannot have a write-ahead log; put it on a local disk.")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # erased content must not stay in unused pages; builds of SQLite differ
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}")
    # A long read lets the WAL grow; shorten it again once the read has ended.
    connection.execute(f"PRAGMA journal_size_limit = {WAL_PAGES_MAX * 4_096}")
    # If a flush of a dead engine failed, its WAL may never have reached the disk, although the operating system returns it from
    # the page cache and counts it as flushed. So checkpoint it into the file and start a new WAL before building on it
    # (https://wiki.postgresql.org/wiki/Fsync_Errors). A reader may delay that.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _refuse_empty(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection) == 0:
        raise StoreForeign(f"{path} holds no cases; name the file that an engine works on.")


def _refuse_moved(connection: sqlite3.Connection, path: Path) -> None:
    if (told := tell_moved(connection, path)) is not None:
        raise StoreError(told)


def _refuse_backup(connection: sqlite3.Connection, path: Path) -> None:
    at = backed_up_at(connection)
    if at is not None:
        raise StoreError(
            f"{path} is a backup of {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC, which does not know the effects that were called"
            f" since, and nothing is called; find out what happened since, and then run `pointsman migrate {path} --confirm-history`."
        )


def forked_case(connection: sqlite3.Connection) -> int | None:
    """The number of the case in this file, if it is a fork."""
    row = connection.execute(statements("sqlite")["select_meta"], (FORKED,)).fetchone() if _version(connection) else None
    return None if row is None else int(row[0])


def _refuse_fork(connection: sqlite3.Connection, path: Path) -> None:
    case = forked_case(connection)
    if case is not None:
        raise StoreError(
            f"{path} is a fork of case {case} for trying a fix, and no engine runs it; look at it with `pointsman show {case} --db {path}`, or try"
            f" it with `pointsman try --db {path}`."
        )


def mirrors(connection: sqlite3.Connection) -> bool:
    """Whether this file is a mirror of cases that run elsewhere."""
    found = connection.execute(statements("sqlite")["select_meta"], (MIRROR,)).fetchone() if _version(connection) else None
    return found is not None


def _refuse_mirror(connection: sqlite3.Connection, path: Path) -> None:
    if mirrors(connection):
        raise StoreError(
            f"{path} is a mirror of cases that run on Restate, and no engine runs them here; repeat this while"
            f" `pointsman restate pages --db {path} --ingress URL --admin URL` runs, or use RestateClient."
        )


def refuse_mirror(path: Path) -> None:
    """Raise StoreError if a file is a mirror. What else is wrong with it is left to those who open it."""
    try:
        connection = connect_read_only(path)
    except StoreError:
        return
    with contextlib.closing(connection):
        _refuse_mirror(connection, path)


def _refuse_unwritable(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection) == 0 and not _writable(path):
        raise StoreUnwritable(f"{path} cannot be written; give the engine a file that it may write to.")


def migrate(connection: sqlite3.Connection) -> None:
    """Run the missing migrations in one transaction: SQLite's DDL is transactional. An empty file becomes a copy of one that has the tables."""
    version = _version(connection)
    missing = tuple((number, text) for number, text in migrations("sqlite") if number > version)
    if missing and _is_empty(connection):
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
            made.deserialize(image(missing))
            made.execute(statements("sqlite")["name_incarnation"], (None,))
            made.backup(connection, progress=_refuse_locked)
    elif missing:
        _run(connection, missing)


@cache
def image(texts: tuple[tuple[int, str], ...]) -> bytes:
    """The database that these migrations make. To copy it takes a tenth of the time of making it."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        made.execute(RETURNS_PAGES)
        _run(made, texts)
        return made.serialize()


def _run(connection: sqlite3.Connection, texts: Sequence[tuple[int, str]]) -> None:
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {texts[-1][0]};"
    connection.executescript("\n".join(["BEGIN IMMEDIATE;", *(text for _, text in texts), marks, "COMMIT;"]))


def _refuse_locked(status: int, *_: int) -> None:
    """Give up a copy that another program's lock holds up: Python would try for ever."""
    if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode, error.sqlite_errorname = status, "SQLITE_BUSY"
        raise error


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK) if path.exists() else os.access(path.parent, os.W_OK)
