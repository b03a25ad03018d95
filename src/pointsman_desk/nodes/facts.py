"""The facts that a reply may state: the order that the mail is about, and the refund policy of the day."""

from pointsman import Context
from pointsman_desk.case import Grounds, Intent, Mail, NoOrder, Order, Policy
from pointsman_desk.shop.base import Orders, Policies
from pointsman_desk.shop.guesses import Guesses


async def fetch_order(
    mail: Mail, earlier: tuple[Mail, ...], customer_id: str, grounds: Grounds, *, orders: Orders, guesses: Guesses, ctx: Context
) -> Order | NoOrder:  # fmt: skip
    """The order that the customer names, or the latest one; only if it was placed with the mail's own address.

    The shop is not asked at all for an address that anybody may have put into From, nor for one that tries numbers.
    """
    if not all(one.authentication.aligned for one in (mail, *earlier)):
        return NoOrder(asked=grounds.order_number, reason="the sender is not verified")
    number = grounds.order_number
    if number is not None and not guesses.may_name(customer_id, number, ctx.now):
        return NoOrder(asked=number, reason="the sender has named too many numbers of others")
    found = await orders.find(number=number, sender=customer_id)
    if number is not None and not isinstance(found, NoOrder):
        guesses.right(customer_id, number)
    return found


def fetch_refund_policy(intents: tuple[Intent, ...], *, policies: Policies) -> Policy:  # noqa: ARG001 - a new intent asks for the policy afresh
    """The policy as it stands now; the case keeps what it said."""
    return policies.current()
