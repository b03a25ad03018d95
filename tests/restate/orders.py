"""A process with every kind of step that runs on Restate, and an outside world that counts what happens to it."""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field

from pointsman import (
    ABSENT,
    AtLeastOnce,
    AtMostOnce,
    Context,
    Failure,
    Found,
    Idempotent,
    Limit,
    Log,
    NotSent,
    Process,
    Reconcile,
    Retry,
    State,
    answer_with,
    finish,
    otherwise,
    when,
)


class Approval(BaseModel):
    agreed: bool
    by: str


class Outside:
    """Counts deliveries by effect and key."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[str, str]] = []

    def deliver(self, effect: str, key: str) -> str:
        self.deliveries.append((effect, key))
        return f"{effect} done"

    def has(self, effect: str, key: str) -> bool:
        return (effect, key) in self.deliveries

    def count(self, effect: str) -> int:
        return sum(1 for name, _ in self.deliveries if name == effect)


class Order(State):
    item: str
    price: int | None = None
    lines: Log[str] = Field(default_factory=list)
    stock: int | Failure | None = None
    approval: Approval | None = None
    paid: str | None = None
    mailed: str | None = None
    booked: str | None = None
    counted: str | None = None
    slept: float | None = None


class Checked(Order):
    checked: str | None = None


def orders(state: type[Order] = Order, **how: Any) -> Process[Any]:
    """The process. With the state `Checked` it has one more node, before anything is paid."""
    order = Process("orders", state, **how)

    @order.node(writes="price", limit=Limit("prices", concurrency=2), retry=Retry(attempts_max=3, first_seconds=5.0, jitter=0.0))
    async def ask_price(item: str, *, ctx: Context) -> int:
        if item == "rare" and ctx.attempt == 1:
            raise ConnectionError("the price list is away")
        return 100 * len(item)

    @order.node(writes="stock", on_failure="record", retry=Retry(attempts_max=1))
    def look_for_stock(item: str) -> int:
        if item == "lost":
            raise LookupError("there is no such shelf")
        return 7

    approve = order.pause(
        writes="approval", answer=Approval, shows=("item", "price"), edits=("price",), deadline=timedelta(days=2),
        ladder=[answer_with(Approval(agreed=False, by="nobody"))],
    )  # fmt: skip

    @order.effect(writes="paid", safety=Idempotent(), timeout_seconds=20)
    async def pay(item: str, price: int, *, ctx: Context, outside: Outside) -> str:
        return outside.deliver("pay", ctx.key)

    def look_in_sent(item: str, price: int, *, ctx: Context, outside: Outside) -> object:
        return Found(("mail done", "mailed")) if outside.has("mail", ctx.key) else ABSENT

    @order.effect(writes=("mailed", "lines"), safety=Reconcile(look_in_sent, 5), timeout_seconds=20)
    def mail(item: str, price: int, *, ctx: Context, outside: Outside) -> tuple[str, str]:
        if item == "rare" and ctx.attempt == 1:
            raise NotSent("the mail server is closed")
        return outside.deliver("mail", ctx.key), "mailed"

    @order.effect(writes="booked", safety=AtMostOnce(), timeout_seconds=20)
    async def book(item: str, *, ctx: Context, outside: Outside) -> str:
        return outside.deliver("book", ctx.key)

    @order.effect(writes="counted", safety=AtLeastOnce("a count that is too high does no harm"), timeout_seconds=20)
    async def count(item: str, *, ctx: Context, outside: Outside) -> str:
        return outside.deliver("count", ctx.key)

    more = []
    if state is Checked:

        @order.node(writes="checked")
        async def check(item: str) -> str:
            return "checked"

        more = [when("not checked yet", lambda c: c.checked is None, check)]

    rest = order.sleep(writes="slept", seconds=timedelta(hours=1))
    order.rules(
        when("no price yet", lambda c: c.price is None, ask_price),
        when("stock is unknown", lambda c: c.stock is None, look_for_stock),
        when("expensive", lambda c: c.price > 400 and c.approval is None, approve),
        when("refused", lambda c: c.approval is not None and not c.approval.agreed, finish("refused")),
        *more,
        when("not paid yet", lambda c: c.paid is None, pay),
        when("not mailed yet", lambda c: c.mailed is None, mail),
        when("not booked yet", lambda c: c.booked is None, book),
        when("not counted yet", lambda c: c.counted is None, count),
        when("not slept yet", lambda c: c.slept is None, rest),
        otherwise(finish("sent")),
    )
    return order
