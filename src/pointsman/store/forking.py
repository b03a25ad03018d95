"""A fork: a file with one case as it was after a revision, which no engine opens. A trial reads it into memory."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pointsman.definition.state import Blob
from pointsman.errors import StoreError
from pointsman.kernel.rows import EffectRow, Transition
from pointsman.store.base import PrivateField
from pointsman.store.memory import MemoryStore
from pointsman.store.sqlite_backup import give_name, unfinished
from pointsman.store.sqlite_core import SqliteCore
from pointsman.store.sqlite_file import FORKED, connect_read_only, explained, forked_case, open_writer
from pointsman.store.statements import statements


@dataclass(frozen=True, slots=True)
class Forked:
    """What a fork of the case `case` holds. Its transitions begin with the start. `incarnation` is that of its first database, so that keys are the same."""

    case: int
    incarnation: str
    transitions: Sequence[Transition]
    effects: Sequence[EffectRow]
    private: Sequence[PrivateField]
    blobs: Sequence[tuple[Blob, bytes]] = ()


def write_fork(path: Path, forked: Forked, *, now: float) -> None:
    """Write a fork to a new file, in one transaction. `now` is in Unix seconds. Raises StoreError, also if the file is there already."""
    if path.exists():
        raise StoreError(f"{path} is there already; name a new file for the fork.")
    if not path.parent.is_dir():
        raise StoreError(f"the folder {path.parent} does not exist; make it, or name another file.")
    with unfinished(path) as temporary:
        _write(temporary, path, forked, now)
        give_name(temporary, path)


def _write(temporary: Path, path: Path, forked: Forked, now: float) -> None:
    with explained(path), contextlib.closing(open_writer(temporary)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        sql = statements("sqlite")
        connection.execute(sql["name_incarnation"], (forked.incarnation,))
        connection.execute(sql["set_meta"], (FORKED, str(forked.case)))
        core = SqliteCore(connection, path)
        core.register((), forked.private)
        for transition in forked.transitions:
            core.apply([transition])
        for effect in forked.effects:
            connection.execute(sql["insert_effect"], effect)
        for blob, content in forked.blobs:
            connection.execute(sql["insert_blob"], (blob.sha256, blob.size, now, content))
        connection.execute("COMMIT")


def read_fork(path: Path) -> tuple[int, MemoryStore]:
    """The number of the case in a fork, and a store in memory with it; the file stays as it is. Raises StoreError if the file is no fork."""
    with contextlib.closing(connect_read_only(path)) as connection:
        case = forked_case(connection)
        if case is None:
            raise StoreError(
                f"{path} is no fork, and a trial changes no other database; make one with `pointsman fork CASE --at REVISION --into FILE`."
            )
        return case, MemoryStore(copy_of=connection)
