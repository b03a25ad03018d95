"""The interface of a shop: the order of a customer, and the current policy."""

from typing import Protocol

from pointsman_desk.case import NoOrder, Order, Policy


class Orders(Protocol):
    """The orders of the shop. A customer sees an order only from the address that it was placed with."""

    async def find(self, *, number: str | None, sender: str) -> Order | NoOrder:
        """Return the order `number` if it was placed with the address `sender`; without a number, the sender's latest.

        Raises ShopUnavailable when the orders cannot be read.
        """
        ...


class Policies(Protocol):
    """The policy that replies are checked against."""

    def current(self) -> Policy:
        """Return the current policy. Raises PolicyInvalid if it cannot be read or is inconsistent."""
        ...
