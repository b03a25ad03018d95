"""What a step logs says which case and step it is of."""

import logging
from typing import Any

import pytest
from places import run

from pointsman import CaseFilter, Engine, Process, State, finish, otherwise, parallel, when
from pointsman.store.memory import MemoryStore

log = logging.getLogger("an author")


class Order(State):
    item: str
    price: int | None = None
    stock: int | None = None


def orders() -> Process[Order]:
    process = Process("orders", Order)

    @process.node(writes="price")
    async def price(item: str) -> int:
        log.warning("asked")
        return len(item)

    @process.node(writes="stock")
    def stock(item: str) -> int:
        log.warning("counted")
        return len(item)

    process.rules(when("unknown", lambda c: c.price is None or c.stock is None, parallel(price, stock)), otherwise(finish("known")))
    return process


def test_a_record_of_a_step_names_its_case_and_step_also_in_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(where := CaseFilter())

    async def main() -> int:
        async with Engine.open("unused", [orders()], store=MemoryStore()) as engine:
            case = (await engine.start("orders", {"item": "pear"})).case
            await engine.wait_until_resting(case)
            log.warning("outside")
            return case

    case = run(main())
    caplog.handler.removeFilter(where)

    found: list[dict[str, Any]] = [vars(record) for record in caplog.records if record.name == log.name]
    told = {one["msg"]: (one["where"], one["case"], one["process_name"], one["step"], one["attempt"]) for one in found}
    assert told == {
        "asked": (f"case {case} step price attempt 1: ", case, "orders", "price", 1),
        "counted": (f"case {case} step stock attempt 1: ", case, "orders", "stock", 1),
        "outside": ("", None, None, None, None),
    }
