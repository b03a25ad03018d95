"""Mails from an mbox file or stream, with one mail in memory at a time."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from pointsman_desk.errors import MailboxMissing
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.maildir import FILE_MAX_BYTES

OPENING = b"From "
_PIECE_MAX = 64 * 1024  # bytes of a line per read, so that a file without line ends is not read at once
# Sender and date, as in RFC 4155; a sentence that begins with "From" has no weekday with a time.
_SEPARATOR = re.compile(rb"From (?:[^\r\n]{0,300} )?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? [^\r\n]{0,40}\d{1,2}:\d\d")
_QUOTED = re.compile(rb">+From ")


class MboxSource:
    """The mails of an mbox file, in order. A mail's name is `name`, or the file's name, and its number."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = name or path.name

    def mails(self) -> Iterator[Found]:
        """Yield each mail. Raises MailboxMissing if the file is missing or cannot be read."""
        try:
            with self.path.open("rb") as file:
                yield from mails_of(pieces_of(file), self.name)
        except OSError as error:
            raise MailboxMissing(f"The mbox {self.path} cannot be read ({error.strerror}); make the file readable.") from error


def pieces_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a stream, and a very long line in pieces."""
    return iter(lambda: stream.readline(_PIECE_MAX), b"")


def mails_of(pieces: Iterable[bytes], name: str) -> Iterator[Found]:
    """Split the lines of an mbox into mails (RFC 4155, with `>From ` unquoted as in the variant mboxrd).

    A mail begins at a line of `From `, a sender and a date, after a blank line or at the start. Content-Length is ignored: a wrong
    one would swallow the next mail, and with quoted lines it is not needed.
    """
    lines: list[bytes] = []
    size = number = 0
    begins, below_blank = True, True
    for piece in pieces:
        if begins and below_blank and (_SEPARATOR.match(piece) or (not number and piece.startswith(OPENING))):
            if number:
                yield _found(lines, size, f"{name}#{number}")
            lines, size, number = [], 0, number + 1
        else:
            number = number or 1
            size += len(piece)
            if size <= FILE_MAX_BYTES:
                lines.append(piece[1:] if begins and _QUOTED.match(piece) else piece)
        below_blank = begins and piece in {b"\n", b"\r\n"}
        begins = piece.endswith(b"\n")
    if number:
        yield _found(lines, size, f"{name}#{number}")


def _found(lines: list[bytes], size: int, name: str) -> Found:
    """Join the lines of a mail, without the blank line at its end, which belongs to the file."""
    if size > FILE_MAX_BYTES:
        return Found(name, None, f"The mail {name} has {size} bytes, more than a mail may have; remove it from the mbox.")
    return Found(name, b"".join(lines[:-1] if lines and lines[-1] in {b"\n", b"\r\n"} else lines))
