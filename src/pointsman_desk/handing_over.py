"""What a command hands over to the running desk, and what the desk says that it did with it."""

from typing import Any

from pydantic import BaseModel, Field

from pointsman import format_count
from pointsman_desk import desk as at_desk

HANDED_OVER = "handed-over"  # the folder through which commands hand mails to the running desk


class Mail(BaseModel):
    """A mail for the running desk: its file in the folder `HANDED_OVER` of the desk's home, and what it is called in messages."""

    file: str = Field(pattern="^[0-9a-f]{64}$")
    name: str


class Taken(BaseModel):
    """What a run of the desk did; see `desk.Run`."""

    started: list[int]
    joined: list[int]
    known: int
    problems: list[str]

    def as_run(self) -> at_desk.Run:
        """Return it as a run."""
        return at_desk.Run(self.started, self.joined, self.known, self.problems)


def taken_in(run: at_desk.Run) -> dict[str, Any]:
    """Return what the audit log says about mails that were taken in."""
    counts = f"{format_count(len(run.started), 'new case')}, {format_count(len(run.joined), 'answer')}"
    return {"operation": "take in mails", "said": f"took mails in ({counts})", "started": len(run.started), "joined": len(run.joined)}
