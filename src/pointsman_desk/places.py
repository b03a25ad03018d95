"""Where the desk keeps its cases and what belongs to them: in its folder, or in a database that several desks share."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from random import Random
from typing import TYPE_CHECKING

from pointsman import Reader, open_reader, reading_url
from pointsman_desk.config import DeskConfig
from pointsman_desk.mail.sent_replies import SentReplies
from pointsman_desk.mail.signing import secret_of
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.threads import Threads

if TYPE_CHECKING:  # it needs psycopg
    from pointsman_desk.shared import SharedTables


def tables_of(config: DeskConfig, *, create: bool = True) -> "SharedTables | None":
    """Open the tables that the desks of a database share; None for a desk that has a file of its own. Raises DeskError, StoreError."""
    if config.database is None:
        return None
    from pointsman_desk.shared import SharedTables  # noqa: PLC0415 - it needs psycopg

    return SharedTables(config.database, create=create)


@contextmanager
def tables_for(config: DeskConfig, *, create: bool = True) -> "Iterator[SharedTables | None]":
    """Open the shared tables for the time of a block; see `tables_of`."""
    tables = tables_of(config, create=create)
    try:
        yield tables
    finally:
        if tables is not None:
            tables.close()


@asynccontextmanager
async def cases_of(config: DeskConfig) -> AsyncIterator[Reader]:
    """Open the cases for reading. Raises StoreError."""
    if config.database is None:
        with open_reader(config.cases_file) as reader:
            yield reader
    else:
        async with reading_url(config.database) as reader:
            yield reader


def threads_of(config: DeskConfig, tables: "SharedTables | None") -> Threads:
    """Open the index of mails. Raises FileUnusable, IndexUnavailable."""
    return Threads(tables or config.threads_file)


def sent_replies_of(config: DeskConfig, tables: "SharedTables | None", chance: Random) -> SentReplies:
    """Open the record of sent replies. Raises FileUnusable, IndexUnavailable."""
    return SentReplies(tables or config.sent_file, chance)


def bookmark_of(config: DeskConfig, tables: "SharedTables | None", account: Account) -> Bookmark:
    """Return how far a mailbox was read, and its health. Raises IndexUnavailable."""
    if tables is None:
        return Bookmark.read(config.bookmark_of(account), account.place)
    return Bookmark.of(tables.bookmark(account.place) if tables.exist else None, account.place)


def signing_secret_of(config: DeskConfig, tables: "SharedTables | None", chance: Random) -> bytes:
    """Return the secret that signs the desk's mails. Raises FileUnusable, IndexUnavailable."""
    return secret_of(config.secret_file, chance) if tables is None else tables.secret(chance)
