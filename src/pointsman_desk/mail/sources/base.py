"""Where mails come from: what a source promises."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Found:
    """A mail in a source: its bytes, or the problem that kept them from being read, as one sentence."""

    name: str
    raw: bytes | None
    problem: str | None = None


class Source(Protocol):
    """A place that holds mails.

    1. Each call of `mails` lists the place afresh, in one stable order.
    2. A mail that cannot be read is told of with its problem; the others follow.
    3. Nothing is moved, marked or deleted: reading twice gives the same mails twice.
    """

    def mails(self) -> Iterator[Found]:
        """Yield each mail. Raises MailboxMissing when the place itself has gone."""
        ...
