"""Who learns of an order: the sender whom our own mail exchanger vouches for, at the address that the order was placed with."""

import asyncio
import sqlite3
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from pointsman import Context
from pointsman_desk.case import Authentication, Grounds, Intent, Item, Language, Mail, NoOrder, Order, Risk, Trust
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.models.base import Brief
from pointsman_desk.models.replies import write_reply
from pointsman_desk.nodes.facts import fetch_order
from pointsman_desk.nodes.identity import disclosed, identify
from pointsman_desk.shop.guesses import GUESSES_MAX, WINDOW_SECONDS, Guesses
from pointsman_desk.shop.policy import PolicyFile

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
    """A shop with one order, that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def find(self, *, number: str | None, sender: str) -> Order | NoOrder:
        self.asked.append(number)
        theirs = sender == JANE and number in (None, ORDER.number)
        return ORDER if theirs else NoOrder(asked=number, reason="the order is another customer's")


ROWS_KEPT = 10


def fetch(
    shop: Shop, number: str | None, guesses: Guesses, *, aligned: bool = True, sender: str = JANE, now: float = 0.0
) -> Order | NoOrder:
    grounds = Grounds(language=Language.ENGLISH, order_number=number)
    ctx = Context(case=1, step="fetch_order", attempt=1, now=now)
    return asyncio.run(fetch_order(mail(aligned=aligned, sender=sender), (), sender, grounds, orders=shop, guesses=guesses, ctx=ctx))


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

    assert identify(mail(aligned=aligned), (), JANE, order) is trust


def test_a_reply_that_would_go_elsewhere_binds_nobody() -> None:
    assert identify(mail(aligned=True), (), "eve@post.example", ORDER) is Trust.ALIGNED


def test_without_an_order_a_sender_is_bound_to_none() -> None:
    assert identify(mail(aligned=True), (), JANE, UNVERIFIED) is Trust.ALIGNED


def test_an_order_is_disclosed_from_bound_upwards() -> None:
    told = {trust: disclosed(ORDER, trust) for trust in Trust}

    assert told == {Trust.NONE: UNVERIFIED, Trust.ALIGNED: UNVERIFIED, Trust.BOUND: ORDER, Trust.PROVED: ORDER}


def test_the_shop_is_not_asked_for_a_sender_whom_nobody_vouches_for() -> None:
    shop, guesses = Shop(), Guesses()

    refused = fetch(shop, "A-1002", guesses, aligned=False)
    found = fetch(shop, "A-1002", guesses)

    assert refused == NoOrder(asked="A-1002", reason="the sender is not verified")
    assert found == ORDER
    assert shop.asked == ["A-1002"]


def test_a_sender_who_tries_numbers_is_soon_told_nothing_of_any() -> None:
    shop, guesses = Shop(), Guesses()
    for number in range(GUESSES_MAX):
        fetch(shop, f"A-{number}", guesses)
        fetch(shop, f"A-{number}", guesses)  # who writes again has not guessed again
    asked = len(shop.asked)

    refused = fetch(shop, "A-1002", guesses)
    other = fetch(shop, "A-1002", guesses, sender="john@post.example")

    assert refused == NoOrder(asked="A-1002", reason="the sender has given too many order numbers of other customers")
    assert isinstance(other, NoOrder)
    assert len(shop.asked) == asked + 1
    assert fetch(shop, None, guesses) == ORDER


def test_one_guess_less_is_still_answered_and_all_are_forgotten_in_time() -> None:
    shop, guesses = Shop(), Guesses()
    for number in range(GUESSES_MAX - 1):
        fetch(shop, f"A-{number}", guesses)

    before = fetch(shop, "A-1002", guesses)
    fetch(shop, "A-9", guesses, now=1.0)
    refused = fetch(shop, "A-1002", guesses, now=1.0)
    later = fetch(shop, "A-1002", guesses, now=WINDOW_SECONDS)

    assert before == later == ORDER
    assert isinstance(refused, NoOrder)


@pytest.mark.parametrize(
    ("settings", "exchanger"),
    [
        ({}, "mx.haus-und-hof.example"),
        ({"shop": "shop.db"}, ""),
        ({"mailbox": "mail"}, ""),
        (
            {"mailbox": SAMPLE / "mails", "mailboxes": [{"name": "a", "host": "imap.shop.example", "username": "a", "token_env": "HOME"}]},
            "",
        ),
        ({"authserv": "mx.shop.example", "shop": "shop.db"}, "mx.shop.example"),
    ],
)
def test_the_samples_exchanger_vouches_for_nobody_but_the_senders_of_the_sample(settings: dict[str, object], exchanger: str) -> None:
    assert DeskConfig.model_validate(settings).exchanger == exchanger


def test_very_many_senders_take_a_bounded_place(tmp_path: Path) -> None:
    file, senders = tmp_path / "guesses.db", 3 * ROWS_KEPT
    guesses = Guesses(file, rows_max=ROWS_KEPT)

    for number in range(senders):
        guesses.may_name(f"{number}@post.example", "A-1", float(number))

    with sqlite3.connect(file) as kept:
        times = [at for (at,) in kept.execute("SELECT at FROM guesses ORDER BY at")]
    assert times == [float(number) for number in range(senders - ROWS_KEPT, senders)]


def test_guesses_outlive_the_desk_and_hold_no_address(tmp_path: Path) -> None:
    file = tmp_path / "guesses.db"
    for number in range(GUESSES_MAX):
        guesses = Guesses(file)  # as a desk that watches opens it for each sweep
        fetch(Shop(), f"A-{number}", guesses)
        guesses.close()

    refused = fetch(Shop(), "A-1002", Guesses(file))

    assert refused == NoOrder(asked="A-1002", reason="the sender has given too many order numbers of other customers")
    assert b"post.example" not in file.read_bytes()


def test_a_reply_does_not_tell_another_customers_number_from_one_that_does_not_exist() -> None:
    reasons = (
        "no order with this number",
        "the order is another customer's",
        "the sender has given too many order numbers of other customers",
    )
    orders = [NoOrder(asked="A-1002", reason=reason) for reason in reasons]

    replies = [draft_of(order) for order in orders]

    assert len(set(replies)) == 1
    assert draft_of(UNVERIFIED) not in replies


def draft_of(order: NoOrder) -> str:
    policy = PolicyFile(SAMPLE / "policy.toml").current()
    facts = {
        "intents": (Intent.ORDER_STATUS,),
        "risk": Risk.LOW,
        "grounds": Grounds(language=Language.ENGLISH),
        "order": order,
        "policy": policy,
    }
    return write_reply(Brief(mail=mail(aligned=True), **facts), author="").body  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("aligned", "sender", "trust"), [(True, JANE, Trust.BOUND), (False, JANE, Trust.NONE), (True, "bob@post.example", Trust.ALIGNED)]
)
def test_of_several_mails_that_wait_the_least_sure_sender_counts(aligned: bool, sender: str, trust: Trust) -> None:
    other = mail(aligned=aligned, sender=sender)

    assert identify(mail(aligned=True), (other,), JANE, ORDER) is trust
    assert identify(other, (mail(aligned=True),), JANE, ORDER) is trust
