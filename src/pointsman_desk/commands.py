"""The commands that change something at the desk, as values: a command is carried out by the program that has the cases open."""

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from pointsman import CaseRow, decided_since, format_count
from pointsman_desk import desk as at_desk
from pointsman_desk import sorting
from pointsman_desk.wiring import Desk, Needs

HANDED_OVER = "handed-over"  # the folder through which commands hand mails to the running desk
HOST, PORT = "127.0.0.1", 8480  # where the running desk listens


class Done(BaseModel):
    """The cases that a command changed."""

    cases: tuple[int, ...]


class Command(BaseModel):
    """What somebody (`by`) decides. `needs` is what the desk needs for it; see `wiring.check`. `operates` says that it is an operator's.

    `said` is what the audit log calls it once it is done.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: ClassVar[str]
    said: ClassVar[str]
    needs: ClassVar[Needs] = "nothing"
    operates: ClassVar[bool] = False

    by: str

    @abstractmethod
    async def carry_out(self, desk: Desk) -> Done:
        """Do it. Raises DeskError and what the engine raises."""

    def about(self) -> dict[str, Any]:
        """Return what the audit log says about it: no text of a reply."""
        return {"operation": self.name, "said": self.said, **self.model_dump(mode="json", include={"case", "cases", "why"})}


class OnCase(Command):
    """A decision on one case.

    `after` is the cursor of the case's last event before an earlier try whose answer is unknown: if the same person has decided on the case since,
    that try has succeeded.
    """

    case: int
    after: str | None = None

    async def carry_out(self, desk: Desk) -> Done:
        """Decide, or find out that it was decided. Raises DeskError and what the engine raises."""
        if self.after is not None and await decided_since(desk.engine.reader, self.case, self.by, self.after):
            rows = await at_desk.resting(desk, self.case)
        else:
            rows = [await self.decide(desk)]
        return Done(cases=tuple(row.id for row in rows))

    @abstractmethod
    async def decide(self, desk: Desk) -> CaseRow:
        """Decide on the case. Raises DeskError and what the engine raises."""


class Approve(OnCase):
    """Send the draft that was seen."""

    name = "approve"
    said = "approved the reply of {case}"
    needs = "sending"
    seen: str | None
    despite_violations: bool = False

    async def decide(self, desk: Desk) -> CaseRow:
        """See `desk.approve`."""
        return await at_desk.approve(desk, self.case, by=self.by, seen=self.seen, despite_violations=self.despite_violations)


class Readdress(OnCase):
    """Change the recipients of the reply."""

    name = "readdress"
    said = "changed the recipients of the reply of {case}"
    seen: str | None
    to: str | None = None
    copies: bool | None = None

    async def decide(self, desk: Desk) -> CaseRow:
        """See `desk.readdress`."""
        return await at_desk.readdress(desk, self.case, by=self.by, seen=self.seen, to=self.to, copies=self.copies)


class Edit(OnCase):
    """Replace the text of the draft, and send it if `send` is set."""

    name = "edit"
    said = "edited the reply of {case}"
    needs = "sending"
    body: str
    seen: str | None
    send: bool = False
    to: str | None = None
    copies: bool | None = None

    async def decide(self, desk: Desk) -> CaseRow:
        """See `desk.edit`."""
        return await at_desk.edit(
            desk, self.case, by=self.by, body=self.body, seen=self.seen, send=self.send, to=self.to, copies=self.copies
        )


class Redraft(OnCase):
    """Ask for a new draft, and say what to change."""

    name = "redraft"
    said = "asked for a new draft of {case}"
    needs = "everything"
    instruction: str
    seen: str | None

    async def decide(self, desk: Desk) -> CaseRow:
        """See `desk.redraft`."""
        return await at_desk.redraft(desk, self.case, by=self.by, instruction=self.instruction, seen=self.seen)


class Reject(OnCase):
    """Close the case without a reply."""

    name = "reject"
    said = "closed {case} without a reply"
    seen: str | None
    why: str = ""

    async def decide(self, desk: Desk) -> CaseRow:
        """See `desk.reject`."""
        return await at_desk.reject(desk, self.case, by=self.by, why=self.why, seen=self.seen)


class Assign(OnCase):
    """Ask somebody else to answer what a case waits for; `to` is "" for nobody in particular."""

    name = "assign"
    said = "assigned {case} to {to}"
    to: str
    note: str = ""

    def about(self) -> dict[str, Any]:
        """Return what the audit log says about it: as for the form of a page, whom it is assigned to, too."""
        return {**super().about(), "to": self.to.strip() or "nobody", "why": self.note.strip()}

    async def decide(self, desk: Desk) -> CaseRow:
        """See `desk.assign`."""
        return await at_desk.assign(desk, self.case, to=self.to, by=self.by, note=self.note)


class Close(OnCase):
    """Close a case that waits for the customer or is probably automatic."""

    name = "close"
    said = "closed {case}"

    async def decide(self, desk: Desk) -> CaseRow:
        """See `desk.close`."""
        return await at_desk.close(desk, self.case, by=self.by)


class Accept(OnCase):
    """Treat a probably automatic mail as a customer's."""

    name = "accept"
    said = "took the mail of {case} as a customer's"

    async def decide(self, desk: Desk) -> CaseRow:
        """See `sorting.accept`."""
        return await sorting.accept(desk, self.case, by=self.by)


