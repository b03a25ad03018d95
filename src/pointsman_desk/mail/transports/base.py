"""The interface of a transport for replies, and its promises."""

from collections.abc import Sequence
from typing import Protocol

from pointsman_desk.case import Receipt


class Transport(Protocol):
    """Delivers a composed mail, or says clearly that it did not.

    1. A return means that the other side has accepted the mail.
    2. NotSent means that it certainly has not, and that a later attempt may succeed.
    3. Rejected means that it refuses this mail.
    4. Any other exception means that nobody knows.
    """

    name: str

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        """Deliver the bytes from `sender` to `to` and all of `cc`, plain addresses, and return the other side's answer.

        `key` is the same in each attempt to send a reply; if the transport can, it recognises a repetition by it.
        """
        ...
