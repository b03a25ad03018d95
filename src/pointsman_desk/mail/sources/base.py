"""The interface of a source of mails, and its promises."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Found:
    """A mail in a source: its bytes, or why they could not be read, as one sentence."""

    name: str
    raw: bytes | None
    problem: str | None = None


class Source(Protocol):
    """A place with mails.

    1. Each call of `mails` lists the place again, in a stable order.
    2. A mail that cannot be read is yielded with its problem; the others follow.
    3. Nothing is moved, marked or deleted: reading twice gives the same mails twice.
    """

    def mails(self) -> Iterator[Found]:
        """Yield each mail. Raises MailboxMissing if the place no longer exists."""
        ...
