"""Mails from paths on the command line: files, mboxes, maildirs, folders with everything below, or a pipe."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from pointsman_desk.errors import MailboxMissing
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.maildir import FILE_MAX_BYTES, is_maildir, listed, open_folder, read_file
from pointsman_desk.mail.sources.mbox import OPENING, MboxSource, mails_of, pieces_of

STANDARD_INPUT = "-"
_HEAD_BYTES = 4 * 1024  # of a file without .eml, to recognise a mail among other files
_FIELD = re.compile(rb"[A-Za-z][A-Za-z0-9_-]{0,75}[ \t]*:")
_MAIL_FIELD = re.compile(
    rb"^(?:received|return-path|delivered-to|from|to|date|subject|message-id|mime-version|content-type)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)


def mails_at(paths: Iterable[str], stdin: BinaryIO) -> Iterator[Found]:
    """Yield the mails at each path in turn; `-` is `stdin`, which can be read once. Raises MailboxMissing before the first mail.

    A file whose name ends in .eml is a mail; another file that begins with `From ` is an mbox. In a folder that is not a maildir,
    files at any depth count if they end in .eml or begin like a mail; hidden files and links out of the folder do not count.
    """
    return chain.from_iterable([_of_stream(stdin) if path == STANDARD_INPUT else _at(Path(path)) for path in paths])


def _at(path: Path) -> Iterable[Found]:
    if path.is_file():
        return _of_file(path, path.name)
    if not path.is_dir() or is_maildir(path):
        return open_folder(path).mails()
    root = path.resolve()
    everything = listed(
        path, lambda folder: [file for file in _below(folder) if not file.is_symlink() or file.resolve().is_relative_to(root)]
    )
    files = [file for file in everything if file.suffix.lower() == ".eml" or _begins_as_mail(file)]
    if everything and not files:
        raise MailboxMissing(f"The folder {path} contains no mails; name the files, or another folder.")
    return chain.from_iterable(_of_file(file, str(file.relative_to(path))) for file in files)


def _of_file(file: Path, name: str) -> Iterator[Found]:
    if file.suffix.lower() != ".eml" and _head(file).startswith(OPENING):
        yield from MboxSource(file, name).mails()
    else:
        yield read_file(file, name)


def _of_stream(stream: BinaryIO) -> Iterator[Found]:
    """Read one mail, or an mbox, which begins with its first separator."""
    first = stream.readline(_HEAD_BYTES)
    if first.startswith(OPENING):
        yield from mails_of(chain([first], pieces_of(stream)), STANDARD_INPUT)
        return
    raw = first + stream.read(FILE_MAX_BYTES)
    if not raw:
        yield Found(STANDARD_INPUT, None, "Standard input is empty; pipe a mail or an mbox into it.")
    elif len(raw) > FILE_MAX_BYTES:
        yield Found(STANDARD_INPUT, None, f"Standard input has more than {FILE_MAX_BYTES} bytes, more than a mail may have.")
    else:
        yield Found(STANDARD_INPUT, raw)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, sorted by name, without hidden files and mails in delivery."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_file():
            yield entry
        elif entry.is_dir() and not entry.is_symlink() and not (entry.name == "tmp" and is_maildir(folder)):
            yield from _below(entry)


def _begins_as_mail(file: Path) -> bool:
    head = _head(file).lstrip(b"\xef\xbb\xbf\r\n").replace(b"\r", b"\n")
    return head.startswith(OPENING) or (_FIELD.match(head) is not None and _MAIL_FIELD.search(head) is not None)


def _head(file: Path) -> bytes:
    """Return the beginning of a file; nothing if it cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(_HEAD_BYTES)
    except OSError:
        return b""
