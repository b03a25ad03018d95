"""Decide which mails a machine certainly sent, and which a person must look at.

A mail is closed without a person only with a proof: evidence in its bytes (mail/automatic.py), checked against the mails that we sent.
"""

from pointsman_desk.case import OURS, Intent, Link, Mail
from pointsman_desk.models.offline import OfflineModel

LOOKS_AUTOMATIC = "looks-automatic"
"""The note on a mail with signs of a machine but a customer's text."""

_REPORTS = frozenset({"report on a machine's mail", "delivery report", "feedback report", "receipt", "bounce in words"})
_ABOUT_OURS = (_REPORTS - {"report on a machine's mail"}) | {"automatic reply"}


def is_proved(mail: Mail, link: Link | None) -> bool:
    """Return whether a machine certainly sent the mail, which joined its conversation by `link`."""
    if mail.automatic == "own address":
        return link == "our own mail"
    if mail.evidence == "list post":
        return not speaks_as_customer(mail)
    return mail.evidence == "report on a machine's mail" or (mail.evidence in _ABOUT_OURS and link in OURS)


def machine_wrote(mail: Mail, link: Link | None) -> bool:
    """Return whether a mail from a web form's address is a report or part of a mail loop, not a customer's.

    Other signs of a machine do not count there, because a program sends every mail of a form.
    """
    return mail.evidence in _REPORTS or mail.automatic == "loop" or (mail.evidence != "list post" and is_proved(mail, link))


def judged(mail: Mail, link: Link | None) -> Mail:
    """Return the mail with the conclusion from its signs of a machine.

    With a proof it is `proved`. Otherwise it stays probably automatic, unless the only signs are a header field or the subject and its
    text is a customer's: then it counts as a customer's, with the note `looks-automatic`, and a person approves the reply.
    """
    if mail.automatic is None:
        return mail
    if is_proved(mail, link):
        return mail.model_copy(update={"proved": True})
    if mail.evidence is None and speaks_as_customer(mail):
        return mail.model_copy(update={"automatic": None, "bounce": None, "notes": tuple(sorted({*mail.notes, LOOKS_AUTOMATIC}))})
    return mail


def speaks_as_customer(mail: Mail) -> bool:
    """Return whether the mail names an order or contains a known phrase of a customer's question."""
    found = OfflineModel().classify(mail.model_copy(update={"automatic": None}))
    return found.grounds.order_number is not None or found.intent is not Intent.UNCLEAR
