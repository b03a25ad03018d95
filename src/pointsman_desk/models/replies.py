"""Replies from reviewed templates: choose the template for the facts, and fill its slots."""

from collections.abc import Mapping
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from functools import cache, lru_cache
from typing import Any

from pointsman_desk.case import Intent, NoOrder, Order, Policy, Reply, Tone
from pointsman_desk.models.base import Brief, reply_subject
from pointsman_desk.models.words import read_data
from pointsman_desk.slots import facts_of, fill, fills

REPLIES_MAX = 64  # a reply is written twice, close together: as the draft and to compare the draft with
_CONSOLED = (Intent.REFUND, Intent.COMPLAINT)
_LEFT_US = ("shipped", "delivered", "cancelled")


@lru_cache(maxsize=REPLIES_MAX)
def write_reply(brief: Brief, *, author: str, careful: bool = False) -> Reply:
    """Return the templates' reply to `brief`; with `careful`, one that promises no refund.

    For several intents it combines the texts of all their templates and is no longer a reviewed template. Facts come only from the
    order and the policy. A line of the template whose fact is missing is left out.
    """
    language = brief.grounds.language
    tone = _tone(brief.policy)
    late = isinstance(brief.order, Order) and is_late(brief.order, mail_day(brief.mail.date))
    intents: list[Intent] = [intent for intent in brief.intents if intent is not Intent.UNCLEAR]
    variants = {intent: _variant(brief, intent, late=late, careful=careful) for intent in intents or [Intent.UNCLEAR]}
    named = [f"{intent}/{language}/{variant}" for intent, variant in variants.items()]
    promised = any(variant in _templates()["promises"].get(intent, ()) for intent, variant in variants.items())
    return Reply(
        subject=reply_subject(brief.mail),
        body=_body(brief, variants, tone, apology=_apology_due(brief, late=late)),
        language=language,
        tone=tone,
        author=author,
        template=named[0] if len(brief.intents) == 1 else None,
        promises=promised,
    )


def mail_day(written: str | None) -> date | None:
    """Return the day of a mail's date (RFC 5322, section 3.3, or ISO 8601), or None if it is absent or unreadable."""
    if not written:
        return None
    try:
        return datetime.fromisoformat(written).date()
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(written).date()
    except ValueError:
        return None


def is_late(order: Order, on: date | None) -> bool:
    """Return whether `order` came after its due date, or has not come although the day `on` is after it."""
    if order.due_on is None or order.status == "cancelled":
        return False
    if order.delivered_on is not None:
        return order.delivered_on > order.due_on
    return order.status != "delivered" and on is not None and on > order.due_on


@cache
def _templates() -> Mapping[str, Any]:
    return read_data("templates.toml")


def _tone(policy: Policy) -> Tone:
    return policy.approved_tones[0] if policy.approved_tones else Tone.NEUTRAL


def _apology_due(brief: Brief, *, late: bool) -> bool:
    wanted = set(brief.intents)
    if not wanted.isdisjoint(brief.policy.apology_required):
        return True
    return Intent.LEGAL not in wanted and (late or not wanted.isdisjoint(_CONSOLED))  # an apology may count as an admission


def _variant(brief: Brief, intent: Intent, *, late: bool, careful: bool) -> str:
    order = brief.order
    fixed = {Intent.OPENING_HOURS: "hours", Intent.LEGAL: "received", Intent.UNCLEAR: "question"}
    if intent in fixed:
        return fixed[intent]
    if isinstance(order, NoOrder):
        return "unverified" if order.reason == "the sender is not verified" else "no_order"
    if intent is Intent.REFUND:
        return _refund_variant(order, brief.policy, late=late and not careful)
    if intent is Intent.ORDER_STATUS:
        return "late" if late and order.delivered_on is None else order.status
    if intent is Intent.COMPLAINT:
        return "late" if late else "order"
    if intent is Intent.CANCEL_ORDER and order.status == "cancelled":
        return "cancelled"
    if intent in (Intent.CANCEL_ORDER, Intent.CHANGE_ADDRESS):
        return "gone" if order.status in _LEFT_US else "open"
    return "order"


def _refund_variant(order: Order, policy: Policy, *, late: bool) -> str:
    if order.status == "cancelled":
        return "cancelled"
    nameable = 0 < order.shipping <= policy.refund_max and order.currency == policy.currency
    if late and policy.shipping_refunded_when_late and nameable:
        return "late"
    return "delivered" if order.status == "delivered" else "checking"


def _body(brief: Brief, variants: Mapping[Intent, str], tone: Tone, *, apology: bool) -> str:
    texts = _templates()[brief.grounds.language]
    facts = facts_of(brief.order, brief.policy, brief.grounds.language)
    named, nameless = texts["greeting"][tone]
    lead = texts[next(iter(variants))]["lead"] + (" " + texts["apology"][tone] if apology else "")
    chosen = [texts[intent].get(variant) or texts["shared"][variant] for intent, variant in variants.items()]
    paragraphs = [_filled(paragraph, facts) for text in chosen for paragraph in text.strip().split("\n\n")]
    closing = f"{texts['closing'][tone]}\n{facts['signature'] or ''}"
    greeting = _filled(named, facts) or nameless
    return "\n\n".join(dict.fromkeys(part.strip() for part in (greeting, lead, *paragraphs, closing) if part.strip()))


def _filled(paragraph: str, facts: Mapping[str, str | None]) -> str:
    """Fill the slots of each line, and drop lines with missing facts."""
    return " ".join(fill(line, facts) for line in paragraph.splitlines() if fills(line, facts))
