"""The folder of the desk: whether the desk has run there, and its cases for reading."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pointsman import Reader
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import NoCases
from pointsman_desk.mail.sent_replies import cases_lost
from pointsman_desk.places import cases_of, tables_for


def is_new(config: DeskConfig) -> bool:
    """Return whether the desk has never run in this folder, or no desk on this database."""
    if config.database is not None:
        with tables_for(config, create=False) as tables:
            return tables is None or not tables.exist
    return not config.cases_file.exists() and not was_here(config)


@asynccontextmanager
async def reader_of(config: DeskConfig) -> AsyncIterator[Reader]:
    """Open the cases for reading. Raises NoCases, CasesLost, StoreError."""
    look_for_cases(config)
    async with cases_of(config) as reader:
        yield reader


def look_for_cases(config: DeskConfig) -> None:
    """Raise NoCases if the desk has never run in this folder, and CasesLost if its cases are gone."""
    if is_new(config):
        raise NoCases(
            f"there are no cases in {config.home if config.database is None else config.cases_shown} yet; take in the mailbox first: pointsman-desk run. For another desk, name its "
            "configuration with --config."
        )
    if config.database is None and not config.cases_file.is_file():
        raise cases_lost("it is missing", config.cases_shown)


def was_here(config: DeskConfig) -> bool:
    """Return whether the desk has run in this folder: its secret is created after the record of sent replies.

    The folder of a desk on a database holds no secret, but the policy from the first run on.
    """
    if config.database is not None:
        return any(config.home.iterdir()) if config.home.exists() else False
    return config.secret_file.exists() or any((config.outbox / "new").glob("*"))
