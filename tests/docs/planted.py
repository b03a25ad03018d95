"""The failures of docs/operating.md, planted in one database. `processes` is the code after a deploy, and `earlier` the code before it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pointsman import (
    AtMostOnce,
    Budget,
    ChildEnd,
    CircuitBreaker,
    Context,
    Engine,
    Guard,
    Limit,
    ModelResponse,
    Process,
    Retry,
    State,
    Usage,
    finish,
    otherwise,
    park,
    when,
)
from pointsman.definition.process import AnyProcess

IN_AN_HOUR = Retry(attempts_max=5, first_seconds=3_600.0, max_seconds=3_600.0, jitter=0.0)
AT_ONCE = Retry(attempts_max=5, first_seconds=0.0)
ONCE = Retry(attempts_max=1)
BREAKER = CircuitBreaker(failures=1, cooldown_seconds=3_600.0)
POWER_LOSS = 3  # the exit code of the process that is lost during a call


class Kilos(BaseModel):
    kilos: int


class Order(State):
    item: str
    price: int | None = None


class Reply(State):
    mail: str
    reply: str | None = None


class Refund(State):
    order: str
    receipt: str | None = None


class Invoice(State):
    order: str
    price: int | None = None
    receipt: str | None = None


class Approval(State):
    order: str
    allowed: bool | None = None


class Shipment(State):
    order: str
    weighed: ChildEnd | None = None


class Parcel(State):
    weight: int
    label: str | None = None


class ParcelInKilos(State):
    weight: Kilos
    label: str | None = None


def ask_the_shop(item: str) -> int:
    raise ConnectionError("shop.example does not answer")


async def count(item: str) -> int:
    await asyncio.Event().wait()
    return 20


def write(mail: str, *, ctx: Context) -> ModelResponse[str]:
    return ModelResponse("We refund you.", "m-1", "We refund you.", usage=Usage(input_tokens=40, output_tokens=10))


def polite(reply: str) -> str | None:
    return None if "sorry" in reply else "it does not say sorry"


def pay_back(order: str, *, ctx: Context) -> str:
    os._exit(POWER_LOSS)


def charge(price: int, *, ctx: Context) -> str:
    return f"charged {price}"


def appraise(order: str) -> int:
    return 20


def print_label() -> str:
    return "FRAGILE"


def order_of(order: str) -> dict[str, str]:
    return {"item": order}


def pricing(name: str, function: Callable[..., Any], retry: Retry, limit: Limit | None = None) -> Process[Order]:
    process = Process(name, Order)
    ask = process.node(function, writes="price", limit=limit, retry=retry, timeout_seconds=3_600)
    process.rules(when("no price", lambda o: o.price is None, ask), otherwise(finish("priced")))
    return process


def replying(name: str, budget: Budget | None = None) -> Process[Reply]:
    process = Process(name, Reply, budget=budget)
    draft = process.node(write, writes="reply", guard=Guard(polite, repairs_max=2))
    process.rules(when("no reply", lambda r: r.reply is None, draft), otherwise(finish("replied")))
    return process


def refunding(name: str, never: str = "") -> Process[Refund]:
    process = Process(name, Refund)
    pay = process.effect(pay_back, writes="receipt", safety=AtMostOnce())
    if never:
        process.never(never, lambda r: r.order.startswith("own"), effect=pay)
    process.rules(when("not paid back", lambda r: r.receipt is None, pay), otherwise(finish("paid back")))
    return process


def invoicing() -> Process[Invoice]:
    process = Process("invoices", Invoice)
    take, ask = process.effect(charge, writes="receipt", safety=AtMostOnce()), process.node(appraise, writes="price")
    process.rules(
        when("not charged", lambda i: i.receipt is None, take),
        when("no price", lambda i: i.price is None, ask),
        otherwise(finish("charged")),
    )
    return process


def approving() -> Process[Approval]:
    process = Process("approvals", Approval)
    allow = process.pause(
        name="allow", writes="allowed", answer=bool, shows=("order",), deadline=0.01, ladder=[park("nobody decided in time")]
    )
    process.rules(when("undecided", lambda a: a.allowed is None, allow), otherwise(finish("decided")))
    return process


def shipping(child: AnyProcess) -> Process[Shipment]:
    process = Process("shipments", Shipment)
    weigh = process.child(child, order_of, writes="weighed", name="weigh")
    process.rules(when("not weighed", lambda s: s.weighed is None, weigh), otherwise(finish("shipped")))
    return process


def parcels(name: str, state: type[State], version: int = 1) -> AnyProcess:
    process: AnyProcess = Process(name, state, version=version)
    label = process.node(print_label, writes="label")
    process.rules(when("no label", lambda p: p.label is None, label), otherwise(finish("labelled")))
    return process


weighing = pricing("weighings", ask_the_shop, ONCE)
processes: list[AnyProcess] = [
    refunding("refunds"), parcels("parcels", ParcelInKilos), parcels("pallets", Parcel, version=2), pricing("prices", ask_the_shop, IN_AN_HOUR),
    replying("replies"), invoicing(), pricing("quotes", ask_the_shop, AT_ONCE, Limit("shop", breaker=BREAKER)),
    pricing("stocks", count, ONCE, Limit("store", concurrency=1)), approving(), shipping(weighing), weighing,
    replying("letters", Budget(case_tokens=80)), refunding("payouts", "an order of our own is paid back"),
]  # fmt: skip
earlier: list[AnyProcess] = [refunding("refunds"), parcels("parcels", Parcel), parcels("pallets", Parcel)]

STARTS: list[tuple[str, dict[str, Any], str]] = [
    ("prices", {"item": "a cup"}, "node.retried"),
    ("replies", {"mail": "My cup is broken."}, "parked"),
    ("invoices", {"order": "A-6"}, "parked"),
    ("quotes", {"item": "a pot"}, "node.retried"),
    ("stocks", {"item": "a pan"}, "decided"),
    ("stocks", {"item": "a lid"}, "permit.waited"),
    ("approvals", {"order": "A-10"}, "parked"),
    ("shipments", {"order": "A-11"}, "child.started"),
    ("letters", {"mail": "My pot is broken."}, "parked"),
    ("payouts", {"order": "own-14"}, "parked"),
]
"""What is started after the deploy, and the event at which it stands still; case 4 is the first one, and case 12 the child of case 11."""

HANG_SECONDS = 600  # far longer than any wait here


@asynccontextmanager
async def planted(db: Path) -> AsyncIterator[None]:
    """Plant the failures in a database in which a process was lost (`lose_power`), and keep the engine open."""
    async with Engine.open(db, earlier, concurrency=0) as engine:
        await engine.start("parcels", {"weight": 3})
        await engine.start("pallets", {"weight": 3})
    async with Engine.open(db, processes, grace_seconds=0) as engine:
        await engine.wait_until_resting(1)
        await engine.wait_until_resting(2)
        for process, state, stands in STARTS:
            started = await engine.start(process, state)
            await _seen(engine, started.case, stands)
            if process == "stocks":
                await _in_call(engine, "store")
        await engine.wait_until_resting(12)
        yield


async def _seen(engine: Engine, case: int, kind: str) -> None:
    """Return when an event of this kind has been committed for the case."""
    async with asyncio.timeout(HANG_SECONDS):
        async for event in engine.events():
            if (event.case, event.kind) == (case, kind):
                return


async def _in_call(engine: Engine, limit: str) -> None:
    """Return when a call has a permit of this limit."""
    async with asyncio.timeout(HANG_SECONDS):
        while (state := (await engine.reader.limits()).get(limit)) is None or not state.permits:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


async def lose_power(db: Path) -> None:
    """Start a refund, in which the process ends while the effect is called."""
    async with Engine.open(db, earlier) as engine:
        await engine.wait_until_resting((await engine.start("refunds", {"order": "A-1"})).case)


if __name__ == "__main__":
    asyncio.run(lose_power(Path(sys.argv[1])))
