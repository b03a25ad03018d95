"""An index of the conversation of each Message-ID. It contains only hashes.

The cases are the record; this index is not. A row is written after the commit of its case and before the mail is acknowledged. After a
crash in between, the mail comes again and the row is written then. If a power failure loses a row, one conversation becomes two
cases, and no mail is lost.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal, NamedTuple

from pointsman_desk.errors import FileUnusable, IndexUnavailable
from pointsman_desk.statements import Connection, statements, transaction

if TYPE_CHECKING:  # it needs psycopg
    from pointsman_desk.shared import SharedTables

ARRIVALS_MAX = 10_000  # of one sender in an hour: more than any configured limit

_DELETE_IT = "delete it; answers are still found by the tags of our own mails"

Kind = Literal["mail", "ours", "reference", "key"]
"""The kind of an identifier: of a received mail, of a mail of ours, a reference in mails of one sender, or a mail's identity."""


class Place(NamedTuple):
    """The case of an identifier, and the conversation that the case must have."""

    case: int
    conversation: str


class Threads:
    """The index, in a file, which is created if missing, or in the tables that desks share.

    Raises FileUnusable if the file is damaged; every method raises IndexUnavailable.
    """

    def __init__(self, place: "Path | SharedTables") -> None:
        self.shared = None if isinstance(place, Path) else place
        if isinstance(place, Path):
            self._open(place)

    def _open(self, file: Path) -> None:
        self._lock = Lock()
        self._file = file
        tables = (resources.files(__package__) / "sql" / "threads_tables.sql").read_text(encoding="utf-8")
        try:
            self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {tables}")
        except sqlite3.OperationalError as error:  # locked, read-only, or the disk is full
            raise IndexUnavailable(
                f"the desk's index of mails {file} cannot be opened ({error}); make it writable, free disk space, or close the other program that has it open."
            ) from None
        except sqlite3.Error as error:
            raise FileUnusable(f"the desk's index of mails {file} cannot be opened ({error}); {_DELETE_IT}.") from None

    def close(self) -> None:
        """Close the file."""
        if self.shared is None:
            self._connection.close()

    def find(self, kind: Kind, name: str) -> Place | None:
        """Return the case of an identifier, or None."""
        row = self._row(kind, name)
        return None if row is None else Place(row[0], row[1])

    def reused(self, message_id: str, key: str) -> bool:
        """Return whether another mail than the one with this identity came with this Message-ID."""
        row = self._row("mail", message_id)
        return row is not None and row[2] != _hash("key", key)

    def add(self, place: Place, names: Iterable[tuple[Kind, str]], key: str) -> None:
        """Record the case of these identifiers; each keeps its first conversation. `key` is the identity of their mail."""
        rows = [(_hash(kind, name), *place, _hash("key", key)) for kind, name in names]
        with self._using(begins=True) as connection:
            connection.executemany(_sql("add"), rows)

    def follows(self, earlier: int, later: Place) -> None:
        """Record that a case followed from an earlier one."""
        with self._using() as connection:
            connection.execute(_sql("add_later"), (earlier, *later))

    def later(self, case: int) -> list[Place]:
        """Return the cases that followed from this one."""
        with self._using() as connection:
            return [Place(*row) for row in connection.execute(_sql("later"), (case,))]

    def arrived(self, sender: str, key: str, now: float, since: float) -> list[float]:
        """Record that a mail came, and return the times of all mails of its sender after `since`, including this one."""
        who = _hash("sender", sender)
        with self._using(begins=True) as connection:
            # Of every sender; otherwise rows of senders who never write again would stay for ever.
            connection.execute(_sql("forget_arrivals"), (since,))
            connection.execute(_sql("add_arrival"), (who, _hash("key", key), now))
            connection.execute(_sql("forget_oldest_arrivals"), (who, who, ARRIVALS_MAX))
            return [at for (at,) in connection.execute(_sql("arrivals"), (who,))]

    def _row(self, kind: Kind, name: str) -> tuple[int, str, bytes] | None:
        with self._using() as connection:
            row: tuple[int, str, bytes] | None = connection.execute(_sql("find"), (_hash(kind, name),)).fetchone()
        return row

    @contextmanager
    def _using(self, *, begins: bool = False) -> Iterator[Connection]:
        """Use the connection exclusively; with `begins` the block is a transaction, which an error rolls back."""
        if self.shared is not None:
            with self.shared.using(begins=begins) as connection:
                yield connection
            return
        with self._lock:
            try:
                with transaction(self._connection) if begins else nullcontext():
                    yield self._connection
            except sqlite3.Error as error:
                problem = f"the desk's index of mails {self._file} cannot be used now ({error})"
                raise IndexUnavailable(
                    f"{problem}; close the other program that has it open, or free disk space, then run the desk again."
                ) from error


def shared(sender: str, reference: str) -> str:
    """Return the name of one sender's reference, because two strangers who answer one newsletter are not in one conversation."""
    return f"{sender}\n{reference}"


def provider_name(message_id: str) -> str:
    """Return the part of a provider's identifier before the "@", because some providers leave out the rest."""
    return message_id.strip("<>").partition("@")[0]


def _sql(name: str) -> str:
    return statements(__package__, "threads.sql")[name]


def _hash(kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{kind}\n{name}".encode("utf-8", "surrogatepass")).digest()[:16]
