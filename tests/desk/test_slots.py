"""Slots hold facts in the customer's language; what has none is never sent."""

from datetime import date
from decimal import Decimal

import pytest

from pointsman_desk.case import Item, Language, NoOrder, Order, Policy, Reply, Tone
from pointsman_desk.slots import SLOTS, facts_of, fill, filled, fills

ORDER = Order(
    number="A-1012",
    email="jonas.weber@mail.example",
    customer="Jonas Weber",
    status="shipped",
    items=(Item(name="Kinderbett", quantity=1, price=Decimal("1239.00")),),
    shipping=Decimal("24.90"),
    total=Decimal("1263.90"),
    currency="EUR",
    placed_on=date(2026, 11, 8),
    due_on=date(2026, 11, 15),
)
POLICY = Policy(
    version="1",
    currency="EUR",
    refund_days=30,
    refund_max=Decimal("150.00"),
    shipping_refunded_when_late=True,
    automatic=(),
    approved_tones=(Tone.WARM,),
    apology_required=(),
    opening_hours={Language.ENGLISH: "Monday to Friday"},
    signature={Language.ENGLISH: "Your team"},
)


@pytest.mark.parametrize(
    ("language", "written"),
    [
        (Language.ENGLISH, "1263.90 EUR, 24.90 EUR, 15 November 2026, shipped"),
        (Language.GERMAN, "1263,90 EUR, 24,90 EUR, 15. November 2026, unterwegs"),
        (Language.FRENCH, "1263,90 EUR, 24,90 EUR, 15 novembre 2026, en route"),
        (Language.SPANISH, "1263,90 EUR, 24,90 EUR, 15 de noviembre de 2026, en camino"),
    ],
)
def test_a_fact_is_written_as_the_language_writes_it(language: Language, written: str) -> None:
    text = "{{order.total}}, {{order.shipping}}, {{ order.due_on }}, {{order.status}}"

    assert fill(text, facts_of(ORDER, POLICY, language)) == written


def test_each_slot_has_a_fact_or_none_and_there_is_no_other() -> None:
    facts = facts_of(ORDER, POLICY, Language.ENGLISH)

    assert set(facts) == set(SLOTS)
    assert {name for name, fact in facts.items() if fact is None} == {
        "order.shipped_on", "order.delivered_on", "order.carrier", "order.tracking",
    }  # fmt: skip


def test_without_an_order_there_is_no_fact_of_any() -> None:
    facts = facts_of(NoOrder(reason="no order from this address"), POLICY, Language.ENGLISH)

    assert {name for name, fact in facts.items() if fact} == {"refund.days", "opening_hours", "signature"}


@pytest.mark.parametrize(
    "slot", ["{{order.carrier}}", "{{order.refund}}", "{{Order.total}}", "{order.total}", "{{{order.total}", "{{order total}}"]
)
def test_what_has_no_fact_stays_as_it_was_written(slot: str) -> None:
    facts = facts_of(ORDER, POLICY, Language.ENGLISH)

    assert fill(f"It is {slot}.", facts) == f"It is {slot}."


def test_a_line_is_filled_whole_or_not_at_all() -> None:
    facts = facts_of(ORDER, POLICY, Language.ENGLISH)

    assert fills("Your order {{order.number}} is on its way.", facts)
    assert not fills("Your order {{order.number}} is with {{order.carrier}}.", facts)


def test_a_fact_that_looks_like_a_slot_is_not_filled_again() -> None:
    sly = ORDER.model_copy(update={"carrier": "{{order.total}}"})

    assert fill("{{order.carrier}}", facts_of(sly, POLICY, Language.ENGLISH)) == "{{order.total}}"


@pytest.mark.parametrize("name", ["see www.win.test", "<b>Jonas</b>", "Jonas 007", "J" * 61, "Jonas\nWeber", " "])
def test_a_name_that_is_none_is_no_fact(name: str) -> None:
    assert facts_of(ORDER.model_copy(update={"customer": name}), POLICY, Language.ENGLISH)["customer.name"] is None


def test_a_reply_is_filled_in_its_own_language() -> None:
    reply = Reply(
        subject="{{order.total}}", body="Le total est de {{order.total}}.", language=Language.FRENCH, tone=Tone.WARM, author="model"
    )

    done = filled(reply, ORDER, POLICY)

    assert (done.subject, done.body) == ("{{order.total}}", "Le total est de 1263,90 EUR.")
