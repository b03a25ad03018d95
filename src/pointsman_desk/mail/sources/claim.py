"""A file in a mailbox's folder that names its desk, because two desks would answer each mail twice."""

import json
import os
from contextlib import suppress
from pathlib import Path
from random import Random

from pointsman_desk.errors import AnotherDesk

FILE_NAME = ".pointsman-desk"  # hidden, so that no program reads it as a mail


def claim(mailbox: Path, identity: str, home: Path) -> None:
    """Mark the folder as this desk's, if it is writable. Raises AnotherDesk if it is another desk's."""
    file = mailbox / FILE_NAME
    with suppress(OSError):
        with suppress(FileExistsError), file.open("x", encoding="utf-8") as new:
            json.dump({"desk": identity, "home": str(home.absolute())}, new)
        if _claimed_by(file) is None:
            file.unlink(missing_ok=True)  # left incomplete by a crash
        refuse_another(mailbox, identity)


def refuse_another(mailbox: Path, identity: str | None) -> None:
    """Raise AnotherDesk if the folder is another desk's. `identity` is this desk's, None if it has none yet."""
    if (other := _claimed_by(mailbox / FILE_NAME)) is not None and other["desk"] != identity:
        raise AnotherDesk(
            f"the mailbox {mailbox} belongs to the desk in {other['home']}; two desks would answer each mail twice. Give this one "
            "another mailbox; or, if that desk no longer exists, use `pointsman-desk run --after-restore`."
        )


def give_up(mailbox: Path) -> None:
    """Remove the mark of any desk. Raises OSError."""
    (mailbox / FILE_NAME).unlink(missing_ok=True)


def outbox_mark(outbox: Path, chance: Random) -> str:
    """Return the mark of an outbox, which is made with its first desk. Raises OSError."""
    file = outbox / FILE_NAME
    outbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        written = outbox / f"{FILE_NAME}.{chance.randbytes(8).hex()}"
        written.write_text(chance.randbytes(16).hex(), encoding="ascii")
        try:
            os.link(written, file)  # whole or not at all, and the first of two desks wins
        finally:
            written.unlink()
    return file.read_text(encoding="ascii")


def _claimed_by(file: Path) -> dict[str, str] | None:
    """Return the content of the mark; None if it is missing or incomplete after a crash: then the folder belongs to no desk."""
    try:
        claimed = json.loads(file.read_text(encoding="utf-8"))
        return {"desk": str(claimed["desk"]), "home": str(claimed["home"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
