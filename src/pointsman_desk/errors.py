"""What the desk tells a user: each error is one sentence that names the thing and the mend."""

from pointsman import StoreForeign, StoreLocked, UnknownCase


class DeskError(Exception):
    """The root of the desk's own errors."""


class MailboxMissing(DeskError):
    """The mailbox is not there, or is neither a maildir nor a folder."""


class MailboxUnreachable(DeskError):
    """A mail server cannot be reached, or broke off. It is tried again."""


class MailboxRefused(DeskError):
    """A mail server refuses the login, the folder or the way there. Somebody has to mend it."""


class HeaderRefused(DeskError):
    """A value would break a mail header: it holds a line break, a NUL, or no single address."""


class PolicyInvalid(DeskError):
    """The policy file is missing, unreadable or says something impossible."""


class ShopUnavailable(DeskError):
    """The shop's database cannot be read."""


class IndexUnavailable(DeskError):
    """The index of mails cannot be used now: another program holds it, or the disk takes nothing. What needs it is done later."""


class FileUnusable(DeskError):
    """A file or the folder of the desk is damaged, or cannot be read or written. Somebody has to mend it, and then the desk goes on."""


class NoCases(DeskError):
    """The desk has not taken in a mail yet, so there is nothing to look at and nothing to decide."""


class CasesLost(DeskError):
    """The cases are missing, another desk's, or older than what has left. A person has to say what happened."""


class AnotherDesk(DeskError):
    """Another desk works off this mailbox."""


class ConfigInvalid(DeskError):
    """The configuration cannot be used; the text lists every problem."""


class EvaluationInvalid(DeskError):
    """An evaluation cannot be made: its mails, their labels or the model's answers are not there."""


class SecretMissing(DeskError):
    """A password or token is not where the configuration says."""


def told(error: Exception) -> str:
    """Return what to tell a person of an error; where the library names its own commands and mends, those of the desk."""
    if isinstance(error, UnknownCase):
        return f"there is no case {error.case}; list the cases with `pointsman-desk cases`."
    first = str(error).partition(";")[0]
    if isinstance(error, StoreForeign) and first.endswith("holds no cases"):  # it was just begun, or emptied
        more = "; where it held some before, put a copy from a backup in its place, and say `pointsman-desk run --after-restore`."
        return f"{first}. Take in the mailbox: pointsman-desk run{more}"
    if isinstance(error, StoreForeign):
        mend = "Put a copy from a backup in its place, or without one take it away, and say `pointsman-desk run --after-restore`."
        return f"{first}. Nothing in it was changed. {mend}"
    if isinstance(error, StoreLocked):
        return f"{first.replace('is open in another engine', 'is in use by another command')}."
    return str(error)
