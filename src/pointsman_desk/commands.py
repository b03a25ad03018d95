"""The commands that change something at the desk, as values: the program that has the cases open carries them out, see `carrying_out`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

SEEN_MIN = 8  # characters of a digest: fewer could be a typing error, or an empty variable in a script

Needs = Literal["everything", "sending", "nothing"]
"""What a command needs: "everything" to process mails, the transport for "sending", or "nothing" to decide."""


class Done(BaseModel):
    """The cases that a command changed; why others were `left` as they are, and how many raw mails were deleted with those erased.

    `messages` is the number of messages that are sent again, or forgotten.
    """

    cases: tuple[int, ...] = ()
    left: tuple[str, ...] = ()
    raw_mails: int = 0
    messages: int = 0


class Command(BaseModel):
    """What somebody (`by`) decides. `needs` is what the desk needs for it; see `wiring.check`. `scope` is that of those who may.

    `said` is what the audit log calls it once it is done.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: ClassVar[str]
    said: ClassVar[str]
    needs: ClassVar[Needs] = "nothing"
    scope: ClassVar[Literal["answer", "operate", "admin"]] = "answer"

    by: str

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


class Approve(OnCase):
    """Send the draft that was seen."""

    name = "approve"
    said = "approved the reply of {case}"
    needs = "sending"
    seen: str | None
    despite_violations: bool = False


class Readdress(OnCase):
    """Change the recipients of the reply."""

    name = "readdress"
    said = "changed the recipients of the reply of {case}"
    seen: str | None
    to: str | None = None
    copies: bool | None = None


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


class Redraft(OnCase):
    """Ask for a new draft, and say what to change."""

    name = "redraft"
    said = "asked for a new draft of {case}"
    needs = "everything"
    instruction: str
    seen: str | None


class Reject(OnCase):
    """Close the case without a reply."""

    name = "reject"
    said = "closed {case} without a reply"
    seen: str | None
    why: str = ""


class Assign(OnCase):
    """Ask somebody else to answer what a case waits for; `to` is "" for nobody in particular."""

    name = "assign"
    said = "assigned {case} to {to}"
    to: str
    note: str = ""

    def about(self) -> dict[str, Any]:
        """Return what the audit log says about it: as for the form of a page, whom it is assigned to, too."""
        return {**super().about(), "to": self.to.strip() or "nobody", "why": self.note.strip()}


class Close(OnCase):
    """Close a case that waits for the customer or is probably automatic."""

    name = "close"
    said = "closed {case}"


class Accept(OnCase):
    """Treat a probably automatic mail as a customer's."""

    name = "accept"
    said = "took the mail of {case} as a customer's"


class Redrive(OnCase):
    """Return a parked case to the backlog."""

    name = "redrive"
    said = "redrove {case}"
    scope = "operate"
    needs = "sending"
    why: str


class Cancel(OnCase):
    """Cancel a case in any status."""

    name = "cancel"
    said = "cancelled {case}"
    scope = "operate"
    why: str


class Resolve(OnCase):
    """Say whether a reply in doubt arrived."""

    name = "resolve"
    said = "said whether the reply of {case} arrived"
    scope = "operate"
    needs = "sending"
    arrived: bool


class Reopen(Command):
    """Put the mails of an ended case before a person again. A second time changes nothing."""

    name = "reopen"
    said = "reopened {case}"
    case: int
    why: str = ""


class RedriveAll(Command):
    """Return all parked cases to the backlog. A second time finds only those that are parked again."""

    name = "redrive-all"
    said = "redrove every parked case"
    scope = "operate"
    needs = "sending"
    why: str


class CloseAll(Command):
    """Close these cases as automatic. A second time changes nothing."""

    name = "close-all"
    said = "closed {case} as automatic"
    cases: tuple[int, ...]


class ErasePerson(Command):
    """Erase the content of these cases, all of one person. A second time erases what came since."""

    name = "erase-person"
    said = "erased a person's {case}"
    scope = "admin"
    cases: tuple[int, ...]
    why: str


class Redeliver(Command):
    """Send again what a webhook has given up, or `forget` it."""

    name = "redeliver"
    said = "sent again what a webhook had given up, or forgot it"
    scope = "operate"
    subscriber: str
    forget: bool = False


COMMANDS: Mapping[str, type[Command]] = MappingProxyType({
    command.name: command
    for command in (
        Approve, Readdress, Edit, Redraft, Reject, Assign, Close, Accept, Redrive, Cancel, Resolve, Reopen, RedriveAll, CloseAll, ErasePerson, Redeliver,
    )
})  # fmt: skip
