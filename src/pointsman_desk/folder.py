"""The folder of the desk: whether the desk has run there, and its cases for reading."""

from contextlib import AbstractContextManager

from pointsman import Reader, open_reader
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import NoCases
from pointsman_desk.mail.sent_replies import cases_lost


def is_new(config: DeskConfig) -> bool:
    """Return whether the desk has never run in this folder."""
    return not config.database.exists() and not was_here(config)


def reader_of(config: DeskConfig) -> AbstractContextManager[Reader]:
    """Open the cases for reading. Raises NoCases, CasesLost, StoreError."""
    look_for_cases(config)
    return open_reader(config.database)


def look_for_cases(config: DeskConfig) -> None:
    """Raise NoCases if the desk has never run in this folder, and CasesLost if its cases are gone."""
    if is_new(config):
        raise NoCases(
            f"there are no cases in {config.home} yet; take in the mailbox first: pointsman-desk run. For another desk, name its "
            "configuration with --config."
        )
    if not config.database.is_file():
        raise cases_lost("it is missing", config.database)


def was_here(config: DeskConfig) -> bool:
    """Return whether the desk has run in this folder: its secret is created after the record of sent replies."""
    return config.secret_file.exists() or any((config.outbox / "new").glob("*"))
