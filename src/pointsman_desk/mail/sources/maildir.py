"""Mails from a folder: a maildir, or files that end in .eml."""

from collections.abc import Callable, Iterator
from pathlib import Path

from pointsman_desk.errors import MailboxMissing
from pointsman_desk.mail.sources.base import Found

FILE_MAX_BYTES = 50 * 2**20  # the most that large providers accept; a bigger file is not a mail, and would fill memory


class FolderSource:
    """The mails in a folder, sorted by name. `listing` returns their files."""

    def __init__(self, path: Path, listing: Callable[[Path], list[Path]]) -> None:
        self.path = path
        self._listing = listing

    def mails(self) -> Iterator[Found]:
        """Yield each mail with its path in the folder as its name. Raises MailboxMissing if the folder no longer exists."""
        for file in self.files():
            yield read_file(file, str(file.relative_to(self.path)), self.path)

    def files(self) -> list[Path]:
        """Return the file of each mail, in order. Raises MailboxMissing."""
        return listed(self.path, self._listing)


def open_folder(path: Path) -> FolderSource:
    """Open a maildir or a folder of .eml files.

    An empty folder counts as a folder of .eml files. Raises MailboxMissing if the folder does not exist, cannot be listed,
    or contains something else.
    """
    if not path.exists():
        raise MailboxMissing(f"The mailbox {path} does not exist; create the folder or give another path.")
    if not path.is_dir():
        raise MailboxMissing(f"The mailbox {path} is a file; give the folder that holds the mails.")
    visible = listed(path, lambda folder: [entry for entry in folder.iterdir() if not entry.name.startswith(".")])
    if is_maildir(path):
        return FolderSource(path, _of_maildir)
    if visible and not _of_eml_folder(path):
        raise MailboxMissing(f"The folder {path} is not a mailbox: it has neither new and cur nor .eml files; give another path.")
    return FolderSource(path, _of_eml_folder)


def is_maildir(path: Path) -> bool:
    """Return whether a folder is a maildir (https://cr.yp.to/proto/maildir.html)."""
    return (path / "new").is_dir() and (path / "cur").is_dir()


def _of_maildir(path: Path) -> list[Path]:
    """List by the unique part of the names, which stays when a mail program moves a mail to `cur` and adds flags."""
    files = [file for subfolder in ("new", "cur") for file in (path / subfolder).iterdir() if _is_mail(file)]
    return sorted(files, key=lambda file: (file.name.partition(":")[0], file.name))


def _of_eml_folder(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if _is_mail(file) and file.suffix.lower() == ".eml")


def _is_mail(file: Path) -> bool:
    return not file.name.startswith(".") and file.is_file()


def listed(path: Path, listing: Callable[[Path], list[Path]]) -> list[Path]:
    """List a folder with `listing`. Raises MailboxMissing if this fails."""
    try:
        return listing(path)
    except OSError as error:
        raise MailboxMissing(
            f"The mailbox {path} cannot be listed ({error.strerror}); make the folder readable or give another path."
        ) from error


def read_file(file: Path, name: str, folder: Path | None = None) -> Found:
    """Read a file as one mail, or return why it cannot be read. A link out of `folder`, in which it was found, is not followed."""
    try:
        if folder is not None and file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
            return Found(name, None, f"The mail {file} is a link to a file outside the mailbox, which is not read; copy the file into it.")
        size = file.stat().st_size
        if size > FILE_MAX_BYTES:
            return Found(name, None, f"The file {file} has {size} bytes, more than a mail may have; remove it from the mailbox.")
        return Found(name, file.read_bytes())
    except OSError as error:
        return Found(name, None, f"The mail {file} cannot be read ({error.strerror}); make the file readable.")
