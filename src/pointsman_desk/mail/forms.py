"""Mails of web forms: a program sends them for a customer."""

from collections.abc import Sequence
from dataclasses import dataclass

from pointsman_desk.case import Authentication, Mail
from pointsman_desk.mail.headers import addresses

LINES_MAX = 500  # of a form's text that are read: a form has fewer fields


@dataclass(frozen=True, slots=True)
class Form:
    """A web form. Its mails come from `sender`: an address, or "@" and a domain.

    The customer's address is in Reply-To, or follows `customer_line`, such as "E-Mail:", at the beginning of a line.
    """

    sender: str
    customer_line: str | None = None

    @property
    def looked_for(self) -> str:
        """Where the customer's address must be, as text for a person."""
        where = "in Reply-To" if self.customer_line is None else f"on a line that begins with {self.customer_line!r}"
        return f"exactly one address {where}"

    def sends(self, sender: str) -> bool:
        """Return whether mails from this address are the form's."""
        return sender.endswith(self.sender) if self.sender.startswith("@") else sender == self.sender

    def customer(self, mail: Mail) -> str | None:
        """Return the customer's address; None if the mail does not name exactly one."""
        if self.customer_line is None:
            return mail.reply_to
        start = self.customer_line.casefold()
        lines = [line.strip() for line in mail.said.splitlines()[:LINES_MAX]]
        named = [line[len(start) :] for line in lines if line.casefold().startswith(start)]
        found = {address for line in named for _, address in addresses([line], set())}
        return found.pop() if len(found) == 1 else None


def form_of(forms: Sequence[Form], sender: str) -> Form | None:
    """Return the first configured form that sends from this address."""
    return next((form for form in forms if form.sends(sender)), None)


def as_customers(mail: Mail, customer: str, form: str) -> Mail:
    """Return a form's mail as the customer's. The address is not verified: anybody can type any address into a form."""
    unproved = Authentication(aligned=False, why=f"the form {form} sent it, and anybody can type any address into a form")
    return mail.model_copy(
        update={"sender": customer, "sender_name": "", "reply_to": None, "automatic": None, "evidence": None, "bounce": None,
                "authentication": unproved}
    )  # fmt: skip
