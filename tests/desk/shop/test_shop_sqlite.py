"""The shop's database tells a customer of the customer's own orders, and an operator what is wrong with it."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from pointsman_desk.case import Item, NoOrder, Order
from pointsman_desk.errors import ShopUnavailable
from pointsman_desk.shop.sqlite import SqliteOrders, create_sample_shop


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    create_sample_shop(path)
    return path


def find(shop: Path, number: str | None, sender: str) -> Order | NoOrder:
    return asyncio.run(SqliteOrders(shop).find(number=number, sender=sender))


def change(shop: Path, statement: str) -> None:
    with closing(sqlite3.connect(shop)) as connection, connection:
        connection.execute(statement)


def test_an_order_is_found_by_its_number_and_its_customer(shop: Path) -> None:
    order = find(shop, "A-1002", "john.smith@post.example")

    assert order == Order(
        number="A-1002",
        email="john.smith@post.example",
        customer="John Smith",
        status="shipped",
        items=(
            Item(name="Desk lamp", quantity=1, price=Decimal("34.50")),
            Item(name="Bulb", quantity=2, price=Decimal("4.25")),
        ),
        shipping=Decimal("4.90"),
        total=Decimal("47.90"),
        currency="EUR",
        placed_on=date(2026, 11, 14),
        due_on=date(2026, 11, 24),
        shipped_on=date(2026, 11, 17),
        carrier="Nordpost",
        tracking="NP4471002",
    )


def test_the_sample_shop_holds_the_twelve_orders(shop: Path) -> None:
    with closing(sqlite3.connect(shop)) as connection:
        rows = connection.execute("SELECT number, email, status FROM orders ORDER BY number").fetchall()

    orders = [find(shop, number, email) for number, email, _ in rows]

    assert [number for number, _, _ in rows] == [f"A-{1000 + place}" for place in range(1, 13)]
    assert [str(order.total) for order in orders if isinstance(order, Order)] == [
        *("56.80", "47.90", "201.90", "78.50", "65.90", "148.90"),
        *("48.90", "128.90", "33.90", "34.60", "74.90", "263.90"),
    ]
    assert [status for _, _, status in rows].count("shipped") == 5


@pytest.mark.parametrize("sender", ["John.Smith@POST.example", " john.smith@post.example "])
def test_the_case_of_an_address_does_not_matter(shop: Path, sender: str) -> None:
    by_number, latest = find(shop, "a-1002", sender), find(shop, None, sender)

    assert isinstance(by_number, Order)
    assert by_number == latest


def test_another_customers_order_is_not_told(shop: Path) -> None:
    found = find(shop, "A-1002", "emma.brown@post.example")

    assert found == NoOrder(asked="A-1002", reason="the order is another customer's")


@pytest.mark.parametrize("number", ["A-9999", "", "A-1002' OR '1'='1", "%"])
def test_an_unknown_number_finds_nothing(shop: Path, number: str) -> None:
    found = find(shop, number, "john.smith@post.example")

    assert found == NoOrder(asked=number, reason="no order with this number")


@pytest.mark.parametrize("sender", ["nobody@mail.example", "", "%", "john.smith@post.example' --"])
def test_a_stranger_has_no_latest_order(shop: Path, sender: str) -> None:
    assert find(shop, None, sender) == NoOrder(reason="no order from this address")


def test_without_a_number_the_latest_order_is_meant(shop: Path) -> None:
    change(shop, "UPDATE orders SET email = 'emma.brown@post.example' WHERE number IN ('A-1003', 'A-1006')")

    latest = find(shop, None, "emma.brown@post.example")

    assert isinstance(latest, Order)
    assert latest.number == "A-1003"


def test_an_existing_shop_is_left_as_it_is(shop: Path) -> None:
    change(shop, "DELETE FROM orders WHERE number = 'A-1002'")

    create_sample_shop(shop)

    assert isinstance(find(shop, "A-1002", "john.smith@post.example"), NoOrder)


def test_creating_the_sample_leaves_nothing_beside_it(tmp_path: Path) -> None:
    create_sample_shop(tmp_path / "new" / "shop.db")

    assert [path.name for path in (tmp_path / "new").iterdir()] == ["shop.db"]


def test_a_sample_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ShopUnavailable, match="the sample shop cannot be written to"):
        create_sample_shop(tmp_path / "file" / "shop.db")


def test_looking_up_an_order_writes_nothing(shop: Path) -> None:
    shop.chmod(0o400)
    before = shop.read_bytes()

    find(shop, "A-1002", "john.smith@post.example")

    assert shop.read_bytes() == before
    assert [path.name for path in shop.parent.iterdir()] == ["shop.db"]


def test_a_missing_database_is_named_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(ShopUnavailable, match=r"shop\.db is missing"):
        find(tmp_path / "shop.db", None, "a@mail.example")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000, b""])
def test_a_file_that_is_no_shop_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shop.db"
    path.write_bytes(content)

    with pytest.raises(ShopUnavailable, match=r"shop\.db cannot be read as one: "):
        find(path, "A-1002", "a@mail.example")


def test_a_database_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    change(path, "CREATE TABLE cases (id INTEGER)")

    with pytest.raises(ShopUnavailable, match="no such table: orders"):
        find(path, None, "a@mail.example")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE orders SET shipping = 'free'", "'free' is no amount of money"),
        ("UPDATE orders SET placed_on = 'yesterday'", "placed_on"),
        ("UPDATE items SET price = 'NaN'", "price"),
    ],
)
def test_an_order_that_makes_no_sense_is_one_sentence(shop: Path, statement: str, named: str) -> None:
    change(shop, statement)

    with pytest.raises(ShopUnavailable, match=r"order \(A-1002\) that makes no sense") as refused:
        find(shop, "A-1002", "john.smith@post.example")

    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_address_that_only_looks_the_same_without_its_case_is_another_one(shop: Path) -> None:
    change(shop, "UPDATE orders SET email = 'JOHN@straße.example' WHERE number = 'A-1002'")

    theirs = find(shop, "A-1002", "john@straße.example")
    others = find(shop, "A-1002", "john@strasse.example")

    assert isinstance(theirs, Order)
    assert others == NoOrder(asked="A-1002", reason="the order is another customer's")
