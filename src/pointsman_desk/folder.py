"""What a command needs of the desk's folder to look at the cases, without the parts that work on them."""

from contextlib import AbstractContextManager

from pointsman import Reader, open_reader
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import NoCases
from pointsman_desk.mail.sent_replies import cases_lost
from pointsman_desk.steps import SEND_SECONDS

SEND_MARGIN_SECONDS = 15.0  # longer than the transport's own timeout, so that the phase of a failure is known


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


def grace_of(config: DeskConfig) -> float:
    """Return for how many seconds a stopping desk waits for running steps, so that a reply being sent does not end in doubt."""
    return send_seconds(config)


def send_seconds(config: DeskConfig) -> float:
    """Return for how many seconds sending a reply may take."""
    way_out = config.smtp or config.resend
    return way_out.longest_seconds + SEND_MARGIN_SECONDS if way_out is not None else SEND_SECONDS
