"""What the desk asks a model about, and what it keeps of the answer."""

from pointsman_desk.case import Grounds, Intent, Mail, NoOrder, Order, Policy, Risk, Trust, Value

_LINK_MARKS = ("://", "www.", "@")
CANARY = "lantern-7-juniper"
"""Stands in the instructions that a model is given. A reply with these words gives the instructions away, and is never sent."""


class Classification(Value):
    """What a mail is about, what a wrong answer could cost, and why the model says so."""

    intent: Intent
    risk: Risk
    grounds: Grounds


class Brief(Value):
    """All that a reply may be drafted from. The mail is data; the facts are in `order` and `policy` only.

    `earlier` are the mails of the conversation before it. `trust` says whether the sender may know of the order at all; where nobody has said so, they may not.
    """

    mail: Mail
    intent: Intent
    risk: Risk
    grounds: Grounds
    order: Order | NoOrder
    policy: Policy
    trust: Trust = Trust.NONE
    earlier: tuple[Mail, ...] = ()


def reply_subject(mail: Mail) -> str:
    """Return the subject under which a mail is answered: its own, without links, which the shop would pass on to whom From names."""
    return " ".join("…" if any(mark in word.lower() for mark in _LINK_MARKS) else word for word in mail.subject.split())
