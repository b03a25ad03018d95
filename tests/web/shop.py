"""A process with what an operator meets: cases that park because a field is wrong, and an effect of which nobody knows whether it happened."""

import re
from collections.abc import Mapping

import httpx
from starlette.requests import Request

from pointsman import AtMostOnce, Engine, Process, Retry, State, finish, otherwise, when
from pointsman.server.access import SCOPES_OF, Principal, Role

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


class Order(State):
    article: str
    pieces: int = 1
    price: int | None = None
    receipt: str | None = None


orders = Process("orders", Order)


@orders.node(writes="price", retry=Retry(first_seconds=0.0))  # all its attempts, without the waits between them
def find_price(article: str, pieces: int) -> int:
    if article.startswith("unknown"):
        raise ValueError(f"{article} is not in the catalogue")
    return pieces * 7


@orders.effect(writes="receipt", safety=AtMostOnce())
def charge(price: int, article: str) -> str:
    if article == "lamp":
        raise ConnectionError("the bank hung up")
    return f"{price} paid"


orders.rules(
    when("there is no price", lambda order: order.price is None, find_price),
    when("it is not paid", lambda order: order.receipt is None, charge),
    otherwise(finish("paid")),
)


class As:
    """Access for one person with a role."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def principal(self, _: Request) -> Principal:
        return Principal(self.role.value, SCOPES_OF[self.role])


async def order(engine: Engine, article: str) -> int:
    """Start an order, and wait until it rests."""
    case = (await engine.start(orders, {"article": article})).case
    await engine.wait_until_resting(case)
    return case


def csrf_in(page: str) -> str:
    """The token of the forms of a page."""
    return re.findall(r'name="csrf" value="(\w+)"', page)[0]


def hidden_in(page: str, action: str) -> dict[str, str]:
    """The hidden fields of the form with this action."""
    form = page[page.index(f'action="{action}"') :]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form[: form.index("</form>")]))


async def operate(client: httpx.AsyncClient, case: int, operation: str, fields: Mapping[str, str], page: str = "") -> httpx.Response:
    """Send the form of an operation, as the page of the case has it."""
    page = page or (await client.get(f"/cases/{case}", headers=BROWSER)).text
    action = f"/cases/{case}/{operation}"
    return await client.post(action, data={**hidden_in(page, action), **fields}, headers=BROWSER)
