"""Write replies into a maildir, the outbox of a desk without a mail server."""

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pointsman import NotSent
from pointsman_desk.case import Receipt
from pointsman_desk.mail.message import identify

_NAME_KEPT = 60  # characters of the key in the file's name, for people; the hash after them distinguishes keys


class OutboxInDoubt(Exception):
    """The mail is in the outbox, but the disk did not confirm it: it may be gone after a power failure."""


class MaildirOutbox:
    """A maildir that stores one mail for each key (https://cr.yp.to/proto/maildir.html). A missing `path` is created."""

    name = "maildir"

    def __init__(self, path: Path) -> None:
        self.path = path

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:  # noqa: ARG002 - both are in `raw`
        """Write the mail into `new` under a name made from the key; the receipt has its Message-ID.

        An existing mail with this key in `new` or `cur` stays unchanged. Raises NotSent if nothing was written, and OutboxInDoubt if
        the last step, the flush of the folder, failed; a repetition with the same key is safe.
        """
        await asyncio.to_thread(self._write_once, raw, key)
        return Receipt(provider_message_id=identify(raw).email_id, transport=self.name)

    def _write_once(self, raw: bytes, key: str) -> None:
        name = _file_name(key)
        try:
            for subfolder in ("tmp", "new", "cur"):
                (self.path / subfolder).mkdir(parents=True, exist_ok=True)
            if not self._holds(name):
                self._link_new(raw, name)
        except OSError as error:
            raise NotSent(
                f"The outbox {self.path} could not store the mail ({error.strerror}); free disk space, or make the folder writable."
            ) from error
        try:
            _make_durable(self.path / "new")
        except OSError as error:
            raise OutboxInDoubt(
                f"The outbox {self.path} contains the mail {name}, but the disk did not confirm the write ({error.strerror}); check it."
            ) from error

    def _holds(self, name: str) -> bool:
        """Return whether `new` or `cur` has the mail: a mail program moves it to `cur` and appends flags to its name."""
        return (self.path / "new" / name).exists() or any(file.name.startswith(name) for file in (self.path / "cur").iterdir())

    def _link_new(self, raw: bytes, name: str) -> None:
        """Write the whole mail into `tmp`, then link it, so that no reader sees a partial mail."""
        handle, written = tempfile.mkstemp(dir=self.path / "tmp", prefix=name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            try:
                (self.path / "new" / name).hardlink_to(written)
            except FileExistsError:
                pass  # another attempt with this key was faster and wrote the same mail
            except OSError:
                Path(written).rename(self.path / "new" / name)  # the file system has no links
        finally:
            Path(written).unlink(missing_ok=True)


def _file_name(key: str) -> str:
    shown = re.sub(r"[^A-Za-z0-9@.-]", "_", key)[:_NAME_KEPT]
    return f"reply-{shown}.{hashlib.sha256(key.encode('utf-8', 'backslashreplace')).hexdigest()[:32]}"


def _make_durable(folder: Path) -> None:
    """Flush a folder, so that its new entry survives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
