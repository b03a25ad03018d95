"""Which mails a machine surely sent, and which a person has to look at.

A mail is closed unseen only with a proof: what its bytes show (mail/automatic.py), held against the mails that we sent.
"""

from pointsman_desk.case import OURS, Intent, Link, Mail
from pointsman_desk.models.offline import OfflineModel

LOOKS_AUTOMATIC = "looks-automatic"
"""The note on a mail with the signs of a machine and the words of a customer."""

_REPORTS = frozenset({"report on a machine's mail", "delivery report", "feedback report", "receipt", "bounce in words"})
_ABOUT_OURS = (_REPORTS - {"report on a machine's mail"}) | {"automatic reply"}


def is_proved(mail: Mail, link: Link | None) -> bool:
    """Whether a machine surely sent the mail, which came to its conversation by `link`."""
    if mail.automatic == "own address":
        return link == "our own mail"
    if mail.evidence == "list post":
        return not speaks_as_customer(mail)
    return mail.evidence == "report on a machine's mail" or (mail.evidence in _ABOUT_OURS and link in OURS)


def machine_wrote(mail: Mail, link: Link | None) -> bool:
    """Whether a mail from the address of a web form is a report or goes in a circle, and is no customer's.

    What else looks automatic says nothing there: each mail of a form is sent by a program.
    """
    return mail.evidence in _REPORTS or mail.automatic == "loop" or (mail.evidence != "list post" and is_proved(mail, link))


def judged(mail: Mail, link: Link | None) -> Mail:
    """Return the mail with what its signs of a machine come to.

    With a proof it is `proved`. Without any it stays probably automatic, unless nothing but a header field or a subject says so and
    it speaks as a customer does: then it is a customer's, with the note `looks-automatic`, and a person sees the answer.
    """
    if mail.automatic is None:
        return mail
    if is_proved(mail, link):
        return mail.model_copy(update={"proved": True})
    if mail.evidence is None and speaks_as_customer(mail):
        return mail.model_copy(update={"automatic": None, "bounce": None, "notes": tuple(sorted({*mail.notes, LOOKS_AUTOMATIC}))})
    return mail


def speaks_as_customer(mail: Mail) -> bool:
    """Whether the mail names an order, or asks for something that customers ask for, in the words that the desk knows."""
    found = OfflineModel().classify(mail.model_copy(update={"automatic": None}))
    return found.grounds.order_number is not None or found.intent is not Intent.UNCLEAR
