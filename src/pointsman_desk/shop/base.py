"""What the desk asks of a shop: an order of a customer, and the policy of the day."""

from typing import Protocol

from pointsman_desk.case import NoOrder, Order, Policy


class Orders(Protocol):
    """The orders of the shop. A customer learns of an order only at the address that it was placed with."""

    async def find(self, *, number: str | None, sender: str) -> Order | NoOrder:
        """Return the order `number` if it was placed with the address `sender`; without a number, the sender's latest.

        Raises ShopUnavailable when the orders cannot be read.
        """
        ...


class Policies(Protocol):
    """The policy that replies are held against."""

    def current(self) -> Policy:
        """Return the policy as it is now. Raises PolicyInvalid when it cannot be read or says something impossible."""
        ...
