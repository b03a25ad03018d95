"""The desk's errors. Each message is one sentence that names the fault and the fix."""

from pointsman import StoreForeign, StoreLocked, UnknownCase


class DeskError(Exception):
    """The base class of the desk's errors.

    A message may name commands and their options. `on_page` says the same to a person in front of a page.
    """

    def __init__(self, message: str, *args: object, on_page: str | None = None) -> None:
        super().__init__(message, *args)
        self.on_page = message if on_page is None else on_page


class Undelivered(DeskError):
    """A webhook has given up messages."""


class MailboxMissing(DeskError):
    """The mailbox does not exist, or is neither a maildir nor a folder."""


class MailboxUnreachable(DeskError):
    """A mail server cannot be reached, or closed the connection. The desk tries again."""


class MailboxRefused(DeskError):
    """A mail server refuses the login, the folder or the connection. A person must fix it."""


class HeaderRefused(DeskError):
    """A value would break a mail header: it contains a line break or a NUL, or is not a single address."""


class PolicyInvalid(DeskError):
    """The policy file is missing, unreadable or inconsistent."""


class ShopUnavailable(DeskError):
    """The shop's database cannot be read."""


class IndexUnavailable(DeskError):
    """The index of mails is locked by another program or cannot be written. The desk retries what needs it."""


class FileUnusable(DeskError):
    """A file or the folder of the desk is damaged, or cannot be read or written. The desk continues when somebody has fixed it."""


class NoCases(DeskError):
    """The desk has not taken in a mail yet, so there are no cases."""


class CasesLost(DeskError):
    """The cases are missing, belong to another desk, or are older than the replies sent. A person must say what happened."""


class AnotherDesk(DeskError):
    """Another desk uses this mailbox."""


class ConfigInvalid(DeskError):
    """The configuration is invalid; the message lists every problem."""


class EvaluationInvalid(DeskError):
    """The evaluation cannot run: its mails, their labels or the model's answers are missing."""


class SecretMissing(DeskError):
    """A password or token is not where the configuration says."""


class SummaryNotSent(DeskError):
    """The last summary for the team was not sent."""


class DraftChanged(DeskError):
    """The draft changed since it was shown."""


def message_of(error: Exception) -> str:
    """Return the message of an error, with the desk's commands where the library names its own."""
    if isinstance(error, UnknownCase):
        return f"there is no case {error.case}; list the cases with `pointsman-desk cases`."
    first = str(error).partition(";")[0]
    if isinstance(error, StoreForeign) and first.endswith("holds no cases"):  # new, or emptied
        more = "; if it held cases before, restore it from a backup and use `pointsman-desk run --after-restore`."
        return f"{first}. Take in the mailbox: pointsman-desk run{more}"
    if isinstance(error, StoreForeign):
        fix = "Restore it from a backup, or delete it if there is none, and use `pointsman-desk run --after-restore`."
        return f"{first}. Nothing in it was changed. {fix}"
    if isinstance(error, StoreLocked):
        return f"{first.replace('is open in another engine', 'is in use by another command')}."
    return str(error)
