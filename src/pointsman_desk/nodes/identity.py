"""How far the sender is known, and what may therefore be said of an order."""

from pointsman_desk.case import Mail, NoOrder, Order, Trust


def identify(mail: Mail, earlier: tuple[Mail, ...], customer_id: str, order: Order | NoOrder) -> Trust:
    """Hold the sender of each mail that waits for an answer against what is known of them; the least sure one counts."""
    return min((_trust(one, customer_id, order) for one in (mail, *earlier)), key=tuple(Trust).index)


def _trust(mail: Mail, customer_id: str, order: Order | NoOrder) -> Trust:
    """Hold a sender against the word of our own mail exchanger, and against the address that the order was placed with."""
    if not mail.authentication.aligned:
        return Trust.NONE
    if isinstance(order, Order) and order.email.strip().lower() == mail.sender == customer_id:
        return Trust.BOUND
    return Trust.ALIGNED


def disclosed(order: Order | NoOrder, trust: Trust) -> Order | NoOrder:
    """Return what a reply may be written from: the order at `bound` and above, below it that nothing may be said of one."""
    if isinstance(order, Order) and not trust.may_know_the_order:
        return NoOrder(reason="the sender is not verified")
    return order
