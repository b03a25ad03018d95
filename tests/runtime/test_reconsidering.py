"""Cases that wait for a person when the rules change: those that the new rules lead elsewhere go on by themselves."""

from collections.abc import Callable
from typing import Any

import pytest
from places import Place, definitions_with, run

from pointsman import Process, State, Status, finish, otherwise, when


class Refund(State):
    price: int
    approved: bool | None = None


class Checked(Refund):
    suspicious: bool | None = None


def refunds(risky: Callable[[Any], object]) -> Process[Refund]:
    process = Process("refunds", Refund)
    ask = process.pause(writes="approved", answer=bool, shows=("price",), name="ask")
    process.rules(when("risky", lambda c: risky(c) and c.approved is None, ask), otherwise(finish("paid")))
    return process


def checked_refunds() -> Process[Checked]:
    process = Process("refunds", Checked)

    @process.node(writes="suspicious")
    async def look(price: int) -> bool:
        return price > 500

    ask = process.pause(writes="approved", answer=bool, shows=("price", "suspicious"), name="ask")
    process.rules(
        when("nobody has looked", lambda c: c.suspicious is None, look),
        when("not approved", lambda c: c.approved is None, ask),
        otherwise(finish("paid")),
    )
    return process


async def start(place: Place, *prices: int) -> None:
    async with place.open(refunds(lambda c: c.price > 100)) as engine:
        for price in prices:
            await engine.wait_until_resting((await engine.start("refunds", Refund(price=price))).case)


async def opened_with(place: Place, process: Process[Any], **settings: Any) -> list[tuple[Status, str | None, int]]:
    """The status, the step and the revision of each case when an engine with this process has looked at all that wait."""
    async with place.open(process, **settings) as engine:
        await definitions_with(engine, process)
        rows = await engine.reader.cases()
        rows = [await engine.wait_until_resting(row.id) for row in rows]
    return [(row.status, row.outcome or row.step, row.revision) for row in rows]


def test_a_waiting_case_goes_on_if_the_new_rules_lead_elsewhere(place: Place) -> None:
    async def main() -> Any:
        await start(place, 200, 900)
        return await opened_with(place, refunds(lambda c: c.price > 500))

    (paid, asks) = run(main())

    assert paid[:2] == (Status.DONE, "paid")
    assert asks == (Status.WAITING, "ask", 1)


def test_a_waiting_case_takes_a_new_step_and_asks_again_for_what_it_shows(place: Place) -> None:
    async def main() -> Any:
        await start(place, 200)
        [case] = await opened_with(place, checked_refunds())
        async with place.open(checked_refunds()) as engine:
            return case, (await engine.pending(1)).shown

    (status, step, _), shown = run(main())

    assert (status, step, shown) == (Status.WAITING, "ask", {"price": 200, "suspicious": False})


def test_a_faulty_condition_parks_no_waiting_case(place: Place) -> None:
    async def main() -> Any:
        await start(place, 200)
        return await opened_with(place, refunds(lambda c: c.price / 0))

    [case] = run(main())

    assert case == (Status.WAITING, "ask", 1)


def test_the_same_rules_are_not_tried_again(place: Place) -> None:
    async def main() -> Any:
        await start(place, 200)
        await opened_with(place, refunds(lambda c: c.price > 500))
        await start(place, 200)  # by the first rules, which the database knows by now
        return await opened_with(place, refunds(lambda c: c.price > 500))

    first, second = run(main())

    assert (first[1], second[1]) == ("paid", "ask")


def test_an_engine_that_dies_before_the_end_leaves_the_cases_to_the_next_one(place: Place) -> None:
    changed = refunds(lambda c: c.price > 500)

    class Died(Exception):
        pass

    def dies(label: str) -> None:
        if label == "reconsidering":
            raise Died

    async def main() -> Any:
        await start(place, 200, 300)
        async with place.open(changed, failpoints=dies) as engine:
            with pytest.raises(Died):
                await engine.serve()
        return await opened_with(place, changed)

    cases = run(main())

    assert [case[1] for case in cases] == ["paid", "paid"]


def test_an_engine_that_runs_no_cases_leaves_them_to_one_that_does(place: Place) -> None:
    changed = refunds(lambda c: c.price > 500)

    async def main() -> Any:
        await start(place, 200)
        async with place.open(changed, concurrency=0) as engine:
            untouched = await engine.reader.case(1)
        return untouched, await opened_with(place, changed)

    untouched, [case] = run(main())

    assert (untouched.status, case[1]) == (Status.WAITING, "paid")
