"""Which conversation a Message-ID belongs to: an index beside the cases, which holds hashes only.

Rules for this file: the cases are the record, and this is not. A row is written when its case is there for good, and before
its mail is acknowledged; a crash in between brings the mail again, and with it the row. A row that a power failure took, or
that an older database knows nothing of, makes one conversation two cases, and loses no mail.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple

from pointsman_desk.errors import FileUnusable, IndexUnavailable

ARRIVALS_MAX = 10_000  # of one sender in an hour: more than any limit that is set asks for

_DELETE_IT = "delete it, and answers are still found by the marks of our own mails"

Kind = Literal["mail", "ours", "reference", "key"]
"""What an identifier is: of a mail that came in, of one that we sent, one that mails of a sender refer to, a mail's identity."""


class Place(NamedTuple):
    """Where an identifier leads: a case, and the conversation that it has to be of for this to hold."""

    case: int
    conversation: str


class Threads:
    """The index in `file`, made when it is missing. Raises FileUnusable where it is none, and like every method IndexUnavailable."""

    def __init__(self, file: Path) -> None:
        self._lock = Lock()
        self._file = file
        try:
            self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_sql('tables')}")
        except sqlite3.OperationalError as error:  # locked, read-only, or the disk is full
            raise IndexUnavailable(
                f"the desk's index of mails {file} cannot be opened ({error}); make it writable, make room on the disk, or close the other program that has it open."
            ) from None
        except sqlite3.Error as error:
            raise FileUnusable(f"the desk's index of mails {file} cannot be opened ({error}); {_DELETE_IT}.") from None

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def find(self, kind: Kind, name: str) -> Place | None:
        """Where an identifier leads, or None."""
        row = self._row(kind, name)
        return None if row is None else Place(row[0], row[1])

    def reused(self, message_id: str, key: str) -> bool:
        """Whether another mail than the one with this identity has come under this Message-ID."""
        row = self._row("mail", message_id)
        return row is not None and row[2] != _hash("key", key)

    def add(self, place: Place, names: Iterable[tuple[Kind, str]], key: str) -> None:
        """Let these identifiers lead there; what leads to another conversation goes on to. `key` is the identity of the mail that has them."""
        rows = [(_hash(kind, name), *place, _hash("key", key)) for kind, name in names]
        with self._using() as connection:
            connection.executemany(_sql("add"), rows)

    def follows(self, earlier: int, later: Place) -> None:
        """Note that a case came of an earlier one."""
        with self._using() as connection:
            connection.execute(_sql("add_later"), (earlier, *later))

    def later(self, case: int) -> list[Place]:
        """The cases that came of this one."""
        with self._using() as connection:
            return [Place(*row) for row in connection.execute(_sql("later"), (case,))]

    def arrived(self, sender: str, key: str, now: float, since: float) -> list[float]:
        """Note that a mail came, and return when the mails of its sender came, itself included, as far as after `since`."""
        who = _hash("sender", sender)
        with self._using() as connection:
            connection.execute(_sql("forget_arrivals"), (since,))  # of every sender, or those that never write again would stay for ever
            connection.execute(_sql("add_arrival"), (who, _hash("key", key), now))
            connection.execute(_sql("forget_oldest_arrivals"), (who, ARRIVALS_MAX))
            return [at for (at,) in connection.execute(_sql("arrivals"), (who,))]

    def _row(self, kind: Kind, name: str) -> tuple[int, str, bytes] | None:
        with self._using() as connection:
            row: tuple[int, str, bytes] | None = connection.execute(_sql("find"), (_hash(kind, name),)).fetchone()
        return row

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                problem = f"the desk's index of mails {self._file} cannot be used now ({error})"
                raise IndexUnavailable(f"{problem}; run the desk again when nothing else holds the file and its disk has room.") from error


def shared(sender: str, reference: str) -> str:
    """Return the name of a reference as one sender's: two strangers who answer one newsletter have nothing in common."""
    return f"{sender}\n{reference}"


def provider_name(message_id: str) -> str:
    """Return what a provider's identifier of a mail is known by: what stands before the "@", which some of them leave out."""
    return message_id.strip("<>").partition("@")[0]


@cache
def _sql(name: str) -> str:
    return (resources.files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _hash(kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{kind}\n{name}".encode("utf-8", "surrogatepass")).digest()[:16]
