"""A mark in a mailbox's folder that says which desk works it off: two desks would answer each mail twice."""

import json
from contextlib import suppress
from pathlib import Path

from pointsman_desk.errors import AnotherDesk

FILE_NAME = ".pointsman-desk"  # hidden, so that no reader of the mailbox takes it for a mail


def claim(mailbox: Path, identity: str, home: Path) -> None:
    """Mark the folder as the desk's, unless it cannot be written. Raises AnotherDesk where it is another one's."""
    file = mailbox / FILE_NAME
    with suppress(OSError):
        with suppress(FileExistsError), file.open("x", encoding="utf-8") as new:
            json.dump({"desk": identity, "home": str(home.absolute())}, new)
        if _claimed_by(file) is None:
            file.unlink(missing_ok=True)  # a crash has left half of a mark
        refuse_another(mailbox, identity)


def refuse_another(mailbox: Path, identity: str | None) -> None:
    """Look whose mark the folder has; `identity` is this desk's, None before it has one. Raises AnotherDesk where it is another one's."""
    if (other := _claimed_by(mailbox / FILE_NAME)) is not None and other["desk"] != identity:
        raise AnotherDesk(
            f"the mailbox {mailbox} belongs to the desk in {other['home']}; two desks would answer each mail twice. Give this one "
            "another mailbox; or, if that desk no longer exists, use `pointsman-desk run --after-restore`."
        )


def give_up(mailbox: Path) -> None:
    """Take the mark away, whosever it is. Raises OSError."""
    (mailbox / FILE_NAME).unlink(missing_ok=True)


def _claimed_by(file: Path) -> dict[str, str] | None:
    """What the mark says; None where there is none, or a crash has left half of it, and then the folder is nobody's."""
    try:
        claimed = json.loads(file.read_text(encoding="utf-8"))
        return {"desk": str(claimed["desk"]), "home": str(claimed["home"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
