"""The work list: one query for a page of tasks, whatever they show; and finding cases by what they hold."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pointsman import (
    CaseQuery,
    Engine,
    Log,
    Order,
    Process,
    Searchable,
    State,
    Status,
    ValueRefused,
    finish,
    open_blocking,
    otherwise,
    when,
)
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock


class Claim(State):
    customer: Searchable[str]
    notes: Searchable[Log[str]]
    late: bool = False
    order: Searchable[dict[str, Any]] | None = None
    woken: float | None = None
    decision: str | None = None


def claims() -> Process[Claim]:
    process = Process("claims", Claim)

    @process.node(writes="order")
    def look_up(customer: str) -> dict[str, Any]:
        return {"number": f"N-{len(customer)}", "paid": 12.5}

    assess = process.pause(writes="decision", answer=str, shows=("customer",), assignee="ann", deadline="3d", name="assess")
    nap = process.sleep(writes="woken", seconds="1h", name="nap")
    process.accept(str, writes="notes", correlate=lambda note: note.partition(":")[0], while_open="append", starts=False)
    process.rules(
        when("the order is unknown", lambda c: c.order is None, look_up),
        when("it is late", lambda c: c.late and c.woken is None, nap),
        when("it is open", lambda c: c.decision is None, assess),
        otherwise(finish("decided")),
    )
    return process


def test_the_work_list_has_what_waits_for_an_answer_the_longest_first() -> None:
    async def main() -> None:
        process, clock = claims(), ManualClock(1e9)
        async with Engine.open("", [process], store=MemoryStore(), clock=clock) as engine:
            cases = []
            for number, late in enumerate([False, True, False, False]):
                started = await engine.start(process, Claim(customer=f"C{number}", notes=[], late=late), tenant="north" if number else "")
                await engine.wait_until_resting(started.case)
                cases.append(started.case)
                clock.advance(10.0)

            first = await engine.tasks(limit=2)
            rest = await engine.tasks(after=first.cursor or "", limit=2)
            assert [task.case for task in first.rows + rest.rows] == [cases[0], cases[2], cases[3]]
            assert rest.cursor is None
            task = first.rows[0]
            assert task[:7] == (cases[0], "claims", "assess", "ann", 1e9, 1e9 + 3 * 86_400, (await engine.pending(cases[0])).digest)
            assert [task.case for task in (await engine.tasks(tenant="north", assignee="ann", pause="assess", process="claims")).rows] == [
                cases[2], cases[3],
            ]  # fmt: skip
            assert (await engine.tasks(assignee="")).rows == (await engine.tasks(pause="other")).rows == ()

            await engine.resume((await engine.pending(cases[0])).token, "yes", by="ann")
            await engine.wait_until_resting(cases[0])
            assert [task.case for task in (await engine.tasks()).rows] == [cases[2], cases[3]]
            clock.advance(3_600.0)
            await engine.idle(horizon_seconds=0.0)
            assert [task.case for task in (await engine.tasks()).rows] == [cases[2], cases[3], cases[1]]
            with pytest.raises(ValueRefused, match="is not the cursor of a page"):
                await engine.tasks(after="x")

    asyncio.run(main())


def test_a_case_is_found_by_its_searchable_fields_as_they_are_now() -> None:
    async def main() -> None:
        process = claims()
        async with Engine.open("", [process], store=MemoryStore(), clock=ManualClock(1e9)) as engine:

            async def found(**how: Any) -> list[int]:
                return [row.case.id for row in (await engine.reader.find(CaseQuery(**how))).rows]

            one, other = [
                (await engine.start(process, Claim(customer=name, notes=[]), correlation=name)).case for name in ("Ann Lee", "Bo Lee (old)")
            ]
            for case in (one, other):
                await engine.wait_until_resting(case)
            await engine.send(process, "Ann Lee: where is my Parcel?", name="notes")
            await engine.wait_until_resting(one)

            assert await found(search={"customer": " ann  LEE"}) == [one]
            assert await found(text="lee") == [one, other]
            assert await found(text="lee parcel") == await found(search={"order": "n-7"}) == [one]
            assert await found(search={"order": "12.5"}, order=Order.NEWEST) == [other, one]
            assert await found(text="parc") == await found(search={"late": "false"}) == []
            await engine.cancel(one, by="ann", why="test")
            await engine.erase(one, by="ann", why="asked")
            assert await found(text="lee") == [other]
            assert await found(status=Status.CANCELLED) == [one]

    asyncio.run(main())


def test_a_field_that_a_rewrite_clears_is_no_longer_found() -> None:
    async def main() -> None:
        process = claims()
        async with Engine.open("", [process], store=MemoryStore(), clock=ManualClock(1e9)) as engine:
            case = (await engine.start(process, {"customer": "Ann", "notes": []})).case
            await engine.wait_until_resting(case)
            assert (await engine.reader.find(CaseQuery(search={"order": "n-3"}))).rows
            await engine.cancel(case, by="ann", why="test")
            assert (await engine.reader.find(CaseQuery(search={"order": "n-3"}, order=Order.CHANGED))).rows

    asyncio.run(main())


def test_a_blocking_engine_has_the_work_list_too(tmp_path: Path) -> None:
    process = claims()
    with open_blocking(tmp_path / "cases.db", [process]) as engine:
        case = engine.start(process, Claim(customer="Ann", notes=[])).case
        engine.wait_until_resting(case)

        assert [task.case for task in engine.tasks(assignee="ann").rows] == [case]
        assert [row.case.id for row in engine.reader.find(CaseQuery(text="ann")).rows] == [case]
        assert [(row.place, row.cases) for row in engine.reader.count_places()] == [("assess", 1)]
