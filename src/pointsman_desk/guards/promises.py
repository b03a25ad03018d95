"""Promises: a reply promises only what the policy allows."""

from collections.abc import Iterator
from datetime import date, timedelta

from pointsman_desk.case import Mail, NoOrder, Order, Policy, Reply
from pointsman_desk.guards.figures import amounts_in
from pointsman_desk.guards.text import own, plain, without
from pointsman_desk.guards.wording import holds, says, sentences
from pointsman_desk.models.replies import is_late, mail_day


def refund_within_policy(reply: Reply, order: Order | NoOrder, policy: Policy, mail: Mail) -> Iterator[str]:
    """Report a refund other than the shipping of a late order, and a return that the policy does not allow."""
    on = mail_day(mail.date)
    for sentence in sentences(_said_by_reply(reply, policy)):
        for phrase in says(sentence, "refund"):
            if not _only_late_shipping(sentence, order, policy, on):
                yield f'it promises a refund ("{phrase}") that the policy does not allow for this order'
        for phrase in says(sentence, "return", without="condition"):
            if not _returnable(order, policy, on):
                yield f'it offers a return ("{phrase}") that the policy does not allow for this order'


def promises_within_policy(reply: Reply, policy: Policy) -> Iterator[str]:
    """Report guarantees, gifts, admissions, decisions and delivery dates, which a model may not give."""
    text = _said_by_reply(reply, policy)
    for phrase in says(text, "guarantee"):
        yield f'it guarantees something ("{phrase}"), but the policy has no guarantees'
    if not policy.discount_codes and not policy.discount_percent_max:
        for phrase in says(text, "compensation"):
            yield f'it offers something ("{phrase}") that the policy does not'
    for phrase in says(text, "liability"):
        yield f'it admits a fault or a duty ("{phrase}"); a person must decide that'
    for phrase in says(text, "decision"):
        yield f'it announces a decision ("{phrase}") that nobody has made'
    for sentence in sentences(text):
        for phrase in says(sentence, "day", without="wished"):
            if not any(holds(sentence, "opening")):
                yield f'it names a day ("{phrase}"); only dates of the order are allowed'
    for phrase in _forbidden(text, policy):
        yield f'it says "{phrase}", which the policy forbids'


def _said_by_reply(reply: Reply, policy: Policy) -> str:
    return without(plain(reply.body), own(policy))


def _forbidden(text: str, policy: Policy) -> Iterator[str]:
    shown = " ".join(text.casefold().split())
    yield from (
        phrase for phrases in policy.phrases_forbidden.values() for phrase in phrases if " ".join(phrase.casefold().split()) in shown
    )


def _only_late_shipping(sentence: str, order: Order | NoOrder, policy: Policy, on: date | None) -> bool:
    if not isinstance(order, Order) or not policy.shipping_refunded_when_late or not is_late(order, on):
        return False
    money = {amount for amount, _ in amounts_in(sentence, policy)}
    return any(holds(sentence, "shipping")) and not any(holds(sentence, "whole")) and money <= {order.shipping}


def _returnable(order: Order | NoOrder, policy: Policy, on: date | None) -> bool:
    """Return whether `order` was delivered, and the day `on` is within its return period."""
    if not isinstance(order, Order) or order.delivered_on is None or order.status == "cancelled":
        return False
    return on is not None and on <= order.delivered_on + timedelta(days=policy.refund_days)
