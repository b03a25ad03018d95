"""The record of sent replies, which shows whether the cases are lost or older than the replies sent.

The order of writes: first the reply's intent in the cases, then its row here, then the reply is sent. So cases without a reply that has
a row are not the cases from which it was sent. The row of a mail's case is written after the case. After a crash in between, the cases are
ahead of this file, which is harmless. The file contains hashes, no addresses.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from pointsman import Reader
from pointsman_desk.errors import CasesLost, FileUnusable, IndexUnavailable
from pointsman_desk.statements import Connection, statements, transaction

if TYPE_CHECKING:  # it needs psycopg
    from pointsman_desk.shared import SharedTables


class SentReply(NamedTuple):
    """A sent reply: its key in the ledger, its case, and the time in Unix seconds."""

    key: str
    case: int
    conversation: str
    at: float


class SentReplies:
    """The record of sent replies, in a file, which is created if missing, or in the tables that desks share.

    Raises FileUnusable if the file is damaged. Every method raises IndexUnavailable.
    """

    def __init__(self, place: "Path | SharedTables", chance: Random) -> None:
        self.shared = None if isinstance(place, Path) else place
        if isinstance(place, Path):
            self._open(place, chance)
            return
        with self._using() as connection:
            self._identify(connection, chance)

    def _open(self, file: Path, chance: Random) -> None:
        self.file = file
        self._lock = Lock()
        tables = (resources.files(__package__) / "sql" / "sent_replies_tables.sql").read_text(encoding="utf-8")
        try:
            self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {tables}")
            self._identify(self._connection, chance)
        except sqlite3.OperationalError as error:  # locked, read-only, or the disk is full
            raise IndexUnavailable(
                f"{file} cannot be opened ({error}); make it writable, free disk space, or close the other program that has it open."
            ) from None
        except sqlite3.Error as error:
            raise FileUnusable(
                f"{file} cannot be opened ({error}); restore it, or delete it and use `pointsman-desk run --after-restore`."
            ) from None

    def _identify(self, connection: Connection, chance: Random) -> None:
        connection.execute(_sql("identify"), (chance.randbytes(16).hex(),))
        self.identity, self._cases, self._life = connection.execute(_sql("desk")).fetchone()

    def close(self) -> None:
        """Close the file."""
        if self.shared is None:
            self._connection.close()

    @property
    def cases(self) -> str | None:
        """The incarnation of the cases that the desk uses; None before the first run."""
        return str(self._cases) if self._cases is not None else None

    def record_cases(self, incarnation: str) -> None:
        """Record which cases the desk uses, unless there is a record already."""
        if self._cases is None:
            with self._using() as connection:
                connection.execute(_sql("begun"), (incarnation,))
            self._cases = incarnation

    def record(self, reply: SentReply, answers: Iterable[str]) -> None:
        """Record, before it is sent, that a reply answers the mails with these identities."""
        rows = [(_hash("key", mail), reply.key, reply.case, reply.conversation, reply.at, self._life) for mail in answers]
        self._add(rows)

    def record_copy(self, email_id: str, to: str) -> None:
        """Record that there is a copy of a reply to the mail with this Message-ID, sent to the address `to`."""
        self._add([(_hash("copy", f"{email_id}\n{to}"), "", 0, "", 0.0, self._life)])

    def allow(self, answers: Iterable[str], at: float) -> None:
        """Record that a person allows a reply to the mails with these identities, whatever was sent before."""
        self._add([(_hash("key", mail), "", 0, "", at, self._life) for mail in answers])

    def record_case(self, case: int, conversation: str) -> None:
        """Record that a mail has its case. A power failure may lose the record; the next mail's record makes up for it."""
        if self.shared is not None:  # a database is restored as a whole, so the record would say nothing about its cases
            return
        with self._using() as connection:
            connection.execute("PRAGMA synchronous = NORMAL")
            try:
                connection.execute(_sql("take"), (case, conversation))
            finally:
                connection.execute("PRAGMA synchronous = FULL")  # otherwise a reply could be sent before its row is on the disk

    def earlier_reply(self, mail: str) -> SentReply | None:
        """Return the reply that answered this mail before the cases were lost or restored, unless a person has allowed one since."""
        with self._using() as connection:
            rows = connection.execute(_sql("of_mail"), (_hash("key", mail),)).fetchall()
        if not rows or rows[0][4] == self._life:
            return None
        return SentReply(*rows[0][:4])

    def has_copy(self, email_id: str, sender: str) -> bool:
        """Return whether there was a copy of a reply to this mail when the cases were lost or restored from a backup."""
        with self._using() as connection:
            found = connection.execute(_sql("of_mail"), (_hash("copy", f"{email_id}\n{sender}"),)).fetchone()
        return found is not None

    def before_restore(self) -> list[SentReply]:
        """Return the replies that were sent before the cases were lost or restored from a backup, each once."""
        with self._using() as connection:
            rows = connection.execute(_sql("earlier"), (self._life,)).fetchall()
        return [SentReply(*row) for row in rows]

    def newest(self, most: int) -> tuple[Sequence[SentReply], tuple[int, str] | None]:
        """Return the last sent replies and the newest case with a mail; the cases must contain all of them.

        `most` is the number of concurrent sends: any of those replies may be the last one that older cases contain.
        """
        with self._using() as connection:
            rows = connection.execute(_sql("last"), (self._life, most)).fetchall()
            newest = connection.execute(_sql("newest")).fetchone()
        return [SentReply(*row) for row in rows], newest

    def forget_cases(self) -> None:
        """Forget which cases the desk uses, because a person says that they were lost or restored. The replies stay recorded."""
        with self._using(begins=True) as connection:
            connection.execute(_sql("begin_anew"))
            connection.execute(_sql("forget_newest"))
        self._cases, self._life = None, self._life + 1

    def _add(self, rows: Sequence[tuple[bytes, str, int, str, float, int]]) -> None:
        with self._using(begins=True) as connection:
            connection.executemany(_sql("add"), rows)

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
                raise IndexUnavailable(
                    f"{self.file} cannot be used now ({error}); make it writable, free disk space, or close the other program that has it open."
                ) from error


async def missing_from(reader: Reader, sent: Sequence[SentReply], newest: tuple[int, str] | None) -> str | None:
    """Return what happened but is missing from these cases, as a clause; None if nothing is missing."""
    for one in sent:
        if await reader.effect(one.key) is None and not await _erased(reader, one.case, one.conversation):
            at = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M")
            return f"the reply of case {one.case}, sent at {at} UTC, is missing"
    if newest is not None:
        row = await reader.case(newest[0])
        if row is None or row.correlation not in {newest[1], None}:
            return f"case {newest[0]}, which got a mail, is missing"
    return None


async def _erased(reader: Reader, case: int, conversation: str) -> bool:
    row = await reader.case(case)
    return row is not None and row.correlation is None and bool(conversation)


def cases_lost(what: str, cases: object) -> CasesLost:
    """Return the error for cases that are not this desk's."""
    return CasesLost(
        f"{cases} cannot be used: {what}. The desk sends nothing, so that it answers no customer twice. "
        "Restore the right file, or use `pointsman-desk run --after-restore`: it takes in the mails again and recognises answered "
        "ones by the record of sent replies."
    )


def _sql(name: str) -> str:
    return statements(__package__, "sent_replies.sql")[name]


def _hash(kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{kind}\n{name}".encode("utf-8", "surrogatepass")).digest()[:16]
