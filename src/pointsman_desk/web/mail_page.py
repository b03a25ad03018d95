"""What the page of a waiting mail shows: the conversation, the draft beside its sources, the recipients to choose from."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pointsman import Pending, Reader
from pointsman.web import Piece, word_difference
from pointsman_desk.case import Case, Language, Mail, NoOrder, Order, Policy, Reply, Sent, Trust, instructions_about, proposed
from pointsman_desk.desk import REDRAFTS_MAX
from pointsman_desk.mail.compose import is_address
from pointsman_desk.mail.notes import MEANING
from pointsman_desk.slots import day, facts_of, money
from pointsman_desk.steps import FOLLOW_UP, SORT

TRUST: Mapping[Trust, str] = {
    Trust.NONE: "Nothing proves who sent this; the reply may not contain data of an order.",
    Trust.ALIGNED: "The sender's domain is confirmed, but the order was not placed with this address; the reply may not contain data of it.",
    Trust.BOUND: "The order was placed with this address, and the sender's domain is confirmed.",
    Trust.PROVED: "The sender has proved to be the customer.",
}


class Entry(NamedTuple):
    """A mail of the conversation, or a reply of ours; `at` is when it came or left, in Unix seconds."""

    at: float | None
    mail: Mail | None
    sent: Sent | None


class Source(NamedTuple):
    """A fact that the draft was written from; `used` says whether the draft has it."""

    label: str
    text: str
    used: bool


class Recipient(NamedTuple):
    """An address that the reply can go to, and whose it is."""

    address: str
    whose: str


async def values_of(reader: Reader, pending: Pending, state: Case, why: str) -> dict[str, Any]:
    """Return what the page of a waiting mail shows."""
    shown, beside, mail = pending.shown, pending.beside, state.mail
    reply = draft_of(pending)
    addressing = shown.get("addressing")
    asked = () if mail is None else instructions_about(mail, state.instructions)
    return {
        "kind": {SORT: "sort", FOLLOW_UP: "follow_up"}.get(pending.pause, "approve"),
        "case": pending.case,
        "digest": pending.digest,
        "why": why,
        "mail": mail,
        "waiting": state.earlier or (),
        "history": history_of(state),
        "notes": [MEANING.get(note, note) for note in (mail.notes if mail is not None else ())],
        "reply": reply,
        "body": text_of(pending),
        "to": "" if addressing is None or addressing.problem else addressing.to,
        "addressing": addressing,
        "recipients": recipients_of(mail, state.order),
        "violations": beside["verdict"].violations if beside.get("verdict") is not None else (),
        "order_facts": order_facts(state.order, state.policy, reply),
        "no_order": state.order if isinstance(state.order, NoOrder) else None,
        "policy_facts": policy_facts(state.policy, reply),
        "trust": "" if state.trust is None else TRUST[state.trust],
        "is_known": state.is_known,
        "asked": asked,
        "is_unchanged": bool(asked) and reply == asked[-1].draft,
        "drafts_left": max(0, REDRAFTS_MAX - len(asked)),
        "instruction": "",
        "usage": await reader.usage_of_case(pending.case),
        "assignee": pending.assignee,
        "outgoing": state.outgoing,
        "beside": beside,
        "refused": "",
        "own_reason": "",
        "confirms": False,
        "approved_by": beside["approval"].by if beside.get("approval") is not None else "",
        "changes": (),
        "kept": False,
    }


def draft_of(pending: Pending) -> Reply | None:
    """Return the draft, or None if there is none yet."""
    return proposed(pending.shown.get("reply"))


def text_of(pending: Pending) -> str:
    """Return the text of the draft; "" if there is none yet."""
    reply = draft_of(pending)
    return "" if reply is None else reply.body


def mails_of(state: Case) -> Sequence[Mail]:
    """Return the mails of a case that have been read."""
    return [mail for mail in (state.mail, *(state.earlier or ()), *(state.answered or ())) if mail is not None]


def history_of(state: Case) -> list[Entry]:
    """Return the answered mails and our replies, the newest first."""
    came = {incoming.email_id: incoming.at for incoming in state.mails}
    entries = [Entry(came.get(mail.message_id), mail, None) for mail in state.answered or ()]
    entries += [Entry(sent.at, None, sent) for sent in state.sent]
    return sorted(entries, key=lambda entry: entry.at or 0.0, reverse=True)


def recipients_of(mail: Mail | None, order: Order | NoOrder | None) -> list[Recipient]:
    """Return the addresses that the reply can go to: the sender's, the one in Reply-To, and the one that the order was placed with."""
    known: Iterable[tuple[str | None, str]] = (
        (mail.sender if mail is not None else None, "the sender"),
        (mail.reply_to if mail is not None else None, "the Reply-To of the mail"),
        (order.email if isinstance(order, Order) else None, "the address of the order"),
    )
    whose: dict[str, list[str]] = {}
    for address, role in known:
        if address is not None and is_address(address):
            whose.setdefault(address.lower(), []).append(role)
    return [Recipient(address, " and ".join(roles)) for address, roles in whose.items()]


