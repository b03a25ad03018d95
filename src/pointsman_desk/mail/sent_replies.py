"""The record of sent replies, kept beside the cases: it shows when the cases are lost, or older than the replies sent.

Rules for this file: a reply's row is on the disk before the reply leaves, and the reply's intent is in the cases before that. So
cases that do not know a reply which has a row are not those that it left from. The row of a mail's case is written after the case.
A crash between two of these lines leaves the cases ahead of this file, which is no sign of anything. It holds hashes, no addresses.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from random import Random
from threading import Lock
from typing import NamedTuple

from pointsman import Reader
from pointsman_desk.errors import CasesLost, FileUnusable, IndexUnavailable
from pointsman_desk.statements import statements


class SentReply(NamedTuple):
    """A reply that left: its key in the ledger, its case there, and when, in Unix seconds."""

    key: str
    case: int
    conversation: str
    at: float


class SentReplies:
    """The record of sent replies; a missing file is created. Raises FileUnusable if it is damaged. Every method raises IndexUnavailable."""

    def __init__(self, file: Path, chance: Random) -> None:
        self.file = file
        self._lock = Lock()
        tables = (resources.files(__package__) / "sql" / "sent_replies_tables.sql").read_text(encoding="utf-8")
        try:
            self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {tables}")
            self._connection.execute(_sql("identify"), (chance.randbytes(16).hex(),))
            self.identity, self._cases, self._life = self._connection.execute(_sql("desk")).fetchone()
        except sqlite3.OperationalError as error:  # locked, read-only, or the disk is full
            raise IndexUnavailable(
                f"{file} cannot be opened ({error}); make it writable, make room on the disk, or close the other program that has it open."
            ) from None
        except sqlite3.Error as error:
            raise FileUnusable(
                f"{file} cannot be opened ({error}); restore it, or delete it and use `pointsman-desk run --after-restore`."
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def cases(self) -> str | None:
        """The incarnation of the cases that the desk works on; None before there are any."""
        return str(self._cases) if self._cases is not None else None

    def record_cases(self, incarnation: str) -> None:
        """Note which cases the desk works on, now that they are there."""
        if self._cases is None:
            with self._using() as connection:
                connection.execute(_sql("begun"), (incarnation,))
            self._cases = incarnation

    def record(self, reply: SentReply, answers: Iterable[str]) -> None:
        """Note, before it leaves, that a reply answers the mails with these identities."""
        rows = [(_hash("key", mail), reply.key, reply.case, reply.conversation, reply.at, self._life) for mail in answers]
        self._add(rows)

    def record_copy(self, email_id: str, to: str) -> None:
        """Note that there is a copy of a reply to the mail with this Message-ID, which went to the address `to`."""
        self._add([(_hash("copy", f"{email_id}\n{to}"), "", 0, "", 0.0, self._life)])

    def allow(self, answers: Iterable[str], at: float) -> None:
        """Note that a person wants a reply to the mails with these identities to leave, whatever left before."""
        self._add([(_hash("key", mail), "", 0, "", at, self._life) for mail in answers])

    def record_case(self, case: int, conversation: str) -> None:
        """Record that a mail has its case. A power failure may lose the record; the next mail's record makes up for it."""
        with self._using() as connection:
            connection.execute("PRAGMA synchronous = NORMAL")
            try:
                connection.execute(_sql("take"), (case, conversation))
            finally:
                connection.execute("PRAGMA synchronous = FULL")  # or a reply could leave before its row is on the disk

    def earlier_reply(self, mail: str) -> SentReply | None:
        """The reply that answered the mail with this identity before the cases were lost or restored, unless allowed since."""
        with self._using() as connection:
            rows = connection.execute(_sql("of_mail"), (_hash("key", mail),)).fetchall()
        if not rows or rows[0][4] == self._life:
            return None
        return SentReply(*rows[0][:4])

    def has_copy(self, email_id: str, sender: str) -> bool:
        """Whether there was a copy of a reply to this mail when the cases were lost or restored from a backup."""
        with self._using() as connection:
            found = connection.execute(_sql("of_mail"), (_hash("copy", f"{email_id}\n{sender}"),)).fetchone()
        return found is not None

    def before_restore(self) -> list[SentReply]:
        """The replies that left before the cases were lost or restored from a backup, each once."""
        with self._using() as connection:
            rows = connection.execute(_sql("earlier"), (self._life,)).fetchall()
        return [SentReply(*row) for row in rows]

    def newest(self, most: int) -> tuple[Sequence[SentReply], tuple[int, str] | None]:
        """The last replies that left, and the newest case that a mail came to: what the cases have to know.

        Of the replies that are under way at once, `most`, any may be the last that older cases know.
        """
        with self._using() as connection:
            rows = connection.execute(_sql("last"), (self._life, most)).fetchall()
            newest = connection.execute(_sql("newest")).fetchone()
        return [SentReply(*row) for row in rows], newest

    def forget_cases(self) -> None:
        """Forget which cases the desk works on, because a person says that they were lost or restored. The record is kept."""
        with self._using(begins=True) as connection:
            connection.execute(_sql("begin_anew"))
            connection.execute(_sql("forget_newest"))
        self._cases, self._life = None, self._life + 1

    def _add(self, rows: Sequence[tuple[bytes, str, int, str, float, int]]) -> None:
        with self._using(begins=True) as connection:
            connection.executemany(_sql("add"), rows)

    @contextmanager
    def _using(self, *, begins: bool = False) -> Iterator[sqlite3.Connection]:
        """Hold the connection exclusively; with `begins` the block is a transaction, which an error rolls back."""
        with self._lock:
            try:
                if begins:
                    self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                if begins:
                    self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise IndexUnavailable(
                    f"{self.file} cannot be used now ({error}); make it writable, make room on the disk, or close the other program that has it open."
                ) from error
            finally:
                if self._connection.in_transaction:
                    with suppress(sqlite3.Error):  # then SQLite has rolled back itself
                        self._connection.execute("ROLLBACK")


async def missing_from(reader: Reader, sent: Sequence[SentReply], newest: tuple[int, str] | None) -> str | None:
    """Return what happened but is missing from these cases, as a clause; None if nothing is missing."""
    for one in sent:
        if await reader.effect(one.key) is None and not await _erased(reader, one.case, one.conversation):
            at = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M")
            return f"they do not know the reply of case {one.case} that was sent at {at} UTC"
    if newest is not None:
        row = await reader.case(newest[0])
        if row is None or row.correlation not in {newest[1], None}:
            return f"they do not have case {newest[0]}, which a mail came to"
    return None


async def _erased(reader: Reader, case: int, conversation: str) -> bool:
    row = await reader.case(case)
    return row is not None and row.correlation is None and bool(conversation)


def cases_lost(what: str, cases: Path) -> CasesLost:
    """Return the error for cases that are not those of this desk."""
    return CasesLost(
        f"{cases} is not what this desk has worked on: {what}. Nothing is sent, so that no customer is answered twice. "
        "Restore the right file, or use `pointsman-desk run --after-restore`: it takes in the mails again and recognises answered "
        "ones by the record of sent replies."
    )


def _sql(name: str) -> str:
    return statements(__package__, "sent_replies.sql")[name]


def _hash(kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{kind}\n{name}".encode("utf-8", "surrogatepass")).digest()[:16]
