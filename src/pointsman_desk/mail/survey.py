"""Read mails without starting cases, and count them and their peculiarities."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pointsman_desk.mail.message import UNREADABLE_NOTES, identify, read_mail
from pointsman_desk.mail.sources.base import Found


@dataclass(slots=True)
class Survey:
    """The mails that were read. `exceptions` counts those at which the parser itself failed; `slowest` is the name of one."""

    mails: int = 0
    exceptions: int = 0
    slowest_seconds: float = 0.0
    slowest: str = ""
    notes: Counter[str] = field(default_factory=Counter)
    automatic: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the counts as a JSON object; `problems` are the mails that could not be read from their source."""
        return {
            "mails": self.mails,
            "exceptions": self.exceptions,
            "slowest_seconds": round(self.slowest_seconds, 4),
            "notes": dict(self.notes.most_common()),
            "automatic": self.automatic.total(),
            "problems": len(self.problems),
        }


def survey(mails: Iterable[Found], seconds: Callable[[], float], seen: Callable[[str], None]) -> Survey:
    """Read each mail as the desk would, and count. `seconds` is a clock; `seen` is called with each mail's name."""
    found = Survey()
    for mail in mails:
        seen(mail.name)
        if mail.raw is None:
            found.problems.append(mail.problem or f"{mail.name} cannot be read")
            continue
        begun = seconds()
        identify(mail.raw)
        read = read_mail(mail.raw)
        took = seconds() - begun
        found.mails += 1
        found.exceptions += not UNREADABLE_NOTES.isdisjoint(read.notes)
        found.notes.update(read.notes)
        found.automatic.update([read.automatic] if read.automatic else [])
        if took > found.slowest_seconds:
            found.slowest_seconds, found.slowest = took, mail.name
    return found
