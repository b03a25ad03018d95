"""What the desk asks a model about, and what it keeps of the answer."""

from typing import Annotated

from pydantic import Field

from pointsman_desk.case import Grounds, Intent, Mail, NoOrder, Order, Policy, Risk, Trust, Value

_LINK_MARKS = ("://", "www.", "@")
CANARY = "lantern-7-juniper"
"""Stands in the instructions that a model is given. A reply with these words gives the instructions away, and is never sent."""


class Classification(Value):
    """What mails are about, `ranked`, what a wrong answer could cost, and why the model says so."""

    intents: Annotated[tuple[Intent, ...], Field(min_length=1)]
    risk: Risk
    grounds: Grounds

    @property
    def intent(self) -> Intent:
        """The one that counts first."""
        return self.intents[0]


class Brief(Value):
    """All that a reply may be drafted from. The mail is data; the facts are in `order` and `policy` only.

    `intents` is all that is to be answered, in it and in `earlier`, the mails before it that no reply has answered; `answered` are
    those that one has. `trust` says whether the sender may know of the order at all; where nobody has said so, they may not.
    """

    mail: Mail
    intents: tuple[Intent, ...]
    risk: Risk
    grounds: Grounds
    order: Order | NoOrder
    policy: Policy
    trust: Trust = Trust.NONE
    earlier: tuple[Mail, ...] = ()
    answered: tuple[Mail, ...] = ()


def reply_subject(mail: Mail) -> str:
    """Return the subject under which a mail is answered: its own, without links, which the shop would pass on to whom From names."""
    return " ".join("…" if any(mark in word.lower() for mark in _LINK_MARKS) else word for word in mail.subject.split())
