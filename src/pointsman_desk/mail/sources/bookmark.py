"""How far a mailbox has been read, and its health, in a small file beside the database."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

LATE_POLLS = 3  # missed checks after which a person should look at the desk


class Bookmark(BaseModel):
    """The position and health of a mailbox. Times are Unix seconds. Without a bookmark, the mailbox is read from its beginning.

    While the server's `uidvalidity` is the same (RFC 3501, 2.3.1.1), every mail up to `uid` has its case, except those in `missed`,
    which the server listed but did not return. `behind` is the number of mails that were still to be taken in, `looked_at` the time
    of the server's last list, and `fetched_at` the time when the last mail was taken in. `error` is why the last attempt failed, and
    `failing_since` the time of the first failure.
    """

    model_config = ConfigDict(frozen=True)

    place: str
    uidvalidity: int = 0
    uid: int = 0
    missed: tuple[int, ...] = ()
    looked_at: float | None = None
    fetched_at: float | None = None
    behind: int = 0
    error: str | None = None
    failing_since: float | None = None

    def health(self, now: float, poll_seconds: float) -> Literal["well", "failing", "late", "new"]:
        """The mailbox's health: "late" if its last check was much longer ago than it should be, "new" without a check."""
        if self.error is not None:
            return "failing"
        if self.looked_at is None:
            return "new"
        return "well" if now - self.looked_at <= LATE_POLLS * poll_seconds else "late"

    @classmethod
    def read(cls, file: Path, place: str) -> Self:
        """Return the bookmark in `file`; an empty one if it is missing, unreadable or of another place."""
        try:
            return cls.of(file.read_bytes(), place)
        except OSError:
            return cls(place=place)

    @classmethod
    def of(cls, text: bytes | str | None, place: str) -> Self:
        """Return the bookmark in this JSON; an empty one if it is none, or of another place."""
        try:
            found = cls.model_validate_json(text or b"")
        except ValidationError:
            return cls(place=place)
        return found if found.place == place else cls(place=place)

    def write(self, file: Path) -> None:
        """Replace the bookmark in `file` atomically. Raises OSError."""
        file.parent.mkdir(mode=0o700, exist_ok=True)
        new = file.with_suffix(".new")
        with new.open("wb") as out:
            out.write(self.model_dump_json(indent=1).encode())
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
