"""The facts that a reply may state: the order that the mail is about, and the refund policy of the day."""

from pointsman_desk.case import Grounds, Intent, Mail, NoOrder, Order, Policy
from pointsman_desk.shop.base import Orders, Policies


async def fetch_order(mail: Mail, customer_id: str, grounds: Grounds, *, orders: Orders) -> Order | NoOrder:
    """The order that the customer names, or the latest one; only if it was placed with the mail's own address.

    The shop is not asked at all for an address that anybody may have put into From.
    """
    if not mail.authentication.aligned:
        return NoOrder(asked=grounds.order_number, reason="the sender is not verified")
    return await orders.find(number=grounds.order_number, sender=customer_id)


def fetch_refund_policy(intent: Intent, *, policies: Policies) -> Policy:  # noqa: ARG001 - a new intent asks for the policy afresh
    """The policy as it stands now; the case keeps what it said."""
    return policies.current()
