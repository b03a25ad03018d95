"""How far a mailbox has been read, and how it does: a small file beside the database, which anybody may look at."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

LATE_POLLS = 3  # looks that did not happen before somebody should look after the desk


class Bookmark(BaseModel):
    """What is known of a mailbox. Times are Unix seconds; without a bookmark the mailbox is read from its beginning.

    Every mail up to `uid` has its case, as long as the server's `uidvalidity` is that (RFC 3501, 2.3.1.1), except those in `missed`,
    which the server listed and did not give. `behind` mails were still to be taken in when it was written; `looked_at` is when the
    server last listed them, and `fetched_at` when the last one was taken in. `error` is why the last try failed, and `failing_since`
    when the first one did.
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
        """How the mailbox does: "late" when nobody has looked into it for much longer than a look is to take, "new" when never."""
        if self.error is not None:
            return "failing"
        if self.looked_at is None:
            return "new"
        return "well" if now - self.looked_at <= LATE_POLLS * poll_seconds else "late"

    @classmethod
    def read(cls, file: Path, place: str) -> Self:
        """The bookmark in `file`; an empty one where there is none, none that can be read, or that of another place."""
        try:
            found = cls.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):
            return cls(place=place)
        return found if found.place == place else cls(place=place)

    def write(self, file: Path) -> None:
        """Put it in place of the one in `file`: whenever the machine stops, there is the one or the other. Raises OSError."""
        file.parent.mkdir(mode=0o700, exist_ok=True)
        new = file.with_suffix(".new")
        with new.open("wb") as out:
            out.write(self.model_dump_json(indent=1).encode())
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
