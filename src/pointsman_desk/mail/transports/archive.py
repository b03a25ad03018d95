"""The copies of our own replies: one that is there proves that the server took it."""

import asyncio
from pathlib import Path

from pointsman_desk.mail.message import identify
from pointsman_desk.mail.sources.base import Source
from pointsman_desk.mail.sources.maildir import open_folder
from pointsman_desk.mail.sources.mbox import MboxSource


class Archive:
    """The mailbox in which copies of the desk's replies arrive: a maildir, a folder of .eml files or an mbox file."""

    def __init__(self, mailbox: Path) -> None:
        self._mailbox = mailbox

    async def holds(self, message_id: str) -> bool:
        """Whether a mail with this Message-ID (without brackets) has arrived. Raises MailboxMissing."""
        return await asyncio.to_thread(self._holds, message_id)

    def _holds(self, message_id: str) -> bool:
        source: Source = MboxSource(self._mailbox) if self._mailbox.is_file() else open_folder(self._mailbox)
        named = message_id.encode()
        copies = (found.raw for found in source.mails() if found.raw is not None and named in found.raw)
        return any(identify(raw).email_id == message_id for raw in copies)
