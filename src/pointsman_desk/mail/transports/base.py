"""How a reply leaves the desk: what a transport promises."""

from collections.abc import Sequence
from typing import Protocol

from pointsman_desk.case import Receipt


class Transport(Protocol):
    """Something that takes a composed mail and delivers it, or says clearly that it did not.

    1. A return means that the other side has taken the mail over.
    2. NotSent means that it certainly has not, and that a later attempt may succeed.
    3. Rejected means that it refuses this mail.
    4. Any other exception means that nobody knows.
    """

    name: str

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        """Deliver the bytes from `sender` to `to` and to all of `cc`, plain addresses, and return what the other side says to it.

        `key` is the same in each attempt at one reply; a transport that can recognise a repetition by it does.
        """
        ...
