"""A folder or an mbox file that is read again only where something has changed."""

import hashlib
from collections.abc import Callable, Iterator
from os import stat_result
from pathlib import Path
from typing import NamedTuple

from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.maildir import is_maildir, open_folder, read_file
from pointsman_desk.mail.sources.mbox import MboxSource

SETTLE_SECONDS = 1.0  # a program that writes a mail into its file does not stop for so long
RACY_SECONDS = 3.0  # some file systems count time in steps of two seconds: a change this soon after another may leave no trace
SWEEP_SECONDS = 600.0  # a network file system may show no trace of a change at all; listing 100,000 mails takes half a second

Places = tuple[tuple[int, int, int], ...]
"""For each place with mails: its inode, the time of its last change in nanoseconds, and its size; zeros if it is missing."""


class _Mail(NamedTuple):
    key: int  # what the mail is recognised by: no other mail has it
    changed_at: float  # Unix seconds
    read: Callable[[], Found]


class Watched:
    """The mails of a folder or an mbox file that have not been taken in yet.

    `changed` costs a few system calls, however many mails there are. Nothing is lost: a mail that arrives while the folder is read is found at the
    next look, because the places are looked at before they are read, and are not trusted soon after a change. A file that may not be complete is
    left until it has not changed for a second; in a maildir every file is complete.
    """

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        """Watch `path`; `now` returns the time (Unix seconds)."""
        self.path = path
        self._now = now
        self._places: Places = ()
        self._since = self._read_at = 0.0  # when the places were first seen like this, and when they were read last
        self._complete = self._trusted = False  # whether the last read found everything, and all of it was taken in
        self._taken: set[int] = set()
        self._offered: set[int] = set()  # yielded since the last call of `taken`
        self._settling: dict[int, float] = {}  # when each mail that may not be complete was first seen like this

    def changed(self) -> bool:
        """Return whether there may be mails that have not been taken in."""
        return not self._complete or self._look() != self._places or self._now() - self._read_at >= SWEEP_SECONDS

    def mails(self) -> Iterator[Found]:
        """Yield each mail that has not been taken in. Call `taken` when all that were yielded are. Raises MailboxMissing."""
        places, now = self._look(), self._now()
        if places != self._places:
            self._places, self._since = places, now
        self._read_at, self._complete, settling = now, False, self._settling
        self._settling, self._offered, self._trusted = {}, set(), False
        present: set[int] = set()
        for mail in self._of_mbox() if self.path.is_file() else self._of_folder():
            present.add(mail.key)
            if mail.key in self._taken:
                continue
            first = settling.get(mail.key, now)
            if max(now - mail.changed_at, now - first) < SETTLE_SECONDS:
                self._settling[mail.key] = first
                continue
            found = mail.read()
            yield found
            if found.raw is not None:
                self._offered.add(mail.key)
        self._taken &= present  # what has left the folder is forgotten
        newest = max(changed_ns for _, changed_ns, _ in places) / 1e9
        self._trusted = not self._settling and max(now - newest, now - self._since) >= RACY_SECONDS

    def taken(self) -> None:
        """Count the mails that were yielded as taken in."""
        self._taken |= self._offered
        self._complete = self._trusted

    def _look(self) -> Places:
        return tuple(
            (0, 0, 0) if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)
            for found in (_stat(self.path), _stat(self.path / "new"), _stat(self.path / "cur"))
        )

    def _of_folder(self) -> Iterator[_Mail]:
        whole = is_maildir(self.path)
        for file in open_folder(self.path).files():
            if (found := _stat(file)) is not None:
                # A mail program that moves a mail from `new` to `cur` changes its folder and its flags only.
                key = hash((file.name.partition(":")[0], found.st_ino, found.st_size, found.st_mtime_ns))
                yield _Mail(key, 0.0 if whole else found.st_mtime, _reader(file, self.path))

    def _of_mbox(self) -> Iterator[_Mail]:
        found = _stat(self.path)
        for mail in MboxSource(self.path).mails():
            digest = hashlib.sha256(mail.name.encode() if mail.raw is None else mail.raw).digest()
            yield _Mail(int.from_bytes(digest[:8], "big"), 0.0 if found is None else found.st_mtime, _known(mail))


def _reader(file: Path, folder: Path) -> Callable[[], Found]:
    return lambda: read_file(file, str(file.relative_to(folder)), folder)


def _known(mail: Found) -> Callable[[], Found]:
    return lambda: mail


def _stat(path: Path) -> stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
