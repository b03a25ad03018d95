"""Orders from a SQLite database of the shop, and the sample shop."""

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal, InvalidOperation
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pointsman_desk.case import Item, NoOrder, Order
from pointsman_desk.errors import ShopUnavailable
from pointsman_desk.statements import statements

BUSY_TIMEOUT_SECONDS = 5.0  # longer than a write of the shop, shorter than the timeout of a step


class SqliteOrders:
    """The orders in the database at `path`, which has the tables of sample/shop.sql. It is opened read-only for each call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def find(self, *, number: str | None, sender: str) -> Order | NoOrder:
        """Return the order `number` if it was placed with the address `sender`; without a number, the sender's latest.

        Raises ShopUnavailable if the database is missing or invalid, or contains an invalid order.
        """
        address = sender.strip()
        if number is None:
            return self._ask("the sender's latest", lambda shop: _latest(shop, address))
        return self._ask(number, lambda shop: _numbered(shop, number.strip().upper(), address))

    def check(self) -> None:
        """Raise ShopUnavailable if the orders cannot be read."""
        self._ask("any", lambda shop: _latest(shop, ""))

    def _ask(self, asked: str, question: Callable[[sqlite3.Connection], Order | NoOrder]) -> Order | NoOrder:
        if not self._path.is_file():
            raise ShopUnavailable(f"the shop's database {self._path} is missing; restore it, or set `shop` to the database of your shop.")
        try:
            with closing(sqlite3.connect(self._address(), uri=True, timeout=BUSY_TIMEOUT_SECONDS)) as shop:
                shop.row_factory = sqlite3.Row
                return question(shop)
        except sqlite3.Error as error:
            raise ShopUnavailable(f"the shop's database {self._path} cannot be read as one: {error}") from error
        except ValueError as error:
            detail = _first_line(error)
            raise ShopUnavailable(f"the shop's database {self._path} holds an order ({asked}) that makes no sense: {detail}") from error

    def _address(self) -> str:
        return f"{self._path.resolve().as_uri()}?mode=ro"


def create_sample_shop(path: Path) -> None:
    """Create the sample shop at `path` in one piece; an existing file is left as it is.

    Raises ShopUnavailable when the folder cannot be written.
    """
    if path.exists():
        return
    script = resources.files("pointsman_desk").joinpath("sample/shop.sql").read_text(encoding="utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ShopUnavailable(f"the sample shop cannot be written to {path}: {error.strerror}") from error
    os.close(handle)
    unfinished = Path(name)
    try:
        with closing(sqlite3.connect(unfinished)) as shop:
            shop.executescript(script)
        unfinished.replace(path)
    except (OSError, sqlite3.Error) as error:
        raise ShopUnavailable(f"the sample shop cannot be written to {path}: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _numbered(shop: sqlite3.Connection, number: str, sender: str) -> Order | NoOrder:
    row = shop.execute(statements(__package__, "orders.sql")["order_by_number"], {"number": number}).fetchone()
    if row is None:
        return NoOrder(asked=number, reason="no order with this number")
    if str(row["email"]).strip().lower() != sender.lower():
        return NoOrder(asked=number, reason="the order is another customer's")
    return _order(shop, row)


def _latest(shop: sqlite3.Connection, sender: str) -> Order | NoOrder:
    row = shop.execute(statements(__package__, "orders.sql")["latest_order"], {"sender": sender}).fetchone()
    return _order(shop, row) if row else NoOrder(reason="no order from this address")


def _order(shop: sqlite3.Connection, row: sqlite3.Row) -> Order:
    lines = shop.execute(statements(__package__, "orders.sql")["items_of_order"], {"number": row["number"]}).fetchall()
    items = tuple(Item(name=line["name"], quantity=line["quantity"], price=_amount(line["price"])) for line in lines)
    facts: dict[str, Any] = dict(row)
    shipping = _amount(facts.pop("shipping"))
    total = sum((item.price * item.quantity for item in items), start=shipping)
    return Order(items=items, shipping=shipping, total=total, **facts)


def _amount(written: object) -> Decimal:
    try:
        return Decimal(str(written)).quantize(Decimal("0.01"))
    except InvalidOperation as error:
        raise ValueError(f"{written!r} is no amount of money") from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
    return str(error).partition("\n")[0]
