"""The archive of our own replies: a copy in it proves that the server accepted the reply."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from pointsman_desk.mail.message import identify
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.base import Source
from pointsman_desk.mail.sources.imap import Connection
from pointsman_desk.mail.sources.maildir import open_folder
from pointsman_desk.mail.sources.mbox import MboxSource


class Archive:
    """The mailbox in which copies of the desk's replies arrive: a maildir, a folder of .eml files, an mbox file, or one on a mail server."""

    def __init__(self, mailbox: Path | Account) -> None:
        self._mailbox = mailbox

    async def holds(self, message_id: str) -> bool:
        """Return whether a mail with this Message-ID (without brackets) has arrived.

        Raises MailboxMissing, MailboxUnreachable or MailboxRefused.
        """
        if isinstance(self._mailbox, Account):
            return await asyncio.to_thread(_on_server, self._mailbox, message_id)
        return await asyncio.to_thread(_on_disk, self._mailbox, message_id)


def copies(mailbox: Path | Account) -> Iterator[bytes]:
    """Yield every mail of an archive. Blocks. Raises MailboxMissing, MailboxUnreachable or MailboxRefused."""
    if isinstance(mailbox, Path):
        yield from (found.raw for found in _source(mailbox).mails() if found.raw is not None)
        return
    connection = Connection(mailbox)
    try:
        connection.look()
        for listed in connection.beyond(0):
            yield from filter(None, connection.fetch([listed]).values())
    finally:
        connection.close()


def _source(mailbox: Path) -> Source:
    return MboxSource(mailbox) if mailbox.is_file() else open_folder(mailbox)


def _on_server(account: Account, message_id: str) -> bool:
    connection = Connection(account)
    try:
        connection.look()
        return connection.holds(message_id)
    finally:
        connection.close()


def _on_disk(mailbox: Path, message_id: str) -> bool:
    named = message_id.encode()
    copies = (found.raw for found in _source(mailbox).mails() if found.raw is not None and named in found.raw)
    return any(identify(raw).email_id == message_id for raw in copies)
