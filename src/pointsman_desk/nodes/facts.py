"""The facts for a reply: the order and the current refund policy."""

from pointsman import Context
from pointsman_desk.case import Grounds, Intent, Mail, NoOrder, Order, Policy
from pointsman_desk.shop.base import Orders, Policies
from pointsman_desk.shop.guesses import Guesses


async def fetch_order(
    mail: Mail, earlier: tuple[Mail, ...], customer_id: str, grounds: Grounds, *, orders: Orders, guesses: Guesses, ctx: Context
) -> Order | NoOrder:  # fmt: skip
    """Return the order that the customer names, or the latest one, if it was placed with the sender's address.

    The shop is not asked for an unverified address, or for a sender who tries order numbers.
    """
    if not all(one.authentication.aligned for one in (mail, *earlier)):
        return NoOrder(asked=grounds.order_number, reason="the sender is not verified")
    number = grounds.order_number
    if number is not None and not await guesses.use(lambda: guesses.may_name(customer_id, number, ctx.now)):
        return NoOrder(asked=number, reason="the sender has given too many order numbers of other customers")
    found = await orders.find(number=number, sender=customer_id)
    if number is not None and not isinstance(found, NoOrder):
        await guesses.use(lambda: guesses.right(customer_id, number))
    return found


def fetch_refund_policy(intents: tuple[Intent, ...], *, policies: Policies) -> Policy:  # noqa: ARG001 - a new intent fetches it again
    """Return the current policy; the case keeps this version."""
    return policies.current()
