"""Slots: placeholders for facts in a reply. Code fills them in the customer's language, so that no model writes a figure.

A text contains a slot in double braces, as in `{{order.total}}`. An unknown slot, or a slot without a fact, stays in the text, and the
check `slots_filled` rejects it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pointsman_desk.case import Language, NoOrder, Order, Policy, Reply

NAME_CHARACTERS_MAX = 60  # longer than people's names, shorter than a message in a name field
SLOTS = (
    "customer.name", "order.number", "order.status", "order.total", "order.shipping", "order.placed_on", "order.due_on", "order.shipped_on",
    "order.delivered_on", "order.carrier", "order.tracking", "refund.days", "opening_hours", "signature",
)  # fmt: skip
SLOT = re.compile(r"\{\{ ?([a-z_.]{1,40}) ?\}\}")
_NAME = re.compile(r"[^\W\d_](?:[^\W\d_]|[ '\u2019-]|\.(?= |\Z)){0,60}")  # letters and what joins names: no link, no markup, no digits


@dataclass(frozen=True)
class Format:
    """How a language writes a date, an amount and the status of an order."""

    day: str
    decimal: str
    months: tuple[str, ...]
    status: Mapping[str, str]


FORMATS = {
    Language.ENGLISH: Format(
        "{day} {month} {year}",
        ".",
        ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"),
        {"placed": "placed", "packed": "packed", "shipped": "shipped", "delivered": "delivered", "cancelled": "cancelled"},
    ),
    Language.GERMAN: Format(
        "{day}. {month} {year}",
        ",",
        ("Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"),
        {"placed": "eingegangen", "packed": "verpackt", "shipped": "unterwegs", "delivered": "zugestellt", "cancelled": "storniert"},
    ),
    Language.FRENCH: Format(
        "{day} {month} {year}",
        ",",
        ("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre", "décembre"),
        {"placed": "reçue", "packed": "emballée", "shipped": "en route", "delivered": "livrée", "cancelled": "annulée"},
    ),
    Language.SPANISH: Format(
        "{day} de {month} de {year}",
        ",",
        ("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre", "diciembre"),
        {"placed": "recibido", "packed": "preparado", "shipped": "en camino", "delivered": "entregado", "cancelled": "cancelado"},
    ),
}


def facts_of(order: Order | NoOrder, policy: Policy, language: Language) -> dict[str, str | None]:
    """Return the value of each slot in `language`; None for a fact that does not exist.

    For a sender who may not know about an order, pass a NoOrder.
    """
    facts: dict[str, str | None] = dict.fromkeys(SLOTS)
    facts |= {
        "refund.days": str(policy.refund_days),
        "opening_hours": policy.opening_hours.get(language),
        "signature": policy.signature.get(language),
    }
    if isinstance(order, Order):
        facts |= {
            "customer.name": name_of(order.customer),
            "order.number": order.number,
            "order.status": FORMATS[language].status[order.status],
            "order.total": money(order.total, order.currency, language),
            "order.shipping": money(order.shipping, order.currency, language),
            "order.placed_on": day(order.placed_on, language),
            "order.due_on": day(order.due_on, language),
            "order.shipped_on": day(order.shipped_on, language),
            "order.delivered_on": day(order.delivered_on, language),
            "order.carrier": order.carrier,
            "order.tracking": order.tracking,
        }
    return facts


def filled(reply: Reply, order: Order | NoOrder, policy: Policy) -> Reply:
    """Return `reply` with the facts of `order` and `policy` in its slots."""
    return reply.model_copy(update={"body": fill(reply.body, facts_of(order, policy, reply.language))})


def fill(text: str, facts: Mapping[str, str | None]) -> str:
    """Replace the slots of `text` by their facts, once. A fact that looks like a slot is not replaced again."""
    return SLOT.sub(lambda slot: facts.get(slot[1]) or slot[0], text)


def fills(text: str, facts: Mapping[str, str | None]) -> bool:
    """Return whether there is a fact for each slot of `text`."""
    return all(facts.get(name) for name in SLOT.findall(text))


def money(amount: Decimal, currency: str, language: Language) -> str:
    """Format an amount, with two decimals."""
    return f"{amount:.2f} {currency}".replace(".", FORMATS[language].decimal)


def day(value: date | None, language: Language) -> str | None:
    """Format a date; None for None."""
    if value is None:
        return None
    form = FORMATS[language]
    return form.day.format(day=value.day, month=form.months[value.month - 1], year=value.year)


def name_of(written: str) -> str | None:
    """Return the name of a person, or None if the text may be something else."""
    name = written.strip()
    return name if _NAME.fullmatch(name) and len(name) <= NAME_CHARACTERS_MAX else None
