"""Who learns of an order: the sender whom our own mail exchanger vouches for, at the address that the order was placed with."""

import asyncio
from datetime import date
from decimal import Decimal

import pytest

from pointsman_desk.case import Authentication, Grounds, Item, Language, Mail, NoOrder, Order, Trust
from pointsman_desk.nodes.facts import fetch_order
from pointsman_desk.nodes.identity import disclosed, identify

JANE = "jane@post.example"
ORDER = Order(
    number="A-1002",
    email="Jane@Post.example",
    customer="Jane Doe",
    status="placed",
    items=(Item(name="Desk lamp", quantity=1, price=Decimal("34.50")),),
    shipping=Decimal("4.90"),
    total=Decimal("39.40"),
    currency="EUR",
    placed_on=date(2026, 11, 14),
)
UNVERIFIED = NoOrder(reason="the sender is not verified")


class Shop:
    """A shop that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str]] = []

    async def find(self, *, number: str | None, sender: str) -> Order | NoOrder:
        self.asked.append((number, sender))
        return ORDER


def mail(*, aligned: bool, sender: str = JANE) -> Mail:
    return Mail(message_id="m@post.example", sender=sender, authentication=Authentication(aligned=aligned, why="told so"))


@pytest.mark.parametrize(
    ("aligned", "email", "trust"),
    [
        (True, "Jane@Post.example", Trust.BOUND),
        (True, "john@post.example", Trust.ALIGNED),
        (True, "jane@po\u017ft.example", Trust.ALIGNED),  # a long s, which is an s only to those who compare without case
        (False, "Jane@Post.example", Trust.NONE),
    ],
)
def test_a_sender_is_bound_to_an_order_of_the_very_address_only(aligned: bool, email: str, trust: Trust) -> None:
    order = ORDER.model_copy(update={"email": email})

    assert identify(mail(aligned=aligned), JANE, order) is trust


def test_a_reply_that_would_go_elsewhere_binds_nobody() -> None:
    assert identify(mail(aligned=True), "eve@post.example", ORDER) is Trust.ALIGNED


def test_without_an_order_a_sender_is_bound_to_none() -> None:
    assert identify(mail(aligned=True), JANE, UNVERIFIED) is Trust.ALIGNED


def test_an_order_is_disclosed_from_bound_upwards() -> None:
    told = {trust: disclosed(ORDER, trust) for trust in Trust}

    assert told == {Trust.NONE: UNVERIFIED, Trust.ALIGNED: UNVERIFIED, Trust.BOUND: ORDER, Trust.PROVED: ORDER}


def test_the_shop_is_not_asked_for_a_sender_whom_nobody_vouches_for() -> None:
    shop, grounds = Shop(), Grounds(language=Language.ENGLISH, order_number="A-1002")

    refused = asyncio.run(fetch_order(mail(aligned=False), JANE, grounds, orders=shop))
    asked_then = list(shop.asked)
    found = asyncio.run(fetch_order(mail(aligned=True), JANE, grounds, orders=shop))

    assert refused == NoOrder(asked="A-1002", reason="the sender is not verified")
    assert asked_then == []
    assert found == ORDER
    assert shop.asked == [("A-1002", JANE)]
