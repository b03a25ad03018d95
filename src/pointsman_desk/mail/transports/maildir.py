"""Replies written into a maildir: the outbox of a desk that has no mail server."""

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

_NAME_KEPT = 60  # characters of the key that a person sees in the file's name; the hash behind them tells keys apart


class OutboxInDoubt(Exception):
    """The mail is in the outbox, but the disk did not confirm it: it may be gone after a power failure."""


class MaildirOutbox:
    """A maildir that takes each key once (https://cr.yp.to/proto/maildir.html). `path` is made when it is missing."""

    name = "maildir"

    def __init__(self, path: Path) -> None:
        self.path = path

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:  # noqa: ARG002 - both stand in `raw`
        """Write the mail into `new` under a name made from the key; the receipt has its Message-ID.

        A mail of this key that is already in `new` or `cur` is left as it is. Raises NotSent when nothing was written,
        OutboxInDoubt when the last step, making the entry durable, failed: a repetition with the same key is safe.
        """
        await asyncio.to_thread(self._write_once, raw, key)
        return Receipt(provider_message_id=identify(raw).email_id, transport=self.name)

    def _write_once(self, raw: bytes, key: str) -> None:
        name = _file_name(key)
        try:
            for room in ("tmp", "new", "cur"):
                (self.path / room).mkdir(parents=True, exist_ok=True)
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
        """Look in both rooms: a reader moves a mail to `cur` and appends its flags to the name."""
        return any(file.name.startswith(name) for room in ("new", "cur") for file in (self.path / room).iterdir())

    def _link_new(self, raw: bytes, name: str) -> None:
        """Write the whole mail aside, then give it its name: a reader never sees half of it."""
        handle, written = tempfile.mkstemp(dir=self.path / "tmp", prefix=name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            try:
                (self.path / "new" / name).hardlink_to(written)
            except FileExistsError:
                pass  # another attempt with this key was quicker, and its mail is the same
            except OSError:
                Path(written).rename(self.path / "new" / name)  # a file system without links
        finally:
            Path(written).unlink(missing_ok=True)


def _file_name(key: str) -> str:
    shown = re.sub(r"[^A-Za-z0-9@.-]", "_", key)[:_NAME_KEPT]
    return f"reply-{shown}.{hashlib.sha256(key.encode('utf-8', 'backslashreplace')).hexdigest()[:32]}"


def _make_durable(folder: Path) -> None:
    """Flush a directory, so that its new entry outlives a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