class Redrive(OnCase):
    """Return a parked case to the backlog."""

    name = "redrive"
    said = "redrove {case}"
    operates = True
    needs = "sending"
    why: str

    async def decide(self, desk: Desk) -> CaseRow:
        """See `desk.redrive`."""
        return await at_desk.redrive(desk, self.case, by=self.by, why=self.why)


class Cancel(OnCase):
    """Cancel a case in any status."""

    name = "cancel"
    said = "cancelled {case}"
    operates = True
    why: str

    async def decide(self, desk: Desk) -> CaseRow:
        """See `desk.cancel`."""
        return await at_desk.cancel(desk, self.case, by=self.by, why=self.why)


class Resolve(OnCase):
    """Say whether a reply in doubt arrived."""

    name = "resolve"
    said = "said whether the reply of {case} arrived"
    operates = True
    needs = "sending"
    arrived: bool

    async def decide(self, desk: Desk) -> CaseRow:
        """See `desk.resolve`."""
        return await at_desk.resolve(desk, self.case, by=self.by, arrived=self.arrived)


class Reopen(Command):
    """Put the mails of an ended case before a person again. A second time changes nothing."""

    name = "reopen"
    said = "reopened {case}"
    case: int
    why: str = ""

    async def carry_out(self, desk: Desk) -> Done:
        """See `sorting.reopen`."""
        return Done(cases=((await sorting.reopen(desk, self.case, by=self.by, why=self.why)).id,))


class RedriveAll(Command):
    """Return all parked cases to the backlog. A second time finds only those that are parked again."""

    name = "redrive-all"
    said = "redrove every parked case"
    operates = True
    needs = "sending"
    why: str

    async def carry_out(self, desk: Desk) -> Done:
        """See `desk.redrive_all`."""
        return Done(cases=tuple(row.id for row in await at_desk.redrive_all(desk, by=self.by, why=self.why)))


class CloseAll(Command):
    """Close these cases as automatic. A second time changes nothing."""

    name = "close-all"
    said = "closed {case} as automatic"
    cases: tuple[int, ...]

    async def carry_out(self, desk: Desk) -> Done:
        """See `sorting.close_all`."""
        return Done(cases=tuple(row.id for row in await sorting.close_all(desk, self.cases, by=self.by)))


COMMANDS: Mapping[str, type[Command]] = MappingProxyType({
    command.name: command
    for command in (Approve, Readdress, Edit, Redraft, Reject, Assign, Close, Accept, Redrive, Cancel, Resolve, Reopen, RedriveAll, CloseAll)
})  # fmt: skip


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
