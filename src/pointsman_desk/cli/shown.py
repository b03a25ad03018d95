"""Which draft of a case each person saw last, so that they approve what they saw."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from pointsman import History, Status
from pointsman_desk.cli.session import who
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import DeskError

KEPT_MAX = 1_000  # cases of a person: more than anybody still plans to approve


class Shown:
    """The drafts that a `person` (a login name) saw. If the desk's folder `home` is not writable, nothing is remembered."""

    def __init__(self, home: Path, person: str) -> None:
        self._file = home / "shown" / f"{hashlib.sha256(person.encode()).hexdigest()[:16]}.json"

    def digest(self, case: int) -> str | None:
        """Return the digest of the draft that the person saw last for a case, or None."""
        return self._read().get(str(case))

    def remember(self, case: int, digest: str) -> None:
        """Record that the person saw this draft."""
        known = self._read()
        known.pop(str(case), None)
        known[str(case)] = digest
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, exist_ok=True)
            written = self._file.with_suffix(".new")
            written.write_text(json.dumps(dict([*known.items()][-KEPT_MAX:])), encoding="ascii")
            written.replace(self._file)

    def _read(self) -> dict[str, str]:
        try:
            known = json.loads(self._file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def remember(settings: DeskConfig, history: History) -> None:
    """Record that the current user saw the draft of this case, if there is one."""
    if history.pause is not None and history.case.status is Status.WAITING:
        remember_digest(settings, history.case.id, history.pause.digest)


def remember_digest(settings: DeskConfig, case: int, digest: str) -> None:
    """Record that the current user saw this draft of a case."""
    with suppress(DeskError):  # the user is unknown
        Shown(settings.home, who(None)).remember(case, digest)


def last_shown(settings: DeskConfig, case: int) -> str | None:
    """Return the digest of the draft that the current user saw last for a case, or None."""
    try:
        return Shown(settings.home, who(None)).digest(case)
    except DeskError:
        return None