def order_facts(order: Order | NoOrder | None, policy: Policy | None, reply: Reply | None) -> list[Source]:
    """Return the fields of the order, with those marked that the draft has."""
    if not isinstance(order, Order) or policy is None:
        return []
    english = Language.ENGLISH
    items = ", ".join(f"{item.quantity} \u00d7 {item.name}" for item in order.items)
    rows = (
        ("Number", order.number, ("order.number",)),
        ("Status", order.status, ("order.status",)),
        ("Customer", f"{order.customer} <{order.email}>", ("customer.name",)),
        ("Items", items, ()),
        ("Total", money(order.total, order.currency, english), ("order.total",)),
        ("Shipping", money(order.shipping, order.currency, english), ("order.shipping",)),
        ("Placed", day(order.placed_on, english), ("order.placed_on",)),
        ("Due", day(order.due_on, english), ("order.due_on",)),
        ("Shipped", day(order.shipped_on, english), ("order.shipped_on",)),
        ("Delivered", day(order.delivered_on, english), ("order.delivered_on",)),
        ("Tracking", " ".join(filter(None, (order.carrier, order.tracking))), ("order.carrier", "order.tracking")),
    )
    used = _used(facts_of(order, policy, _language(reply)), reply)
    return [Source(label, text, not used.isdisjoint(names)) for label, text, names in rows if text]


def policy_facts(policy: Policy | None, reply: Reply | None) -> list[Source]:
    """Return the clauses of the policy, with those marked that the draft has."""
    if policy is None:
        return []
    language = _language(reply)
    facts = facts_of(NoOrder(reason="no order from this address"), policy, language)
    used = _used(facts, reply)
    template = (reply.template or "") if reply is not None else ""
    late = "refunded if the order did not arrive by its due day" if policy.shipping_refunded_when_late else "not refunded"
    rows = [
        Source("Returns", f"within {policy.refund_days} days of the delivery", "refund.days" in used),
        Source("Refunds", f"a reply may name up to {policy.refund_max} {policy.currency}", False),
        Source("Shipping", late, template.startswith("refund/") and template.endswith("/late")),
        Source("Opening hours", facts["opening_hours"] or "", "opening_hours" in used),
    ]
    return [row for row in rows if row.text]


def difference_of(seen: Mapping[str, Any], pending: Pending) -> list[tuple[str, Sequence[Piece]]]:
    """Return what has changed since a page was shown: the mail, the draft and the recipient, word by word. `seen` is JSON."""
    mail, addressing = pending.shown.get("mail"), pending.shown.get("addressing")
    now = {
        "The mail": f"{mail.subject}\n{mail.said}" if mail is not None else "",
        "The draft": text_of(pending),
        "The recipient": ", ".join((addressing.to, *addressing.cc)) if addressing is not None else "",
    }
    before = {
        "The mail": "\n".join(filter(None, ((seen.get("mail") or {}).get(name) for name in ("subject", "text", "doubtful")))),
        "The draft": body_in(seen),
        "The recipient": ", ".join(_addresses(seen.get("addressing") or {})),
    }
    return [(name, word_difference(before[name], now[name])) for name in now if before[name].split() != now[name].split()]


def body_in(seen: Mapping[str, Any]) -> str:
    """Return the text of the draft in JSON that a page showed."""
    reply = seen.get("reply") or {}
    inner = reply if "body" in reply else reply.get("value") or {}
    return str(inner.get("body", ""))


def _addresses(addressing: Mapping[str, Any]) -> Sequence[str]:
    return [*filter(None, (addressing.get("to"),)), *addressing.get("cc", ())]


def _language(reply: Reply | None) -> Language:
    return Language.ENGLISH if reply is None else reply.language


def _used(facts: Mapping[str, str | None], reply: Reply | None) -> frozenset[str]:
    body = "" if reply is None else reply.body
    return frozenset(name for name, value in facts.items() if value and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", body))
