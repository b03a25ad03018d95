"""How well the sender is proved, and what a reply may therefore say about an order."""

from pointsman_desk.case import Mail, NoOrder, Order, Trust


def identify(mail: Mail, earlier: tuple[Mail, ...], customer_id: str, order: Order | NoOrder) -> Trust:
    """Judge the sender of each unanswered mail; the lowest trust counts."""
    return min((_trust(one, customer_id, order) for one in (mail, *earlier)), key=tuple(Trust).index)


def _trust(mail: Mail, customer_id: str, order: Order | NoOrder) -> Trust:
    """Judge a sender by our mail server's result and by the address that the order was placed with."""
    if not mail.authentication.aligned:
        return Trust.NONE
    if isinstance(order, Order) and order.email.strip().lower() == mail.sender == customer_id:
        return Trust.BOUND
    return Trust.ALIGNED


def disclosed(order: Order | NoOrder, trust: Trust) -> Order | NoOrder:
    """Return the order for the reply at `bound` and above; below it, a NoOrder."""
    if isinstance(order, Order) and not trust.may_know_the_order:
        return NoOrder(reason="the sender is not verified")
    return order
